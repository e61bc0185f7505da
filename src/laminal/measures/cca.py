"""Canonical correlation analysis weighted by projection (PWCCA; Morcos et al. 2018, arXiv 1806.05759), from data or from additive sums.

Both views are centred; U_x and U_y are their left singular vectors with s > CUT s_max. The singular values of U_x' U_y are the correlations
rho, h_i the canonical variates of x (of length 1), and pwcca = sum_i a_i rho_i / sum_i a_i with a_i = sum_j |<h_i, x_j>| over the centred
columns of x: x is always the side that weighs. Sample order and constants added to a column change nothing.
"""

import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from laminal.errors import DataError, RequestError

CUT = 1e-10  # of the largest singular value: what is below is rounding
STATS_CUT = 1e-11  # of the largest eigenvalue of columns of unit variance: sums of squares square the condition number
ENOUGH = 10  # samples for each of p + q directions, below which in-sample values are mostly sample size
LEAST = 3  # samples that a correlation needs: of one it is undefined, of two it is 1 or -1


@dataclass(frozen=True, slots=True)
class Cca:
    """Correlations `rho` (falling; held out: signed, in the order fitted), `weights` of sum 1, and how many directions were fitted."""

    pwcca: float
    rho: Float[np.ndarray, " r"]
    weights: Float[np.ndarray, " r"]
    rank: int


@dataclass(frozen=True, slots=True)
class Directions:
    """What was fitted: centred x times `x` and y times `y` are pairs of canonical variates; `y` is 0 where it has no direction left."""

    x: Float[np.ndarray, "p r"]
    y: Float[np.ndarray, "q r"]
    rho: Float[np.ndarray, " r"]
    weights: Float[np.ndarray, " r"]
    rank: int


def pwcca(x: Any, y: Any) -> Cca:
    """PWCCA of two views of the same samples, x (n, p) and y (n, q), numpy or torch; weights from x.

    Warns where n < 10 (p + q), p and q being the ranks: there independent data score 0.5 to 0.9. Raises RequestError where the shapes do
    not fit, DataError where a view is not finite or does not vary.
    """
    x, y = _views(x, y)
    ux, sx, vx = _svd(x, "x")
    uy, _, _ = _svd(y, "y")
    if few(len(x), ux.shape[1], uy.shape[1]):
        warnings.warn(few_samples(len(x), ux.shape[1], uy.shape[1]), stacklevel=2)
    left, rho, _ = np.linalg.svd(ux.T @ uy, full_matrices=False)
    alpha = np.abs((left.T * sx) @ vx).sum(1)
    rho = np.minimum(rho, 1.0)
    weights = alpha / alpha.sum()
    return Cca(float(weights @ rho), rho, weights, len(rho))


def few(n: int, p: int, q: int) -> bool:
    """Whether n samples are so few that an in-sample value says little."""
    return n < ENOUGH * (p + q)


def few_samples(n: int, p: int, q: int) -> str:
    """Say so."""
    return f"PWCCA of n={n} samples in {p} + {q} dimensions is inflated: below {ENOUGH * (p + q)} take heldout_pwcca, or more samples"


Rank = int | tuple[int | None, int | None] | None  # principal axes kept of both sides, of x and of y, or all


