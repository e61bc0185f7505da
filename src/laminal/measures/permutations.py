"""What CKA is by chance: the pairing of two spaces is broken a thousand times, by one matrix product for each batch of permutations."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

BATCH_BYTES = 64_000_000  # of permuted kernel matrices held at once
ROW_BYTES = 256_000_000  # of centred kernel matrices of layers held at once


def permutations(n: int, count: int, seed: int | Sequence[int], strata: Int[np.ndarray, " n"] | None = None) -> Int[np.ndarray, "count n"]:
    """Draw `count` permutations of n items from a private generator; with `strata`, items change places only within their own stratum."""
    random = np.random.default_rng(seed)
    found = np.tile(np.arange(n), (count, 1))
    for stratum in [np.arange(n)] if strata is None else [np.flatnonzero(strata == each) for each in np.unique(strata)]:
        found[:, stratum] = random.permuted(np.tile(stratum, (count, 1)), axis=1)
    return found


def merged(lengths: Int[np.ndarray, " n"], least: int) -> Int[np.ndarray, " n"]:
    """Strata of whole numbers: a number alone where `least` items or more have it, else together with the next ones."""
    values, counts = np.unique(lengths, return_counts=True)
    stratum, held, of = 0, 0, {}
    for value, count in zip(values.tolist(), counts.tolist()):
        of[value] = stratum
        held += count
        if held >= least:
            stratum, held = stratum + 1, 0
    if held and stratum:  # the last ones are too few: they join those before
        of = {value: min(number, stratum - 1) for value, number in of.items()}
    return np.array([of[value] for value in lengths.tolist()], dtype=np.int64)


def permuted_products(
    fixed: Sequence[Float[np.ndarray, "n n"]], moved: Float[np.ndarray, "n n"], permutations: Int[np.ndarray, "count n"]
) -> Float[np.ndarray, "count k"]:
    """Inner products of symmetric matrices `fixed` with `moved`, rows and columns of which are permuted: CKA of `measures.cka.unit`s.

    Symmetry halves the work: the part on and above the diagonal is a row of numbers, and a batch of permutations one product of rows.
    """
    n = len(moved)
    above = np.ravel_multi_index(np.triu_indices(n), (n, n))
    weights = np.where(above % (n + 1) == 0, 1.0, 2.0)  # a pair stands for both its orders
    size = max(1, BATCH_BYTES // (8 * len(above)))
    found = np.empty((len(permutations), len(fixed)))
    step = max(1, ROW_BYTES // (8 * len(above)))
    rows, both, drawn = np.empty((n, n)), np.empty((n, n)), np.empty((min(size, len(permutations)), len(above)))
    for first in range(0, len(fixed), step):
        part = np.stack([each.ravel()[above] * weights for each in fixed[first : first + step]])
        for begin in range(0, len(permutations), size):
            orders = permutations[begin : begin + size]
            for place, order in enumerate(orders):  # mode: indices are good, and `out` is written without a copy between
                np.take(moved, order, 0, out=rows, mode="clip")
                np.take(rows, order, 1, out=both, mode="clip")
                np.take(both.reshape(-1), above, out=drawn[place], mode="clip")
            found[begin : begin + size, first : first + step] = drawn[: len(orders)] @ part.T
    return found
