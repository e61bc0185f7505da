"""Words as a speech language model reads them: the vectors that it makes of a codec's codes, averaged over each word."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.cache import CodesCache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.encoded import utterance_frames
from laminal.errors import DataError
from laminal.features import BAD_SHARE, WordFeatures
from laminal.progress import track
from laminal.words import Token, frame_spans


@runtime_checkable
class Listener(Protocol):
    """The speech input of a language model: `heard` gives vectors of codes, by how many codebooks they take in."""

    name: str
    codebooks: int
    sizes: tuple[int, ...]  # codes of each codebook
    group: int  # frames of the codec that one vector stands for

    def heard(self, codes: Int[Tensor, "q n"]) -> dict[str, Float[Tensor, "m d"]]:
        """Vectors of an utterance's codes."""


def unfit(codec: Codec, listener: Listener) -> str:
    """Say why `listener` cannot read the codes of `codec`; "" where it can."""
    sizes = tuple(getattr(codec, "codebook_sizes", None) or [codec.codebook_size] * codec.codebooks)
    if tuple(sizes[: listener.codebooks]) == listener.sizes:
        return ""
    return (
        f"it reads {listener.codebooks} codebooks of {_named(listener.sizes)} codes, and {codec.name} has {len(sizes)} of {_named(sizes)}"
    )


def heard_words(codec: Codec, corpus: Corpus, tokens: Sequence[Token], listener: Listener, cache: CodesCache | None) -> WordFeatures:
    """Features of `tokens` in what `listener` makes of whole utterances: its steps whose centre lies in a word.

    Unreadable utterances are listed and skipped; raises DataError where they are more than 5 %.
    """
    rows: dict[str, list[int]] = {}
    for row, token in enumerate(tokens):
        rows.setdefault(token.utterance_id, []).append(row)
    failed: list[tuple[str, str]] = []
    found: dict[int, list[np.ndarray]] = {}
    names: tuple[str, ...] = ()
    empty = 0
    for utterance in track([each for each in corpus if each.id in rows], "utterances for the language model", len(rows)):
        try:
            codes = utterance_frames(codec, corpus, utterance, (), cache).codes[: listener.codebooks]
            layers = listener.heard(torch.from_numpy(codes.astype(np.int64)))
        except DataError as error:
            failed.append((utterance.id, str(error)))
            continue
        names, values = tuple(layers), [layer.float().numpy() for layer in layers.values()]
        if not len(values[0]):
            failed.append((utterance.id, f"{codes.shape[1]} frames are less than one step of the language model"))
            continue
        start, end = (np.array([getattr(tokens[row], edge) for row in rows[utterance.id]]) for edge in ("start", "end"))
        first, stop, without = frame_spans(start, end, codec.frame_rate / listener.group, len(values[0]))
        empty += int(without.sum())
        for row, begin, after in zip(rows[utterance.id], first, stop, strict=True):
            found[row] = [layer[begin:after].mean(0) for layer in values]
    if len(failed) > BAD_SHARE * len(rows):
        name, reason = failed[0]
        raise DataError(f"{len(failed)} of {len(rows)} utterances are unusable, over 5 % (the first: {name}: {reason}); mend the corpus")
    return _gathered(len(tokens), names, found, empty, tuple(failed))


def _gathered(count: int, names: tuple[str, ...], found: dict[int, list[np.ndarray]], empty: int, failed: Any) -> WordFeatures:
    width = len(next(iter(found.values()))[0]) if found else 0
    values = np.full((count, len(names), width), np.nan, np.float32)
    for row, layers in found.items():
        values[row] = np.stack(layers)
    ok = np.zeros(count, dtype=bool)
    ok[list(found)] = True
    return WordFeatures(names, values, ok, empty, failed)


def _named(sizes: Sequence[int]) -> str:
    if not sizes:
        return "no"
    return str(sizes[0]) if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
