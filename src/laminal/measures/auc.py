"""Area under the ROC curve of two sets of weighted values: the chance that one of the first is smaller than one of the second."""

import numpy as np
from jaxtyping import Float, Shaped


def auc(
    smaller: Shaped[np.ndarray, " p"],
    larger: Shaped[np.ndarray, " r"],
    smaller_weights: Float[np.ndarray, "p draws"],
    larger_weights: Float[np.ndarray, "r draws"],
) -> Float[np.ndarray, " draws"]:
    """P(smaller < larger) + P(equal) / 2, where members come up by weight, for each column of weights (one, or bootstrap draws).

    0.5 where the two sets are alike, 1 where every value of `smaller` is below every value of `larger`; NaN for a column of zero weights.
    The order of the values is the same in every draw: they are sorted once, and weights are accumulated in that order.
    """
    order = np.argsort(larger, kind="stable")
    ranked = larger[order]
    below = np.zeros((len(larger) + 1, larger_weights.shape[1]))  # total weight of the values before each
    for place, row in enumerate(order):  # seven times as fast as cumsum along the first axis
        np.add(below[place], larger_weights[row], out=below[place + 1])
    left, right = np.searchsorted(ranked, smaller, "left"), np.searchsorted(ranked, smaller, "right")
    total = below[-1]
    beaten = np.einsum("pd,pd->d", smaller_weights, below[left])
    if (left != right).any():
        beaten = (beaten + np.einsum("pd,pd->d", smaller_weights, below[right])) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - beaten / (smaller_weights.sum(0) * total)
