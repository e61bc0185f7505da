"""What a codec is: audio to codes, codes to audio, and the features of every layer; and what frozen networks and sums have in common."""

import math
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.errors import RequestError

PLACES = 8  # within one hop, at which the delay of the response is measured
LEAD = 1.0  # seconds of noise before and after them


@runtime_checkable
class Codec(Protocol):
    """A frozen codec in eval mode; all tensors on its own device.

    It may also have `device`, `codes_and_latent(wav)` (both from one pass of the encoder), `causal` (no frame depends on audio after it),
    `delay` (seconds from a sound to the frames that answer it, see `response_delay`), `concurrent` (several threads may call it at once).
    """

    name: str
    sample_rate: int  # Hz
    frame_rate: float  # Hz
    codebooks: int  # 0: no codes (self-supervised encoders), then only `layers` of audio works
    codebook_size: int
    revision: str  # changes whenever the features may change: goes into cache keys

    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Codes of every codebook, int64."""

    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Audio of codes; the first k codebooks alone (q = k) are decoded too."""

    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Accumulated, decoded, projected features "1".."K"; from audio (float) also "latent", before quantization."""


class Frozen:
    """A network that listens: it has a device, takes audio from any other, and its delay can be measured."""

    name: str
    sample_rate: int
    frame_rate: float
    device: torch.device = torch.device("cpu")
    causal: bool = False

    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Features of every layer."""
        raise NotImplementedError

    @cached_property
    def delay(self) -> float:
        """Seconds from a sound to the middle of its response, measured on this very network; see `response_delay`."""
        return response_delay(self)

    def _heard(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        if wav.shape[1] == 0:
            raise RequestError("0 samples cannot be encoded; give at least one")
        return wav.to(self.device)


class Encoder(Frozen):
    """A network without codes: its layers are read from audio."""

    codebooks = 0
    codebook_size = 0

    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Refuse: there are no codes."""
        raise RequestError(f"{self.name} has no codebooks: read its layers, or take its k-means units (codec=kmeans)")

    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Refuse: there are no codes."""
        raise RequestError(f"{self.name} has no codebooks and no decoder: probe its layers alone (word_pairs, units)")

    def _from_audio(self, wav_or_codes: Tensor) -> Float[Tensor, "b t"]:
        if not wav_or_codes.is_floating_point():
            raise RequestError(f"{self.name} has no codebooks: its layers come from audio (float), not from codes")
        return self._heard(wav_or_codes)


class Summed(Frozen):
    """A codec whose layer k is a sum over its first k codebooks; a subclass gives `_latent`, `_quantize`, `_sums` and `_audio`."""

    codebooks: int
    codebook_size: int

    @torch.no_grad()
    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Codes of all codebooks; the last frame is padded."""
        return self._quantize(self._latent(self._heard(wav)))

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Audio of the codebooks given (the first q), whole frames."""
        return self._audio(self._known(codes))

    @torch.no_grad()
    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Accumulated codebook vectors "1".."K" of codes; from audio (b t) also the encoder's output, "latent"."""
        if not wav_or_codes.is_floating_point():
            return self._named(self._known(wav_or_codes))
        codes, latent = self.codes_and_latent(wav_or_codes)
        return {"latent": latent} | self._named(codes)

    @torch.no_grad()
    def codes_and_latent(self, wav: Float[Tensor, "b t"]) -> tuple[Int[Tensor, "b q n"], Float[Tensor, "b n d"]]:
        """Codes and the encoder's output, of one pass: what `encode` and `layers(wav)["latent"]` give."""
        latent = self._latent(self._heard(wav))
        return self._quantize(latent), latent

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        raise NotImplementedError

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        raise NotImplementedError

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        """Sum up in the order in which the library adds, so that the last one is its decoder input to the last bit."""
        raise NotImplementedError

    def _audio(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        raise NotImplementedError

    def _known(self, codes: Int[Tensor, "b q n"]) -> Int[Tensor, "b q n"]:
        if not 1 <= codes.shape[1] <= self.codebooks:
            raise RequestError(f"codes of {codes.shape[1]} codebooks, and {self.name} has {self.codebooks}: give its first few or all")
        return codes.to(self.device)

    def _named(self, codes: Int[Tensor, "b q n"]) -> dict[str, Float[Tensor, "b n d"]]:
        return {str(number): layer for number, layer in enumerate(self._sums(codes), start=1)}


def whole_frames(wav: Float[Tensor, "b t"], hop: int) -> Float[Tensor, "b s"]:
    """Fill the last frame with zeros."""
    return torch.nn.functional.pad(wav, (0, -wav.shape[1] % hop))


def bursts(sample_rate: int, seconds: float, seed: int) -> Float[Tensor, "1 t"]:
    """Noise in bursts of 0.1 s between -60 and -12 dB, from a private generator: something to hear for networks that have heard nothing."""
    random = np.random.default_rng(seed)
    levels = 10 ** (random.uniform(-60, -12, math.ceil(10 * seconds)) / 20)
    envelope = np.repeat(levels, math.ceil(sample_rate / 10))[: round(sample_rate * seconds)]
    return torch.from_numpy((random.standard_normal(len(envelope)) * envelope).astype(np.float32))[None]


def random_entries(residual: Float[Tensor, "n d"], size: int, seed: int) -> Float[Tensor, "size d"]:
    """Draw a codebook at random, about the mean of `residual` and as wide as serves it best.

    Normal entries of width s times the residual's leave, after the nearest of `size` in d dimensions, the least where
    s = sqrt(2 ln(size) / d): at s = 1 the residual would grow from codebook to codebook. Never wider than the residual.
    """
    width = min(1.0, math.sqrt(2 * math.log(size) / residual.shape[1]))
    drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal((size, residual.shape[1])).astype(np.float32))
    return residual.mean(0) + width * residual.std(0, unbiased=False) * drawn.to(residual.device)


@torch.no_grad()
def response_delay(codec: Frozen) -> float:
    """Seconds from a sound to the middle of the response of the first layer, on the clock where frame k stands at (k + 0.5) / rate.

    A click is added to noise at several places within one hop; the response is the squared change of every frame, its middle the time
    when half of it has come (inside a frame it comes evenly). 0: frames stand where they say. Causal encoders are late.
    """
    hop = codec.sample_rate / codec.frame_rate
    lead = round(LEAD * codec.frame_rate)
    noise = 0.05 * torch.from_numpy(np.random.default_rng(0).standard_normal(round((2 * lead + 1) * hop)).astype(np.float32))
    rows = noise.repeat(PLACES + 1, 1)
    places = [round((lead + (place + 0.5) / PLACES) * hop) for place in range(PLACES)]
    for row, place in enumerate(places, start=1):
        rows[row, place] += 0.5
    latent = next(iter(codec.layers(rows).values())).double().cpu()
    change = (latent[1:] - latent[:1]).square().sum(2)  # (places, n)
    come = torch.nn.functional.pad(change.cumsum(1) / change.sum(1, keepdim=True), (1, 0))
    frames = np.arange(come.shape[1])
    middles = [float(np.interp(0.5, row.numpy(), frames)) for row in come]
    return float(np.mean([middle / codec.frame_rate - place / codec.sample_rate for middle, place in zip(middles, places, strict=True)]))