def heldout_pwcca(x: Any, y: Any, groups: Sequence[Hashable] | np.ndarray, folds: int, rank: Any) -> Cca:
    """PWCCA fitted on some groups of samples and correlated on the others, the mean over `folds` folds of whole groups; weights from x.

    `rank`: both views are cut to their first `rank` principal axes (of the training samples; a pair: of x, of y), so that layers and codecs
    of any width are compared at one rank; directions of x for which y has none left count as correlation 0. None: all there are, as
    `pwcca`. Correlations keep their sign: independent data give 0 on average. `rho` and `weights` are means over folds, `rank` is what the
    smallest fit used.
    Raises RequestError where there are fewer groups than folds or a fold has fewer than LEAST samples, DataError as `pwcca`.
    """
    x, y = _views(x, y)
    if len(groups) != len(x):
        raise RequestError(f"{len(groups)} groups for {len(x)} samples: give one label a sample")
    rank = _rank(rank)
    place: dict[Hashable, int] = {}
    group = np.array([place.setdefault(each, len(place)) for each in (groups.tolist() if isinstance(groups, np.ndarray) else groups)])
    fold = fold_of_groups(list(place), np.bincount(group).tolist(), folds)[group]
    if (fewest := int(np.bincount(fold, minlength=folds).min())) < LEAST:
        raise RequestError(f"folds={folds}: a fold has {fewest} of {len(x)} samples, and a correlation needs {LEAST}; give fewer folds")
    parts = [CcaStats.of(x[fold == number], y[fold == number]) for number in range(folds)]
    found = [tested(fit(merged(parts[:number] + parts[number + 1 :]), rank), parts[number]) for number in range(folds)]
    width = min(len(each.rho) for each in found)
    rho, weights = (np.mean([getattr(each, name)[:width] for each in found], axis=0) for name in ("rho", "weights"))
    return Cca(float(np.mean([each.pwcca for each in found])), rho, weights, min(each.rank for each in found))


def fold_of_groups(names: Sequence[Hashable], sizes: Sequence[int], folds: int) -> Int[np.ndarray, " g"]:
    """Fold of each group: the largest first, each into the fold that holds least; equal sizes by name, so their order does not matter."""
    if folds < 2 or len(names) < folds:
        raise RequestError(f"{folds} folds of {len(names)} groups: at least 2 folds, and a group for each; give more tracks or fewer folds")
    held, found = np.zeros(folds, np.int64), np.zeros(len(names), np.int64)
    for size, _, number in sorted((-size, str(name), number) for number, (name, size) in enumerate(zip(names, sizes, strict=True))):
        found[number] = held.argmin()
        held[found[number]] -= size
    return found


@dataclass(frozen=True, slots=True)
class CcaStats:
    """What CCA needs of samples, additive over shards: count, sums, and cross-products about the shard's own mean; `+` merges.

    `pwcca()` gives what `pwcca(x, y)` gives where the views are well conditioned. Cross-products square the condition number: columns are
    centred first (merging corrects for the means) and scaled to unit variance before float64 eigenvectors are taken, and directions
    with an eigenvalue below 1e-11 of the largest are cut (a singular value of 3e-6; `pwcca` cuts at 1e-10). So views of a condition number
    (columns scaled) up to 1e3 agree to 1e-9 and up to 1e5 to 1e-5; beyond, what is nearly dependent is dropped here and kept there.
    """

    n: int
    sum_x: Float[np.ndarray, " p"]
    sum_y: Float[np.ndarray, " q"]
    xx: Float[np.ndarray, "p p"]
    yy: Float[np.ndarray, "q q"]
    xy: Float[np.ndarray, "p q"]

    @classmethod
    def of(cls, x: Any, y: Any) -> "CcaStats":
        """Sum up samples x (n, p) and y (n, q); raises as `pwcca`, but for one sample or none."""
        x, y = _views(x, y, least=0)
        sum_x, sum_y = x.sum(0), y.sum(0)
        n = max(len(x), 1)
        x, y = x - sum_x / n, y - sum_y / n
        return cls(len(x), sum_x, sum_y, x.T @ x, y.T @ y, x.T @ y)

    def __add__(self, other: "CcaStats") -> "CcaStats":
        """Merge two shards; raises RequestError where they have other columns."""
        if self.xy.shape != other.xy.shape:
            raise RequestError(f"shards of {self.xy.shape} and {other.xy.shape} columns cannot be merged: sum up the same features")
        if not self.n or not other.n:
            return other if not self.n else self
        share = self.n * other.n / (self.n + other.n)
        dx, dy = self.sum_x / self.n - other.sum_x / other.n, self.sum_y / self.n - other.sum_y / other.n
        xx, yy = self.xx + other.xx + share * np.outer(dx, dx), self.yy + other.yy + share * np.outer(dy, dy)
        xy = self.xy + other.xy + share * np.outer(dx, dy)
        return CcaStats(self.n + other.n, self.sum_x + other.sum_x, self.sum_y + other.sum_y, xx, yy, xy)

    def pwcca(self) -> Cca:
        """PWCCA of all samples summed up; warns and raises as `pwcca`."""
        x, y = whitened(self.xx, self.sum_x, self.n, None, "x"), whitened(self.yy, self.sum_y, self.n, None, "y")
        if few(self.n, x.shape[1], y.shape[1]):
            warnings.warn(few_samples(self.n, x.shape[1], y.shape[1]), stacklevel=2)
        found = paired(x, y, x.T @ self.xy @ y, x.T @ self.xx, complete=False)
        return Cca(float(found.weights @ found.rho), found.rho, found.weights, found.rank)


