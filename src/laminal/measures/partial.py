"""What two spaces share beyond a third thing: kernel matrices of items with what a linear regression on it explains taken out."""

import numpy as np
from jaxtyping import Float

from laminal.errors import DataError

FEWEST = 30  # dimensions left for the items
SINGULAR = 1e-8  # of the largest eigenvalue: items that the regression explains wholly have no residuals to centre
RANK = 1e-9  # of the largest singular value: below it a column is a combination of others


def complement(given: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n m"]:
    """Basis of all directions over items that neither a constant nor a column of `given` has a part in (m = n - 1 - rank).

    Residuals of a regression lie in m dimensions of n: the debiased HSIC of the residuals themselves would still find the constraint they
    share, and score above 0 for independent features. Turned into this basis (Theil's BLUS residuals, 1965) they have none. Raises
    DataError where fewer than 30 dimensions are left.
    """
    n = len(given)
    columns = np.concatenate([np.ones((n, 1)), given - given.mean(0)], axis=1)
    columns = columns / np.maximum(np.linalg.norm(columns, axis=0), np.finfo(float).tiny)
    left, sizes, _ = np.linalg.svd(columns, full_matrices=True)
    rank = int((sizes > RANK * sizes[0]).sum())
    if n - rank < FEWEST:
        raise DataError(f"{n} items leave {max(n - rank, 0)} dimensions beyond {rank} to be taken out; at least {FEWEST} are needed")
    return left[:, rank:]


def within(kernel: Float[np.ndarray, "n n"], basis: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "m m"]:
    """Turn a kernel matrix of items into the basis of `complement`."""
    return basis.T @ kernel @ basis


def hollowing(basis: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n n"]:
    """Give the matrix by which `hollow` finds what to take from every item (the pseudo-inverse of the squares of the projection)."""
    return np.linalg.pinv(np.square(basis @ basis.T), rcond=SINGULAR, hermitian=True)


def hollow(
    kernel: Float[np.ndarray, "n n"], basis: Float[np.ndarray, "n m"], inverse: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, "m m"]:
    """Turn a kernel matrix into the basis of `complement`, less a term for each item that leaves its residuals a diagonal of zeros.

    An item's own noise stands on the diagonal of its kernel, but a regression spreads it: where both sides hear some items more exactly
    than others, products of kernels that were only turned are above 0 for independent features (CKA 0.011 with text for noise that falls
    with the root of a word's tokens, of 466 words and 215 columns). Without a regression this is the U-centring of Szekely and Rizzo 2014.
    """
    turned = within(kernel, basis)
    own = inverse @ np.einsum("nm,mk,nk->n", basis, turned, basis, optimize=True)
    return turned - (basis * own[:, None]).T @ basis
