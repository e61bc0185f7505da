"""Words in every layer of a codec: layers looked up from the codes of each word, and averaged over its frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch.nn.functional import embedding_bag

from laminal.cache import CodesCache, Shard
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.errors import DataError
from laminal.progress import track
from laminal.word_shards import Slice, parts_of, shards_of
from laminal.words import Token

Mode = Literal["cumulative", "single", "residual"]
LOOKUP_FRAMES = 1024  # frames looked up at once: the layers of so many, 12 MB of 46 codebooks, are freed and taken again at no cost
BAD_SHARE = 0.05  # more unreadable utterances than this end the probe


@dataclass(frozen=True, slots=True)
class WordFeatures:
    """Mean over the frames of each word, for every layer; words of unreadable audio are NaN and not `ok`."""

    layers: tuple[str, ...]
    values: Float[np.ndarray, "w layers d"]  # float32
    ok: Bool[np.ndarray, " w"]
    empty: int  # words that held no frame centre and took the nearest frame
    failed: tuple[tuple[str, str], ...] = ()  # (utterance, reason)

    def layers_of(self, mode: Mode) -> tuple[str, ...]:
        """Layers that there are in a mode: `single` codebooks have no latent, `residual` (1..k without 1) begins at 2."""
        books = tuple(name for name in self.layers if name.isdigit())
        return {
            "cumulative": self.layers,
            "single": books,
            "residual": tuple(str(k) for k in range(2, max(map(int, books), default=0) + 1)),
        }[mode]

    def in_mode(self, mode: Mode) -> "WordFeatures":
        """Give `single` (codebook k alone) or `residual` (1..k without 1) by subtraction; layers that have none are left out."""
        if mode == "cumulative":
            return self
        place = {name: index for index, name in enumerate(self.layers)}
        kept = self.layers_of(mode)
        if mode == "single":
            taken = [self.values[:, place[k]] - (self.values[:, place[str(int(k) - 1)]] if k != "1" else 0) for k in kept]
        else:
            taken = [self.values[:, place[k]] - self.values[:, place["1"]] for k in kept]
        values = np.stack(taken, 1) if taken else self.values[:, :0]
        return WordFeatures(kept, values, self.ok, self.empty, self.failed)


def word_features(codec: Codec, corpus: Corpus, tokens: Sequence[Token], slice: Slice, cache: CodesCache | None = None) -> WordFeatures:
    """Features of `tokens` in every layer of `codec`: "latent" and "1".."K", accumulated.

    `slice="audio"` cuts the waveform and encodes the cut alone; "features" encodes the utterance and cuts frames. Words are worked through
    in blocks of whole utterances, in the order of the corpus: equal requests make equal batches and equal bytes, cached or not.
    Unreadable utterances are listed and skipped; raises DataError where they are more than 5 %.
    """
    return features_by_slice(codec, corpus, tokens, (slice,), cache)[slice]


def features_by_slice(
    codec: Codec, corpus: Corpus, tokens: Sequence[Token], slices: Sequence[Slice], cache: CodesCache | None = None
) -> dict[Slice, WordFeatures]:
    """`word_features` of several slices, for which audio is read once."""
    blocks = parts_of(corpus, tokens, slices)
    failed: dict[Slice, dict[str, str]] = {slice: {} for slice in slices}
    found: dict[Slice, list[_Looked]] = {slice: [] for slice in slices}
    utterances: set[str] = set()
    for parts in track(blocks, f"words, slice {' and '.join(slices)}", len(blocks)):
        for part, shard in zip(parts, shards_of(codec, corpus, parts, tokens, cache), strict=True):
            utterances.update(utterance.id for utterance, _ in part.block)
            failed[part.slice] |= {part.block[place][0].id: reason for place, reason in shard.bad}
            if rows := part.rows(shard):
                found[part.slice].append((rows, *_layers(codec, shard), int(shard.empty.sum())))
    return {slice: _collected(found[slice], len(tokens), failed[slice], len(utterances)) for slice in slices}


_Looked = tuple[list[int], tuple[str, ...], np.ndarray, int]  # of a part: rows, names of layers, values, how many words had no frame


def _collected(found: Sequence[_Looked], count: int, failed: dict[str, str], utterances: int) -> WordFeatures:
    """Put the blocks of one slice together."""
    if len(failed) > BAD_SHARE * utterances:
        name, reason = next(iter(failed.items()))
        raise DataError(f"{len(failed)} of {utterances} utterances are unusable, over 5 % (the first: {name}: {reason}); mend the corpus")
    layers, shape = (found[0][1], found[0][2].shape[1:]) if found else ((), (0, 0))
    values, ok = np.full((count, *shape), np.nan, np.float32), np.zeros(count, bool)
    for rows, _, block_values, _ in found:
        values[rows], ok[rows] = block_values, True
    return WordFeatures(layers, values, ok, sum(empty for *_, empty in found), tuple(failed.items()))


def fill(codec: Codec, corpus: Corpus, tokens: Sequence[Token], slices: Sequence[Slice], cache: CodesCache, share: tuple[int, int]) -> None:
    """Encode one process's share (its number, how many there are) of what `word_features` will ask for, into the cache."""
    number, processes = share
    every = [part for parts in parts_of(corpus, tokens, slices) for part in parts]
    length = [part.seconds(tokens) for part in every]
    loads, mine = [0.0] * processes, []
    for place in sorted(range(len(every)), key=lambda place: -length[place]):  # the longest first, each to who has least
        least = loads.index(min(loads))
        loads[least] += length[place]
        mine += [every[place]] if least == number else []
    for part in track(mine, "words", len(mine)):
        shards_of(codec, corpus, [part], tokens, cache)


def _layers(codec: Codec, shard: Shard) -> tuple[tuple[str, ...], Float[np.ndarray, "w layers d"]]:
    """Names and word means of all layers: the direct ones as stored, the others looked up from codes some thousand frames at a time."""
    if not len(shard.codes):
        return shard.names, shard.direct
    ends = np.cumsum(shard.lengths)
    pieces: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    begin = 0
    while begin < len(ends):
        frame = ends[begin] - shard.lengths[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, frame + LOOKUP_FRAMES, side="right")))
        codes = torch.from_numpy(shard.codes[:, frame : ends[stop - 1]].astype(np.int64))[None]
        codes = codes.to(getattr(codec, "device", "cpu"))
        with torch.no_grad():
            layers = codec.layers(codes)
            names = tuple(name for name in layers if name.isdigit())
            starts = torch.from_numpy(ends[begin:stop] - shard.lengths[begin:stop] - frame).to(codes.device)
            every = torch.arange(codes.shape[-1], device=codes.device)
            bags = [embedding_bag(every, layers[name][0].float(), starts, mode="sum") for name in names]  # a third of reduceat's time
        pieces.append(torch.stack(bags, 1).cpu().numpy() / shard.lengths[begin:stop, None, None].astype(np.float32))
        begin = stop
    return shard.names + names, np.concatenate([shard.direct, np.concatenate(pieces)], 1)
