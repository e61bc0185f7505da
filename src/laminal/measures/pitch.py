"""Pitch by normalised cross-correlation, and how two pitch tracks agree."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

LOWEST, HIGHEST = 60.0, 400.0  # Hz
WORK_RATE = 8000  # Hz, at which lags are counted
BAND = (50.0, 1500.0)  # Hz: a few harmonics; what hisses above does not blur the periods
HOP, WINDOW = 0.010, 0.030  # s
VOICED = 0.5  # correlation at the best lag from which a frame is voiced
FIRST = 0.85  # of the best correlation: the shortest such lag is the period, as its multiples correlate as well
RANGE_DB = 30.0  # frames this far below the loudest one are unvoiced; at 40 a quarter of real fricatives passed for voiced, at 30 8 %
FEWEST = 10  # frames voiced in both tracks
CONSTANT = 1e-6  # spread of log F0


@dataclass(frozen=True, slots=True)
class Pitch:
    """Fundamental frequency every 10 ms."""

    f0: Float[Tensor, "b n"]  # Hz, of the best period whether voiced or not
    voiced: Bool[Tensor, "b n"]


def pitch(wav: Float[Tensor, "b t"], sample_rate: int) -> Pitch:
    """Track pitch by normalised cross-correlation (Talkin 1995, RAPT's first stage; no dynamic programming), 60 to 400 Hz.

    phi(lag) = <x_s, x_{s+lag}> / (|x_s| |x_{s+lag}|) over 30 ms windows x_s; the period is the shortest local maximum within FIRST of the
    highest, refined by a parabola.
    """
    low = _band(wav, sample_rate)
    window, step = round(WINDOW * WORK_RATE), round(HOP * WORK_RATE)
    shortest, longest = int(WORK_RATE / HIGHEST) - 1, int(np.ceil(WORK_RATE / LOWEST)) + 1
    span = window + longest
    low = torch.nn.functional.pad(low, (0, max(0, span - low.shape[1])))
    frames = low.unfold(1, span, step)  # (b, n, span)
    size = 1 << (span - 1).bit_length()
    spectrum = torch.fft.rfft(frames, size)
    product = torch.fft.irfft(torch.fft.rfft(frames[..., :window], size).conj() * spectrum, size)[..., : longest + 1]
    ends = torch.nn.functional.pad(frames.double().square().cumsum(2), (1, 0))
    energy = (ends[..., window : span + 1] - ends[..., : longest + 1]).clamp(min=0)  # of the window that starts at each lag
    norm = (energy[..., :1] * energy).sqrt()
    phi = torch.where(norm > 0, product / norm.clamp(min=1e-30), 0.0)[..., shortest:].float()
    peak = (phi[..., 1:-1] >= phi[..., :-2]) & (phi[..., 1:-1] > phi[..., 2:])
    height = torch.where(peak, phi[..., 1:-1], 0.0)
    best = height.amax(2, keepdim=True)
    at = ((height >= FIRST * best) & (height > 0)).to(torch.uint8).argmax(2, keepdim=True)
    left, middle, right = (phi.gather(2, at + i)[..., 0] for i in range(3))
    bend = left - 2 * middle + right
    shift = torch.where(bend < 0, 0.5 * (left - right) / bend.clamp(max=-1e-12), 0.0)
    level = energy[..., 0]
    loud = level > level.amax(1, keepdim=True) * 10 ** (-RANGE_DB / 10)
    return Pitch(WORK_RATE / (at[..., 0] + 1 + shortest + shift), (best[..., 0] >= VOICED) & loud)


def _band(wav: Float[Tensor, "b t"], sample_rate: int) -> Float[Tensor, "b s"]:
    """Keep BAND and go to WORK_RATE, in the frequency domain."""
    samples = round(wav.shape[1] * WORK_RATE / sample_rate)
    spectrum = torch.fft.rfft(wav)
    frequency = torch.arange(spectrum.shape[1]) * (sample_rate / wav.shape[1])
    spectrum = torch.where((frequency >= BAND[0]) & (frequency <= BAND[1]), spectrum, 0)
    return torch.fft.irfft(spectrum[:, : samples // 2 + 1], samples) * (samples / wav.shape[1])


def f0_correlation(reference: Pitch, estimate: Pitch) -> Float[np.ndarray, " b"]:
    """Pearson correlation of log F0 over the frames that both tracks call voiced, one value an utterance.

    NaN where the reference has fewer than FEWEST voiced frames; 0 where the two have fewer in common or one of them is constant: a pitch
    that is gone agrees with nothing.
    """
    found = np.full(len(reference.f0), np.nan)
    for row in range(len(found)):
        if int(reference.voiced[row].sum()) < FEWEST:
            continue
        both = reference.voiced[row] & estimate.voiced[row]
        a, b = (track.f0[row][both].double().log().numpy() for track in (reference, estimate))
        found[row] = 0.0
        if len(a) >= FEWEST and min(a.std(), b.std()) > CONSTANT:
            found[row] = np.corrcoef(a, b)[0, 1]
    return found


def voicing_error(reference: Pitch, estimate: Pitch) -> Float[np.ndarray, " b"]:
    """Share of frames that one track calls voiced and the other not (Nakatani et al. 2008), one value an utterance."""
    return (reference.voiced != estimate.voiced).double().mean(1).numpy()