def merged(parts: Iterable[CcaStats]) -> CcaStats:
    """Merge shards in their order."""
    first, *others = parts
    for each in others:
        first = first + each
    return first


def whitened(
    scatter: Float[np.ndarray, "p p"], total: Float[np.ndarray, " p"], n: int, rank: int | None, name: str
) -> Float[np.ndarray, "p r"]:
    """Axes of a view by its scatter matrix: centred samples times them are uncorrelated and of scatter 1.

    With `rank`, the principal axes, the widest first, so many of them. Raises DataError where nothing varies.
    """
    spread = np.sqrt(np.diag(scatter))
    rounding = np.finfo(np.float64).eps * np.sqrt(max(n, 1)) * np.abs(total / max(n, 1))
    kept = np.flatnonzero(spread > np.maximum(CUT * spread.max(initial=0.0), 8 * rounding))
    if not len(kept):
        raise DataError(f"{name} does not vary over {n} samples: nothing can correlate; give more data or other features")
    scatter, scale = scatter[np.ix_(kept, kept)], spread[kept]
    values, vectors = np.linalg.eigh(scatter / np.outer(scale, scale))
    good = values > STATS_CUT * values[-1]
    axes = (vectors[:, good] / np.sqrt(values[good])) / scale[:, None]
    if rank is not None:  # so far in the order of columns of unit variance; now of the columns as they are
        turn, _, _ = np.linalg.svd(axes.T @ scatter, full_matrices=False)
        axes = (axes @ turn)[:, :rank]
    whole = np.zeros((len(spread), axes.shape[1]))
    whole[kept] = axes
    return whole


def _both(rank: Rank) -> tuple[int | None, int | None]:
    return rank if isinstance(rank, tuple) else (rank, rank)


def _rank(given: Any) -> tuple[int | None, int | None] | None:
    """Check a rank; raises RequestError where it is neither a whole number from 1 on, nor a pair of such, nor None."""
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    whole = [each is None or (isinstance(each, Integral) and not isinstance(each, bool) and int(each) >= 1) for each in pair]
    if len(pair) != 2 or not all(whole):
        raise RequestError(f"rank={given!r}: a whole number, or a pair of them (of x, of y), from at least 1 on; None for all there is")
    first, second = (None if each is None else int(each) for each in pair)
    return None if first is None and second is None else (first, second)


def fit(stats: CcaStats, rank: Rank) -> Directions:
    """Canonical directions of samples summed up; `rank` as in `heldout_pwcca`."""
    first, second = _both(rank)
    x, y = whitened(stats.xx, stats.sum_x, stats.n, first, "x"), whitened(stats.yy, stats.sum_y, stats.n, second, "y")
    return paired(x, y, x.T @ stats.xy @ y, x.T @ stats.xx, complete=rank is not None)


def paired(
    x: Float[np.ndarray, "p r"], y: Float[np.ndarray, "q s"], cross: Float[np.ndarray, "r s"], loadings: Float[np.ndarray, "r p"],
    complete: bool,
) -> Directions:  # fmt: skip
    """Canonical directions of views with whitening axes `x`, `y`, from their cross-product; `loadings`: of x's columns on its axes."""
    left, right, rho, weights = turned(cross, loadings, complete)
    return Directions(x @ left, y @ right, rho, weights, min(cross.shape))


