"""Waveforms sample by sample: scale-invariant signal-to-distortion ratio."""

import numpy as np
from jaxtyping import Float

CAP = 100.0  # dB: equal waveforms have an infinite ratio and silence none, and neither has a mean


def si_sdr(reference: Float[np.ndarray, "b t"], estimate: Float[np.ndarray, "b t"]) -> Float[np.ndarray, " b"]:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, arXiv 1811.02508), within +-CAP; means are removed.

    10 log10 (|a s|^2 / |a s - e|^2), a = <e, s> / <s, s>. A silent estimate has -CAP, a silent reference NaN.
    """
    s = np.asarray(reference, dtype=np.float64)
    e = np.asarray(estimate, dtype=np.float64)
    s, e = s - s.mean(1, keepdims=True), e - e.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        target = (s * e).sum(1, keepdims=True) / (s * s).sum(1, keepdims=True) * s
        ratio = 10 * np.log10((target * target).sum(1) / ((target - e) ** 2).sum(1))
    silent = ~(e * e).sum(1).astype(bool) & (s * s).sum(1).astype(bool)
    return np.clip(np.where(silent, -CAP, ratio), -CAP, CAP)
