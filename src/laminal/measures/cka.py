"""Centred kernel alignment of two sets of features of the same items: biased, debiased, in mini-batches, with an RBF kernel, in shards.

CKA: Kornblith et al. 2019 (arXiv 1905.00414). Debiased HSIC: Song et al. 2012, eq. 5. Mini-batches: Nguyen et al. 2021 (arXiv 2010.15327).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from laminal.errors import DataError, RequestError

Features = Float[np.ndarray, "_ _"] | Float[Tensor, "_ _"]
Gram = Float[np.ndarray, "n n"]
FEWEST = 4  # rows below which the unbiased HSIC does not exist
NOTHING = 1e-12  # of the sum of squares: a self-similarity below it is rounding


def linear_cka(x: Features, y: Features, debiased: bool = True) -> float:
    """Linear CKA of rows x (n, p) and y (n, q), in float64; 1 for features that are alike up to rotation, offset and scale.

    Debiased, independent features score 0 on average, and may score below; biased, they score up to 1 as n falls below p and q. Works on
    p x q sums or on n x n Gram matrices, whichever are smaller. Raises DataError where it is undefined (features that do not vary, fewer
    than 4 rows, values that are no numbers), RequestError where x and y have different numbers of rows.
    """
    x, y = _pair(x, y)
    if max(x.shape[1], y.shape[1]) < len(x):
        return CkaStats.of(x, y).cka(debiased)
    return similarity(gram(x), gram(y), debiased)


def rbf_cka(x: Features, y: Features, threshold: float = 1.0, debiased: bool = False) -> float:
    """CKA with the kernel exp(-d^2 / (2 threshold^2 median(d^2))), the median taken over all n^2 pairs, each row with itself included."""
    x, y = _pair(x, y)
    return similarity(rbf_gram(x, threshold), rbf_gram(y, threshold), debiased)


def minibatch_cka(x: Features, y: Features, batch: int) -> float:
    """Debiased linear CKA whose HSICs are means over consecutive batches of `batch` rows; an incomplete last one is left out."""
    x, y = _pair(x, y)
    if batch < FEWEST:
        raise RequestError(f"batch={batch}: the unbiased HSIC needs {FEWEST} rows or more; raise it")
    if len(x) < batch:
        raise DataError(f"CKA in batches of {batch} is undefined for {len(x)} rows: there is no whole batch; lower it")
    return of_products(batch_products(gram(x), gram(y), batch).sum(1))


def batch_products(a: Gram, b: Gram, batch: int) -> Float[np.ndarray, "3 batches"]:
    """HSICs of two kernel matrices, and of each with itself, in consecutive whole batches: offsets cancel within each."""
    parts = [slice(begin, begin + batch) for begin in range(0, len(a) - batch + 1, batch)]
    return np.array([_products(a[part, part], b[part, part], True) for part in parts]).reshape(len(parts), 3).T


def of_products(products: Float[np.ndarray, "3"]) -> float:
    """CKA of an HSIC and the two self-similarities; raises DataError where one of these is not above 0."""
    return _ratio(*products.tolist())


def gram(x: Features) -> Gram:
    """Inner products of the rows of x less their mean."""
    values = numbers(x)
    about = values - values.mean(0)
    if np.square(about).sum() <= NOTHING**2 * np.square(values).sum():
        about = np.zeros_like(about)  # what is left of rows that are all the same is rounding
    return about @ about.T


def rbf_gram(x: Features, threshold: float = 1.0) -> Gram:
    """Kernel of `rbf_cka`; raises DataError where more than half of all pairs lie at distance 0, so that there is no median to scale by."""
    inner = gram(x)
    squares = np.diag(inner)
    distance = np.maximum(squares[:, None] + squares - 2 * inner, 0)
    np.fill_diagonal(distance, 0)
    median = float(np.median(distance))
    if median <= NOTHING * float(distance.mean()):
        raise DataError("RBF CKA is undefined: the median distance between rows is 0")
    return np.exp(-distance / (2 * threshold**2 * median))


def similarity(a: Gram, b: Gram, debiased: bool = True) -> float:
    """CKA of two kernel matrices of the same items."""
    return float(min(1.0, max(-1.0, (unit(a, debiased) * unit(b, debiased)).sum())))


def unit(kernel: Gram, debiased: bool) -> Gram:
    """Centre a kernel matrix and divide it by its norm: CKA is the inner product of two of these.

    Debiased, it is U-centred (Szekely and Rizzo 2014): diagonal and row sums are 0, and the inner product of two is their unbiased HSIC.
    """
    n = len(kernel)
    if debiased:
        if n < FEWEST:
            raise DataError(f"debiased CKA is undefined for {n} items: at least {FEWEST} are needed")
        off = _hollow(kernel)
        sums = off.sum(1)
        centred = off - (sums[:, None] + sums) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(centred, 0)
    else:
        means = kernel.mean(1)
        centred = kernel - means[:, None] - means + means.mean()
    norm, size = float(np.sqrt(np.square(centred).sum())), float(np.sqrt(np.square(kernel).sum()))
    if not norm > np.sqrt(NOTHING) * size:
        raise DataError("CKA is undefined: the features do not vary, or all items are equally far apart (self-similarity 0)")
    return centred / norm


def pseudo_values(a: Gram, b: Gram, debiased: bool = True) -> Float[np.ndarray, " n"]:
    """Give what each item adds to CKA: CKA + (n - 1) (mean over items of CKA without one - CKA without this one); their mean is CKA.

    Jackknife pseudo-values (Tukey 1958), moved so that their mean is exactly the statistic. Resampling *rows* puts copies of an item on
    both sides, which look alike to each other, and so biases CKA upwards; these resample the statistic, without copies.
    """
    if not debiased:
        a, b = (each - each.mean(0) - each.mean(1)[:, None] + each.mean() for each in (a, b))
    value = _ratio(*_products(a, b, debiased))
    without = np.stack([_without_one(*pair, debiased) for pair in ((a, b), (a, a), (b, b))])
    with np.errstate(divide="ignore", invalid="ignore"):
        left = without[0] / np.sqrt(without[1] * without[2])
    return value + (len(a) - 1) * (left.mean() - left)


def _without_one(a: Gram, b: Gram, debiased: bool) -> Float[np.ndarray, " n"]:
    """HSIC of all items but one, for each of them, up to a factor that cancels in CKA."""
    if debiased:
        a, b = _hollow(a), _hollow(b)
    m = len(a) - 1
    own_a, own_b, rows_a, rows_b = np.diag(a), np.diag(b), a.sum(1), b.sum(1)
    by_item = np.einsum("ij,ij->i", a, b)
    both = by_item.sum() - 2 * by_item + own_a * own_b
    total_a, total_b = rows_a.sum() - 2 * rows_a + own_a, rows_b.sum() - 2 * rows_b + own_b
    chained = rows_a @ rows_b - rows_a * rows_b - (a @ rows_b - own_a * rows_b) - (b @ rows_a - own_b * rows_a) + by_item - own_a * own_b
    if debiased:
        return both + total_a * total_b / ((m - 1) * (m - 2)) - 2 / (m - 2) * chained
    return both + total_a * total_b / m**2 - 2 / m * chained


def _hollow(a: Gram) -> Gram:
    """Copy with zeros on the diagonal."""
    off = a.copy()
    np.fill_diagonal(off, 0)
    return off


@dataclass(frozen=True, slots=True)
class CkaStats:
    """What linear CKA needs of the rows seen so far: `+` merges shards, in any order, to the value of all rows at once.

    Counts, means, and sums about the means: products of x and y; and, since the debiased HSIC leaves out what a row has to do with
    itself, sums of squared norms (of x: q, of y: r), of their products, and of rows weighted by them. All move with the mean in closed
    form. Equal to the direct value within 1e-9 wherever means lie within 1e5 spreads of each other; memory is (p + q)^2.
    """

    n: int
    mean_x: Float[np.ndarray, " p"]
    mean_y: Float[np.ndarray, " q"]
    raw: tuple[float, float]  # sums of squares about 0, to tell variation from rounding
    xx: Float[np.ndarray, "p p"]
    xy: Float[np.ndarray, "p q"]
    yy: Float[np.ndarray, "q q"]
    qx: Float[np.ndarray, " p"]
    rx: Float[np.ndarray, " p"]
    qy: Float[np.ndarray, " q"]
    ry: Float[np.ndarray, " q"]
    qq: float
    qr: float
    rr: float

    @classmethod
    def of(cls, x: Features, y: Features) -> "CkaStats":
        """Sum up rows x (n, p) and y (n, q)."""
        a, b = _pair(x, y)
        raw = (float(np.square(a).sum()), float(np.square(b).sum()))
        mean_x, mean_y = a.mean(0), b.mean(0)
        a, b = a - mean_x, b - mean_y
        q, r = np.square(a).sum(1), np.square(b).sum(1)
        own = (float(q @ q), float(q @ r), float(r @ r))
        return cls(len(a), mean_x, mean_y, raw, a.T @ a, a.T @ b, b.T @ b, q @ a, r @ a, q @ b, r @ b, *own)

    def __add__(self, other: "CkaStats") -> "CkaStats":
        """Merge with the sums over other rows."""
        if self.xy.shape != other.xy.shape:
            raise RequestError(f"shards of {self.xy.shape} and {other.xy.shape} dimensions; merge those of one pair of spaces")
        n = self.n + other.n
        mean_x, mean_y = ((self.n * a + other.n * b) / n for a, b in ((self.mean_x, other.mean_x), (self.mean_y, other.mean_y)))
        sums = [a + b for a, b in zip(self._about(mean_x, mean_y), other._about(mean_x, mean_y), strict=True)]
        return CkaStats(n, mean_x, mean_y, (self.raw[0] + other.raw[0], self.raw[1] + other.raw[1]), *sums)

    def cka(self, debiased: bool = True) -> float:
        """Give the value; raises DataError where it is undefined."""
        if debiased and self.n < FEWEST:
            raise DataError(f"debiased CKA is undefined for {self.n} items: at least {FEWEST} are needed")
        q, r = float(np.trace(self.xx)), float(np.trace(self.yy))
        if q <= NOTHING**2 * self.raw[0] or r <= NOTHING**2 * self.raw[1]:
            raise DataError("CKA is undefined: the features do not vary (self-similarity 0)")
        products = np.array([np.square(each).sum() for each in (self.xy, self.xx, self.yy)])
        if debiased:  # about the mean, row sums without the diagonal are -q and -r
            own = np.array([[self.qr, q * r], [self.qq, q * q], [self.rr, r * r]])
            hsic = products - self.n / (self.n - 2) * own[:, 0] + own[:, 1] / ((self.n - 1) * (self.n - 2))
            if min(hsic[1] / products[1], hsic[2] / products[2]) <= NOTHING:
                raise DataError("CKA is undefined: all items are equally far apart (self-similarity 0)")
            products = hsic
        return _ratio(*products)

    def _about(self, mean_x: np.ndarray, mean_y: np.ndarray) -> tuple:
        """Give all sums about other means."""
        n, a, b = self.n, self.mean_x - mean_x, self.mean_y - mean_y
        aa, bb, q, r = float(a @ a), float(b @ b), float(np.trace(self.xx)), float(np.trace(self.yy))
        return (
            self.xx + n * np.outer(a, a),
            self.xy + n * np.outer(a, b),
            self.yy + n * np.outer(b, b),
            self.qx + (q + n * aa) * a + 2 * self.xx @ a,
            self.rx + (r + n * bb) * a + 2 * self.xy @ b,
            self.qy + (q + n * aa) * b + 2 * self.xy.T @ a,
            self.ry + (r + n * bb) * b + 2 * self.yy @ b,
            self.qq + 4 * float(a @ self.qx) + 2 * aa * q + 4 * float(a @ self.xx @ a) + n * aa**2,
            self.qr + 2 * float(b @ self.qy) + bb * q + 2 * float(a @ self.rx) + aa * r + 4 * float(a @ self.xy @ b) + n * aa * bb,
            self.rr + 4 * float(b @ self.ry) + 2 * bb * r + 4 * float(b @ self.yy @ b) + n * bb**2,
        )


def numbers(x: Features) -> Float[np.ndarray, "_ _"]:
    """Give features as float64; raises DataError where they hold what is no number."""
    values = x.detach().cpu().double().numpy() if isinstance(x, Tensor) else np.asarray(x, dtype=np.float64)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(1).sum())
        raise DataError(f"{bad} of {len(values)} rows of features hold NaN or infinity; CKA needs numbers: mend what made them")
    return values


def _pair(x: Features, y: Features) -> tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"]]:
    if len(x) != len(y):
        raise RequestError(f"CKA of {len(x)} and {len(y)} rows: row i of both must be of the same item; give equally many")
    if not len(x):
        raise DataError("CKA of no rows is undefined")
    return numbers(x), numbers(y)


def _products(a: Gram, b: Gram, debiased: bool) -> tuple[float, float, float]:
    """HSIC of two kernel matrices, and of each with itself; the biased one of centred matrices, up to a factor that cancels."""
    if debiased:
        a, b = _hollow(a), _hollow(b)
    return _hsic(a, b, debiased), _hsic(a, a, debiased), _hsic(b, b, debiased)


def _hsic(a: Gram, b: Gram, debiased: bool) -> float:
    both, n = float((a * b).sum()), len(a)
    if not debiased:
        return both
    rows_a, rows_b = a.sum(1), b.sum(1)
    totals, chained = float(rows_a.sum() * rows_b.sum()), float(rows_a @ rows_b)
    return (both + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * chained) / (n * (n - 3))


def _ratio(both: float, first: float, second: float) -> float:
    if not (first > 0 and second > 0):
        raise DataError("CKA is undefined: a self-similarity is not above 0 (features that do not vary)")
    return float(min(1.0, max(-1.0, both / np.sqrt(first * second))))
