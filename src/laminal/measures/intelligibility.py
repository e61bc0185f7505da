"""Short-time objective intelligibility, plain and extended, of one utterance at a time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view
from pystoi.utils import resample_oct, thirdoct

RATE = 10000  # Hz
WINDOW, FFT, HOP = 256, 512, 128
BANDS, LOWEST = 15, 150  # third octaves, Hz
SEGMENT = 30  # frames, 384 ms
CLIP = 1 + 10 ** (15 / 20)  # signal-to-distortion ratios below -15 dB count as -15 dB
RANGE_DB = 40.0  # frames of the reference this far below its loudest are left out of both
EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True)
class Intelligibility:
    """Both between about 0 (nothing understood) and 1 (equal)."""

    stoi: float  # Taal et al. 2011
    estoi: float  # Jensen and Taal 2016


def framed(wav: Float[np.ndarray, "t b"], sample_rate: int) -> Float[np.ndarray, "b n w"]:
    """Resample to 10 kHz (Octave's filter, as the authors' code) and cut into windowed frames: one row an utterance."""
    wav = np.asarray(wav, dtype=np.float64)
    if sample_rate != RATE:
        wav = resample_oct(wav, RATE, sample_rate)
    return _frames(wav.T)


def intelligibility(reference: Float[np.ndarray, "n w"], estimate: Float[np.ndarray, "n w"]) -> Intelligibility:
    """Measure two utterances framed by `framed`; NaN where fewer than 30 frames of the reference are speech.

    The numbers are pystoi's, but without its draws from numpy's global generator, which it adds to the extended measure against a division
    by 0: a constant row or column counts 0 here.
    """
    level = 20 * np.log10(np.linalg.norm(reference, axis=1) + EPS)
    loud = level > level.max(initial=-np.inf) - RANGE_DB
    x, y = _bands(reference, loud), _bands(estimate, loud)
    if x.shape[1] < SEGMENT:
        return Intelligibility(float("nan"), float("nan"))
    segments = (sliding_window_view(x, SEGMENT, axis=1), sliding_window_view(y, SEGMENT, axis=1))  # (bands, segments, 30)
    return Intelligibility(_plain(*segments), _extended(*segments))


def _frames(wav: Float[np.ndarray, "... t"]) -> Float[np.ndarray, "... n w"]:
    """Window frames every 128 samples; the last whole one is left out, as the authors do."""
    if wav.shape[-1] <= WINDOW:
        return np.zeros((*wav.shape[:-1], 0, WINDOW))
    cut = sliding_window_view(wav, WINDOW, axis=-1)[..., : wav.shape[-1] - WINDOW : HOP, :]
    return cut * np.hanning(WINDOW + 2)[1:-1]


def _bands(frames: Float[np.ndarray, "n w"], loud: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "bands m"]:
    """Third-octave amplitudes of the loud frames, laid together again by overlap and add."""
    kept = frames[loud]
    joined = np.zeros((len(kept) + 1, HOP))
    joined[:-1] += kept[:, :HOP]
    joined[1:] += kept[:, HOP:]
    spectrum = np.fft.rfft(_frames(joined.ravel()), FFT)
    return np.sqrt(thirdoct(RATE, FFT, BANDS, LOWEST)[0] @ (spectrum.real**2 + spectrum.imag**2).T)


def _plain(x: Float[np.ndarray, "bands j s"], y: Float[np.ndarray, "bands j s"]) -> float:
    scale = np.linalg.norm(x, axis=2, keepdims=True) / (np.linalg.norm(y, axis=2, keepdims=True) + EPS)
    clipped = np.minimum(y * scale, x * CLIP)
    x, clipped = x - x.mean(2, keepdims=True), clipped - clipped.mean(2, keepdims=True)
    norms = (np.linalg.norm(x, axis=2) + EPS) * (np.linalg.norm(clipped, axis=2) + EPS)
    return float(((x * clipped).sum(2) / norms).mean())


def _extended(x: Float[np.ndarray, "bands j s"], y: Float[np.ndarray, "bands j s"]) -> float:
    x, y = (_unit(_unit(each, 2), 0) for each in (x, y))
    return float((x * y).sum() / (SEGMENT * x.shape[1]))


def _unit(values: np.ndarray, axis: int) -> np.ndarray:
    """Remove the mean along `axis` and divide by the norm; what is constant becomes 0."""
    values = values - values.mean(axis, keepdims=True)
    norm = np.linalg.norm(values, axis=axis, keepdims=True)
    return np.where(norm > EPS, values / np.maximum(norm, EPS), 0.0)
