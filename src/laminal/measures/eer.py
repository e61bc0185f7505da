"""Equal error rate of verification trials, for the sample and for every bootstrap draw of it."""

import numpy as np
from jaxtyping import Float

CHUNK = 100  # draws at once


def equal_error_rate(
    target: Float[np.ndarray, " p"],
    impostor: Float[np.ndarray, " r"],
    target_weights: Float[np.ndarray, "p draws"],
    impostor_weights: Float[np.ndarray, "r draws"],
) -> Float[np.ndarray, " draws"]:
    """Rate at which as many targets are refused as impostors accepted, for each column of weights; NaN where one side weighs nothing.

    A trial is accepted where its score is above a threshold. Between two thresholds both rates move in a straight line, so that scores
    which are all alike give 0.5 and tied ones no advantage.
    """
    inside = _groups(target, impostor)
    found = np.empty(target_weights.shape[1])
    for begin in range(0, len(found), CHUNK):
        part = np.s_[begin : begin + CHUNK]
        refused, difference = _rates(*inside, target_weights[:, part], impostor_weights[:, part])
        at, share = _crossing(difference)
        column = np.arange(len(at))
        found[part] = refused[at - 1, column] + share * (refused[at, column] - refused[at - 1, column])
    return found


def trial_errors(
    target: Float[np.ndarray, " p"], impostor: Float[np.ndarray, " r"]
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " r"]]:
    """Error of each trial at the threshold of the equal error rate: 1, 0, or a share where the threshold lies among equal scores.

    The mean of either side is the equal error rate, so that two systems can be compared trial by trial.
    """
    order, group = _groups(target, impostor)
    ones = np.ones((len(target), 1)), np.ones((len(impostor), 1))
    _, difference = _rates(order, group, *ones)
    at, share = _crossing(difference)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = group
    mine = int(at[0]) - 1  # the group of equal scores that the threshold goes through
    below = np.where(place < mine, 1.0, np.where(place == mine, float(share[0]), 0.0))
    return below[: len(target)], 1 - below[len(target) :]


def _groups(target: Float[np.ndarray, " p"], impostor: Float[np.ndarray, " r"]) -> tuple[np.ndarray, np.ndarray]:
    """Order of all scores, targets first, and to which group of equal scores each of the ordered ones belongs."""
    scores = np.concatenate([target, impostor])
    order = np.argsort(scores, kind="stable")
    return order, np.cumsum(np.diff(scores[order], prepend=scores[order[0]]) > 0)


def _rates(order: np.ndarray, group: np.ndarray, target: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of targets below each threshold, and that minus the share of impostors above it: thresholds between groups, from below all."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    mine = np.concatenate([target, np.zeros((len(impostor), target.shape[1]))])[order]
    others = np.concatenate([np.zeros((len(target), impostor.shape[1])), impostor])[order]
    below = [np.cumsum(np.add.reduceat(side, starts, 0), 0) for side in (mine, others)]
    with np.errstate(divide="ignore", invalid="ignore"):
        refused, passed = (np.concatenate([np.zeros((1, side.shape[1])), side / side[-1:]]) for side in below)
    return refused, refused - (1 - passed)


def _crossing(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First threshold at which the difference of the rates is not negative, and how far towards it from the one before it is 0."""
    at = np.maximum((difference >= 0).argmax(0), 1)
    column = np.arange(len(at))
    before, after = difference[at - 1, column], difference[at, column]
    with np.errstate(divide="ignore", invalid="ignore"):
        return at, np.where(np.isfinite(before), -before / (after - before), np.nan)
