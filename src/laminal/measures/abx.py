"""ABX discriminability: is X, of A's category, nearer to A than to B? (Schatz et al. 2013)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def abx_score(d_ax: Float[np.ndarray, "x a"], d_bx: Float[np.ndarray, "x b"]) -> float:
    """Share of triples (a, b, x) with d(a, x) < d(b, x), ties counting half: 1 is perfect, 0.5 chance."""
    nearer = (d_ax[:, :, None] < d_bx[:, None, :]).mean(dtype=np.float64)
    return float(nearer + 0.5 * (d_ax[:, :, None] == d_bx[:, None, :]).mean(dtype=np.float64))


def angular_dtw(
    first: Sequence[Float[np.ndarray, "_ d"]], second: Sequence[Float[np.ndarray, "_ d"]]
) -> Float[np.ndarray, " n"]:
    """Dynamic time warping of first[i] with second[i]: mean angle / pi along the cheapest path, all pairs at once.

    Steps are right, down and diagonal, each adding the cost of the cell it enters; the sum is divided by the length of the path, as in
    ABXpy and the ZeroSpeech challenges. A frame of zeros is at angle 1/2 to all.
    """
    rows, columns = max(len(f) for f in first), max(len(s) for s in second)
    cost = np.full((len(first), rows, columns), np.inf)
    for index, (f, s) in enumerate(zip(first, second, strict=True)):
        cosine = _unit(f) @ _unit(s).T
        cost[index, : len(f), : len(s)] = np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi
    total = np.full((len(first), rows + 1, columns + 1), np.inf)
    steps = np.zeros((len(first), rows + 1, columns + 1))
    total[:, 0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            before = np.stack([total[:, i - 1, j - 1], total[:, i - 1, j], total[:, i, j - 1]])
            lengths = np.stack([steps[:, i - 1, j - 1], steps[:, i - 1, j], steps[:, i, j - 1]])
            chosen = before.argmin(0)[None]
            total[:, i, j] = np.take_along_axis(before, chosen, 0)[0] + cost[:, i - 1, j - 1]
            steps[:, i, j] = np.take_along_axis(lengths, chosen, 0)[0] + 1
    last = np.arange(len(first)), np.array([len(f) for f in first]), np.array([len(s) for s in second])
    return np.asarray(total[last] / steps[last])


def _unit(frames: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(frames, axis=1, keepdims=True)
    return np.divide(frames, norm, out=np.zeros_like(frames, dtype=np.float64), where=norm > 0)
