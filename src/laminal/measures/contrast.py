"""A set of word pairs against its random pairs: mean, difference, ratio, AUC and PhonSem, under all bootstrap draws at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from laminal.measures.auc import auc
from laminal.measures.bootstrap import interval, pair_weights, weighted_means


@dataclass(frozen=True, slots=True)
class Drawn:
    """Values of a set's token pairs; draw 0 is the sample itself (every word type once), the others resample word types.

    A token pair weighs 1 / (token pairs of its type pair): token pairs are averaged to type pairs, type pairs to the mean.
    """

    n: int  # type pairs
    clusters: int  # word types
    kept: Int[np.ndarray, " p"]  # rows of the set that count here
    weights: Float[np.ndarray, "p draws"]
    values: Float[np.ndarray, "p k"]
    means: Float[np.ndarray, "draws k"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number for each column, with the 95 % interval over draws; NaN where it is undefined."""

    value: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]


def drawn(
    values: Float[np.ndarray, "all k"],
    group: Int[np.ndarray, " all"],
    types: Int[np.ndarray, "g 2"],
    keep: Bool[np.ndarray, " all"],
    counts: Float[np.ndarray, "draws clusters"],
    minimum: int,
) -> Drawn | None:
    """Weigh the kept rows under each draw; None where they are of fewer than `minimum` type pairs.

    `group` numbers the type pair of each row, `types` gives the two word types of each; `counts` says how often each type was drawn, its
    first row being all ones.
    """
    kept = np.flatnonzero(keep)
    rows = group[kept]
    size = np.bincount(rows, minlength=len(types))
    n = int((size > 0).sum())
    if n < minimum:
        return None
    weights = pair_weights(counts, types[rows, 0], types[rows, 1]) / size[rows][:, None]
    clusters = len(np.unique(types[rows]))
    return Drawn(n, clusters, kept, weights, values[kept], weighted_means(weights, values[kept]))


def estimate(draws: Float[np.ndarray, "draws k"]) -> Estimate:
    """Value of draw 0 and interval of the others; where the interval is undefined, so is the value."""
    low, high = interval(draws[1:])
    return Estimate(np.where(np.isfinite(low), draws[0], np.nan), low, high)


def contrasts(pairs: Drawn, random: Drawn, same_order: Sequence[int]) -> dict[str, Estimate]:
    """Mean, minus random, that over random, and AUC (the chance that a pair is closer than a random one) of each column.

    Both sets are resampled by the same draw of word types. `same_order[k]` names an earlier column whose values have the order of
    column k, so its AUC is taken over; -1: no AUC.
    """
    difference = pairs.means - random.means
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = difference / random.means
    areas = np.full(pairs.means.shape, np.nan)
    defined = np.isfinite(pairs.means[0] + random.means[0])
    own = [column for column, source in enumerate(same_order) if source == column and defined[column]]
    areas[:, own] = auc(pairs.values[:, own], random.values[:, own], pairs.weights, random.weights)
    for column, source in enumerate(same_order):
        if 0 <= source < column:
            areas[:, column] = areas[:, source]
    found = {"mean": pairs.means, "minus_random": difference, "over_random": relative, "auc": areas}
    return {metric: estimate(draws) for metric, draws in found.items()}


def phonsem(sound: Drawn, sound_random: Drawn, meaning: Drawn, meaning_random: Drawn) -> tuple[Estimate, Bool[np.ndarray, " k"]]:
    """(random_h - near_homophone) / (random_s - synonym_core) of each column, and whether it is defined.

    It is undefined where the denominator's interval holds 0: it could have any size and either sign.
    """
    above = sound_random.means - sound.means
    below = meaning_random.means - meaning.means
    low, high = interval(below[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = estimate(above / below)
    return ratio, ((low > 0) | (high < 0)) & np.isfinite(ratio.value)
