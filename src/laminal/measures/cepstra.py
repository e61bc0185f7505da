"""Mel-cepstral distortion: how far two spectral envelopes lie apart, in dB, level aside."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from laminal import compat

WINDOW, HOP, FFT = 0.025, 0.010, 512  # s, s, samples at 16 kHz
BANDS, ORDER = 40, 24
FLOOR = 1e-5  # of mel amplitude, for samples within +-1
RANGE_DB = 40.0  # frames this far below the loudest one are silence
RATE = 16000


class MelCepstra:
    """Mel cepstra c_1 .. c_24 every 10 ms at 16 kHz: cosine coefficients of the natural log of 40 mel amplitudes (25 ms Hann window).

    c_m = 2 / 40 sum_j ln(a_j) cos(pi m (j + 1/2) / 40), so ln a_j = c_0 / 2 + sum_m c_m cos(..), the convention of SPTK's mel cepstra.
    Bands are HTK mel triangles from 0 to 8000 Hz, each of sum 1. c_0, the level, is left out.
    """

    def __init__(self) -> None:
        filters = compat.torchaudio().functional.melscale_fbanks(FFT // 2 + 1, 0.0, RATE / 2, BANDS, RATE)
        self.filters = filters / filters.sum(0)
        band, order = torch.arange(BANDS, dtype=torch.float64) + 0.5, torch.arange(1, ORDER + 1, dtype=torch.float64)
        self.cosines = (2 / BANDS * torch.cos(math.pi / BANDS * torch.outer(band, order))).float()
        self.window = torch.hann_window(round(WINDOW * RATE))
        self.window = self.window / self.window.sum()

    def __call__(self, wav: Float[Tensor, "b t"]) -> tuple[Float[Tensor, "b n 24"], Bool[Tensor, "b n"]]:
        """Cepstra of each frame, and whether the frame lies within RANGE_DB of the loudest of its row."""
        stft = torch.stft(
            wav, FFT, round(HOP * RATE), win_length=len(self.window), window=self.window, pad_mode="constant", return_complex=True
        )
        magnitude = stft.abs().transpose(1, 2)  # (b, n, 257)
        level = magnitude.square().sum(2)
        loud = (level > 0) & (level >= level.amax(1, keepdim=True) * 10 ** (-RANGE_DB / 10))
        return (magnitude @ self.filters).clamp(min=FLOOR).log() @ self.cosines, loud


def mcd(reference: Float[Tensor, "b n d"], estimate: Float[Tensor, "b n d"], loud: Bool[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Mel-cepstral distortion in dB (Kubichek 1993): mean over the reference's loud frames of 10 / ln 10 sqrt(2 sum_m (c_m - c'_m)^2).

    The frames are compared as they stand (no time warping). It is the root mean square difference of the two log amplitude spectra,
    smoothed to the order of the cepstra. NaN where no frame is loud.
    """
    each = 10 / math.log(10) * (2 * (reference - estimate).square().sum(2)).sqrt()
    return torch.where(loud, each, 0.0).sum(1) / loud.sum(1)
