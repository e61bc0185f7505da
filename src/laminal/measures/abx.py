"""ABX discriminability: is X, of A's category, nearer to A than to B? (Schatz et al. 2013)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def abx_score(d_ax: Float[np.ndarray, "x a"], d_bx: Float[np.ndarray, "x b"]) -> float:
    """Share of triples (a, b, x) with d(a, x) < d(b, x), ties counting half: 1 is perfect, 0.5 chance."""
    nearer = (d_ax[:, :, None] < d_bx[:, None, :]).mean(dtype=np.float64)
    return float(nearer + 0.5 * (d_ax[:, :, None] == d_bx[:, None, :]).mean(dtype=np.float64))


def angular_dtw(first: Sequence[Float[np.ndarray, "_ d"]], second: Sequence[Float[np.ndarray, "_ d"]]) -> Float[np.ndarray, " n"]:
    """Dynamic time warping of first[i] with second[i]: mean angle / pi along the cheapest path, all pairs at once.

    Steps are right, down and diagonal, each adding the cost of the cell it enters; the sum is divided by the length of the path, as in
    ABXpy and the ZeroSpeech challenges. A frame of zeros is at angle 1/2 to all.
    """
    cosine = np.matmul(_padded(first), _padded(second).transpose(0, 2, 1))
    cost = np.moveaxis(np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi, 0, 2)  # rows, columns, pairs
    rows, columns, pairs = cost.shape
    total = np.full((rows + 1, columns + 1, pairs), np.inf)
    steps = np.zeros((rows + 1, columns + 1, pairs))
    total[0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            best, length = total[i - 1, j - 1], steps[i - 1, j - 1]
            for before, walked in ((total[i - 1, j], steps[i - 1, j]), (total[i, j - 1], steps[i, j - 1])):
                nearer = before < best
                best, length = np.where(nearer, before, best), np.where(nearer, walked, length)
            total[i, j], steps[i, j] = best + cost[i - 1, j - 1], length + 1
    last = np.array([len(f) for f in first]), np.array([len(s) for s in second]), np.arange(pairs)
    return np.asarray(total[last] / steps[last])


def _padded(sequences: Sequence[np.ndarray]) -> Float[np.ndarray, "n longest d"]:
    """Frames of length one, filled up with zeros (which no path to the true end crosses)."""
    out = np.zeros((len(sequences), max(len(frames) for frames in sequences), sequences[0].shape[1]))
    for index, frames in enumerate(sequences):
        out[index, : len(frames)] = frames
    norm = np.linalg.norm(out, axis=2, keepdims=True)
    return np.divide(out, norm, out=out, where=norm > 0)
