"""Utterances and excerpts in codes, by way of the cache: what is known of them is not encoded again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from laminal import parallel
from laminal.cache import CodesCache, entry_key, file_sha256, smallest_integer
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Utterance
from laminal.errors import DataError
from laminal.words import frame_spans

KEPT = ("codes", "direct", "names")


@dataclass(frozen=True, slots=True)
class Frames:
    """An utterance in codes, and some of its frames (by number, rising) in every layer."""

    codes: Int[np.ndarray, "q n"]
    frames: Int[np.ndarray, " m"]
    layers: dict[str, Float[np.ndarray, "m d"]]


def utterance_frames(
    codec: Codec, corpus: Corpus, utterance: Utterance, spans: Sequence[tuple[float, float]], cache: CodesCache | None
) -> Frames:
    """Codes of a whole utterance, and the layers of the frames in `spans` (seconds); raises DataError where its audio is bad.

    Layers of codes are looked up; the latent, or all layers of an encoder without codes, are kept at these frames alone.
    """
    key = None
    if cache is not None:
        asked = " ".join(f"{start!r}-{end!r}" for start, end in spans)
        key = entry_key(codec, f"utterance {file_sha256(utterance.path)} {asked}")
    held = cache.fetch(key, KEPT) if cache is not None and key is not None else None
    if held is None:
        wav = corpus.wav(utterance, codec.sample_rate)[None].to(getattr(codec, "device", "cpu"))
        codes, direct = _analysed(codec, wav)
        frames = np.flatnonzero(_inside(spans, codec.frame_rate, codes.shape[1]))
        held = {
            "codes": codes.astype(smallest_integer(codec.codebook_size)),
            "direct": np.stack([layer[frames] for layer in direct.values()]) if direct else np.zeros((0, 0, 0), np.float32),
            "names": np.array(list(direct), dtype=np.str_),
        }
        if cache is not None and key is not None:
            cache.store(key, **held)
    codes = held["codes"].astype(np.int64)
    frames = np.flatnonzero(_inside(spans, codec.frame_rate, codes.shape[1]))
    layers = {str(name): layer for name, layer in zip(held["names"], held["direct"])}
    if len(codes) and len(frames):
        with torch.no_grad():
            found = codec.layers(torch.from_numpy(codes[:, frames])[None].to(getattr(codec, "device", "cpu")))
        layers |= {name: value[0].float().cpu().numpy() for name, value in found.items() if name.isdigit()}
    return Frames(codes, frames, layers)


def _analysed(codec: Codec, wav: Float[Tensor, "1 t"]) -> tuple[Int[np.ndarray, "q n"], dict[str, Float[np.ndarray, "n d"]]]:
    """Codes of audio and what cannot be looked up from them, by one pass of the encoder where the codec offers it."""
    with torch.no_grad(), parallel.alone(codec):
        if hasattr(codec, "codes_and_latent"):
            codes, latent = codec.codes_and_latent(wav)
            direct = {"latent": latent}
        else:
            direct = codec.layers(wav)
            frames = next(iter(direct.values())).shape[1]
            codes = codec.encode(wav) if codec.codebooks else torch.zeros(1, 0, frames, dtype=torch.int64)
            if codec.codebooks:
                direct = {name: layer for name, layer in direct.items() if not name.isdigit()}
    return codes[0].cpu().numpy(), {name: layer[0].float().cpu().numpy() for name, layer in direct.items()}


def _inside(spans: Sequence[tuple[float, float]], rate: float, count: int) -> Bool[np.ndarray, " n"]:
    found = np.zeros(count, dtype=bool)
    if spans:
        start, end = np.array(spans, dtype=np.float64).T
        for first, stop in zip(*frame_spans(start, end, rate, count)[:2]):
            found[first:stop] = True
    return found


def batch_codes(
    codec: Codec, wav: Float[Tensor, "b t"], sources: Sequence[tuple[Utterance, float]], cache: CodesCache | None
) -> Int[Tensor, "b q n"]:
    """Codes of a batch of excerpts: audio from (utterance, second) on, all of one length."""
    device = getattr(codec, "device", "cpu")
    key = None
    if cache is not None:
        try:
            asked = " ".join(f"{file_sha256(utterance.path)}@{start!r}" for utterance, start in sources)
            key = entry_key(codec, f"excerpts of {wav.shape[1]} samples {asked}")
        except DataError:
            key = None  # it was read before: gone since
    held = cache.fetch(key, ("codes",)) if cache is not None and key is not None else None
    if held is None:
        with parallel.alone(codec):
            codes = codec.encode(wav.to(device))
        if cache is not None and key is not None:
            cache.store(key, codes=codes.cpu().numpy().astype(smallest_integer(codec.codebook_size)))
        return codes
    return torch.from_numpy(held["codes"].astype(np.int64)).to(device)
