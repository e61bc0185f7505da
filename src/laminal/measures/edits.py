"""Edit distances between strings of units."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from rapidfuzz.distance import Levenshtein


def repeats_removed(units: Sequence[int]) -> tuple[int, ...]:
    """Write every run of one unit once: 5 5 5 2 2 5 -> 5 2 5."""
    return tuple(unit for index, unit in enumerate(units) if index == 0 or unit != units[index - 1])


def normalised_edits(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> Float[np.ndarray, " n"]:
    """Levenshtein distance of a[i] and b[i] over the length of the longer, in [0, 1]; 0 for two empty strings."""
    return np.array([Levenshtein.normalized_distance(tuple(x), tuple(y)) for x, y in zip(a, b, strict=True)])