def turned(
    cross: Float[np.ndarray, "*b r s"], loadings: Float[np.ndarray, "r p"], complete: bool
) -> tuple[Float[np.ndarray, "*b r k"], Float[np.ndarray, "*b s k"], Float[np.ndarray, "*b k"], Float[np.ndarray, "*b k"]]:
    """Canonical directions of whitened views, many cross-products at once: of x, of y, correlations, weights.

    `complete`: directions of x without a partner follow, with rho and y of 0, the widest of x first.
    """
    left, rho, right = np.linalg.svd(cross, full_matrices=False)
    rho, right = np.minimum(rho, 1.0), np.swapaxes(right, -1, -2)
    lacking = cross.shape[-2] - rho.shape[-1]
    if complete and lacking > 0:
        rest = np.linalg.svd(left, full_matrices=True)[0][..., -lacking:]
        rest = rest @ np.linalg.svd(np.swapaxes(rest, -1, -2) @ loadings, full_matrices=False)[0]
        left = np.concatenate([left, rest], -1)
        right = np.concatenate([right, np.zeros((*right.shape[:-1], lacking))], -1)
        rho = np.concatenate([rho, np.zeros((*rho.shape[:-1], lacking))], -1)
    alpha = np.abs(np.swapaxes(left, -1, -2) @ loadings).sum(-1)
    return left, right, rho, alpha / alpha.sum(-1, keepdims=True)


def tested(fitted: Directions, on: CcaStats) -> Cca:
    """Correlate samples summed up along directions fitted on others; a variate that does not vary correlates 0."""
    cross = np.einsum("pr,pq,qr->r", fitted.x, on.xy, fitted.y, optimize=True)
    wide = np.einsum("pr,pq,qr->r", fitted.x, on.xx, fitted.x, optimize=True)
    other = np.einsum("pr,pq,qr->r", fitted.y, on.yy, fitted.y, optimize=True)
    rho = correlation(cross, wide, other)
    return Cca(float(fitted.weights @ rho), rho, fitted.weights, fitted.rank)


def correlation(cross: np.ndarray, xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """Correlations of sums of products about the means; 0 where one side does not vary."""
    product = np.sqrt(np.maximum(xx, 0.0)) * np.sqrt(np.maximum(yy, 0.0))
    return np.clip(np.divide(cross, product, out=np.zeros_like(cross), where=product > 0), -1.0, 1.0)


def _svd(x: Float[np.ndarray, "n p"], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin SVD of the centred view, without what is rounding."""
    centre = x.mean(0)
    u, s, v = np.linalg.svd(x - centre, full_matrices=False)
    rounding = np.finfo(np.float64).eps * np.sqrt(len(x)) * float(np.abs(centre).max(initial=0.0))
    kept = s > max(CUT * float(s.max(initial=0.0)), 8 * rounding)
    if not kept.any():
        raise DataError(f"{name} does not vary over {len(x)} samples: nothing can correlate; give more data or other features")
    return u[:, kept], s[kept], v[kept]


def _views(x: Any, y: Any, least: int = 2) -> tuple[Float[np.ndarray, "n p"], Float[np.ndarray, "n q"]]:
    """Both sides as float64 (n, p) and (n, q), checked."""
    sides = []
    for name, given in (("x", x), ("y", y)):
        given = given.detach().cpu().double() if hasattr(given, "detach") else given  # numpy has no bfloat16
        try:
            side = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise RequestError(f"{name} is no array of real numbers ({error}); give (samples, features)") from error
        if side.ndim != 2 or not side.shape[1]:
            raise RequestError(f"{name} has shape {side.shape}: a view is (samples, features); reshape it")
        if not np.isfinite(side).all():
            row, column = (int(each[0]) for each in np.nonzero(~np.isfinite(side)))
            raise DataError(f"{name} is not finite at sample {row}, column {column} ({side[row, column]}); leave such samples out")
        sides.append(side)
    x, y = sides
    if len(x) != len(y) or len(x) < least:
        raise RequestError(f"x has {len(x)} samples and y {len(y)}: the same samples are needed in both, {least} or more")
    return x, y
