"""Wide-band PESQ of speech at 16 kHz."""

import importlib.util

import numpy as np
from jaxtyping import Float

RATE = 16000
MISSING = "the package pesq is not installed; pip install 'laminal[quality]' (it is built with a C compiler)"


def pesq_available() -> bool:
    """Say whether the package `pesq` is installed: it is C, and an extra."""
    return importlib.util.find_spec("pesq") is not None


def pesq(reference: Float[np.ndarray, "b t"], estimate: Float[np.ndarray, "b t"]) -> Float[np.ndarray, " b"]:
    """Wide-band PESQ at 16 kHz (ITU-T P.862.2), MOS-LQO from 1.02 to 4.64, row by row.

    NaN where it finds no speech, or less than a quarter of a second. Raises ImportError without the package `pesq`.
    """
    from pesq import PesqError
    from pesq import pesq as measure

    found = np.full(len(reference), np.nan)
    for row, (a, b) in enumerate(zip(reference, estimate)):
        if a.any() and b.any():  # it divides by the peak
            try:
                found[row] = measure(RATE, a, b, "wb")
            except PesqError:
                continue
    return found
