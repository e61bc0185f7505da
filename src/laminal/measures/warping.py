"""Two utterances of one text, by different speakers at different speeds: mel-cepstral distortion along the best path between them."""

import math

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

DB = 10 / math.log(10) * math.sqrt(2)  # from the distance of two mel cepstra, see `laminal.measures.cepstra.mcd`


def warped_mcd(reference: Float[np.ndarray, "n d"], estimate: Float[np.ndarray, "m d"]) -> float:
    """Mel-cepstral distortion in dB, mean over the path of dynamic time warping with the smallest sum; NaN where one side has no frame.

    Steps are right, down and diagonal, each adding the frame it enters. Both sides hold the loud frames alone.
    """
    if not len(reference) or not len(estimate):
        return math.nan
    total, length = _cheapest(DB * cdist(reference, estimate))
    return total / length


def _cheapest(cost: Float[np.ndarray, "n m"]) -> tuple[float, int]:
    """Sum of the cheapest path from corner to corner, and how many cells it enters; one anti-diagonal after the other."""
    rows, columns = cost.shape
    total, steps = np.full((2, rows + 1), np.inf), np.zeros((2, rows + 1), dtype=np.int64)  # of the two anti-diagonals before, by row
    total[0, 0] = 0.0  # before the first cell
    for diagonal in range(rows + columns - 1):
        low, high = max(0, diagonal - columns + 1), min(rows - 1, diagonal)
        row = np.arange(low, high + 1)
        # the cell itself is row + 1 here: one to the left has the same row, one above has the row before
        ways = np.stack([total[0, row], total[1, row], total[1, row + 1]])
        walked = np.stack([steps[0, row], steps[1, row], steps[1, row + 1]])
        best = ways.argmin(0)
        place = np.arange(len(row))
        fresh, count = np.full(rows + 1, np.inf), np.zeros(rows + 1, dtype=np.int64)
        fresh[row + 1] = ways[best, place] + cost[row, diagonal - row]
        count[row + 1] = walked[best, place] + 1
        total, steps = np.stack([total[1], fresh]), np.stack([steps[1], count])
    return float(total[1, rows]), int(steps[1, rows])
