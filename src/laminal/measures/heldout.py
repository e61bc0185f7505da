"""Held-out PWCCA of many feature columns against one view of the same tracks: value, null by circular shifts, lags, bootstrap, per cluster.

All of it happens in a few principal axes a side and fold, where a track is some small matrices of sums: tracks are seen twice (once for the
axes, once for the sums), nothing of them is kept, and any number of shifts or bootstrap draws costs little. Sums are kept by fold and
cluster (the speaker, say: what intervals resample), so memory does not grow with the tracks of a cluster. The values are those of
`cca.heldout_pwcca`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from laminal.errors import DataError
from laminal.measures.bootstrap import student
from laminal.measures.cca import LEAST, CcaStats, correlation, few, merged, turned, whitened

Features = Mapping[str, Float[np.ndarray, "t _"]]


@dataclass(frozen=True, slots=True)
class Track:
    """Rows of the weighing view at lag 0 and at other lags (NaN rows: none), its fold, the circular shifts of the null, its cluster."""

    x: Float[np.ndarray, "t p"]
    lagged: Mapping[float, Float[np.ndarray, "t p"]]
    fold: int
    shifts: Int[np.ndarray, " s"]
    cluster: int


@dataclass(frozen=True, slots=True)
class InSample:
    """PWCCA at full rank on the samples it was fitted on; `low`, `high` (0 to 1) by the jackknife over folds; `few`: too few samples."""

    value: float
    low: float
    high: float
    null: float
    few: bool


@dataclass(frozen=True, slots=True)
class Along:
    """What the test tracks of one fold sum up to along the directions of one column, by cluster: counts, sums and products (k, r)."""

    cluster: Int[np.ndarray, " k"]
    n: Float[np.ndarray, " k"]
    sums: tuple[Float[np.ndarray, "k r"], ...]  # of a, b, aa, bb, ab
    alpha: Float[np.ndarray, " r"]

    def value(self, weights: Float[np.ndarray, "draws _"]) -> Float[np.ndarray, " draws"]:
        """Weighted mean correlation under each weighting of all clusters; NaN where none of them is drawn."""
        weights = weights[:, self.cluster]
        n = weights @ self.n
        a, b, aa, bb, ab = (weights @ each for each in self.sums)
        share = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)[:, None]
        rho = correlation(ab - share * a * b, aa - share * a * a, bb - share * b * b)
        return np.where(n > 0, rho @ self.alpha, np.nan)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums and products of samples: of x at one lag or at several (l), and of some columns side by side in y."""

    n: float
    x: Float[np.ndarray, "l r"]
    y: Float[np.ndarray, " total"]
    xx: Float[np.ndarray, "l r r"]
    xy: Float[np.ndarray, "l r total"]
    yy: list[np.ndarray]  # (s, s) of each column

    @classmethod
    def of(cls, x: Float[np.ndarray, "l t r"], blocks: Sequence[Float[np.ndarray, "t _"]]) -> "_Sums":
        y, turned_x = np.concatenate(blocks, 1), np.swapaxes(x, 1, 2)
        return cls(float(len(y)), x.sum(1), y.sum(0), turned_x @ x, turned_x @ y, [block.T @ block for block in blocks])

    def __add__(self, other: "_Sums") -> "_Sums":
        yy = [a + b for a, b in zip(self.yy, other.yy, strict=True)]
        return _Sums(self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy, yy)

    def scatters(self, lag: int, place: int, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Products about the means of x, of one column of y, and of both."""
        x, y = self.x[lag], self.y[part]
        xx, yy = self.xx[lag] - np.outer(x, x) / self.n, self.yy[place] - np.outer(y, y) / self.n
        return xx, yy, self.xy[lag][:, part] - np.outer(x, y) / self.n


@dataclass(slots=True)
class _Fold:
    """One fold: axes fitted on the others, and sums of train (0) and test (1) tracks along them; columns stand side by side in y."""

    mean: Float[np.ndarray, " p"]
    axes: Float[np.ndarray, "p r"]
    loadings: Float[np.ndarray, "r p"]
    y: list[tuple[np.ndarray, np.ndarray]]  # mean and axes of each column
    part: list[slice]  # of y, for each column
    cross: Float[np.ndarray, "2 shifts r total"]
    tested: dict[int, _Sums] = field(default_factory=dict)  # by cluster
    late: dict[int, _Sums] = field(default_factory=dict)  # the same at every lag, of the columns with lags
    train: _Sums | None = None  # at every lag


class HeldOut:
    """Columns of features are given by name, track by track: first all tracks to `learn`, then `ready`, then all of them to `weigh`."""

    def __init__(
        self, columns: Sequence[str], folds: int, rank: tuple[int, int], shifts: int, full_shifts: int, lags: Sequence[float],
        lag_columns: Sequence[str],
    ):  # fmt: skip
        """`rank`: axes of x and of features; `shifts` of the null, `full_shifts` of them also in sample at full rank; `lags` in seconds."""
        self.columns, self.folds, self.rank, self.lags, self.lag_columns = list(columns), folds, rank, list(lags), set(lag_columns)
        self.shifts, self.full_shifts = shifts, full_shifts
        self.failed: dict[str, str] = {}  # columns that have no value, with reasons
        self.names: list[str] = []
        self._stats: dict[str, list[CcaStats | None]] = {name: [None] * folds for name in self.columns}
        self._shifted: dict[str, np.ndarray] = {}
        self._train: dict[str, list[CcaStats]] = {}
        self._folds: list[_Fold] = []
        self._late: list[int] = []  # places of the columns with lags

    def learn(self, track: Track, features: Features, where: str) -> None:
        """Sum a track up; a column that is not finite there (`where`) is left out from then on."""
        rolled = [np.roll(track.x, -int(shift), 0) for shift in track.shifts[: self.full_shifts]]
        for name in self.columns:
            if name in self.failed:
                continue
            y = features[name]
            if not np.isfinite(y).all():
                self.failed[name] = f"{int((~np.isfinite(y)).any(1).sum())} of {len(y)} frames are not finite on {where}; mend the codec"
                continue
            stats = CcaStats.of(track.x, y)
            before = self._stats[name][track.fold]
            self._stats[name][track.fold] = stats if before is None else before + stats
            if rolled and name in self.lag_columns:
                self._shifted[name] = self._shifted.get(name, 0.0) + np.stack([each.T @ y for each in rolled])

    def ready(self) -> None:
        """Choose the axes of every fold from the others."""
        axes: dict[str, list[np.ndarray]] = {}
        for name in self.columns:
            parts = [each for each in self._stats[name] if each is not None]
            if name in self.failed or len(parts) < self.folds:
                self.failed.setdefault(name, f"{len(parts)} of {self.folds} folds have tracks")
                continue
            if (fewest := min(each.n for each in parts)) < LEAST:
                self.failed[name] = f"a fold has {fewest} frames, and a correlation needs {LEAST}; give longer tracks"
                continue
            train = [merged(parts[:fold] + parts[fold + 1 :]) for fold in range(self.folds)]
            try:
                axes[name] = [whitened(stats.yy, stats.sum_y, stats.n, self.rank[1], name) for stats in train]
            except DataError as error:
                self.failed[name] = str(error)
                continue
            self._train[name] = train
        self.names = list(axes)
        self._late = [place for place, name in enumerate(self.names) if name in self.lag_columns]
        self._folds = [self._fold(fold, axes) for fold in range(self.folds)] if axes else []

    @property
    def axes(self) -> list[int]:
        """How many axes of each column are used, those of the smallest fold."""
        return [min(fold.y[place][1].shape[1] for fold in self._folds) for place in range(len(self.names))]

    @property
    def own(self) -> tuple[int, float]:
        """How many axes of x are used, and their share of its variance; of the smallest fold."""
        kept, shares = [], []
        for number, fold in enumerate(self._folds):
            whole = self._train[self.names[0]][number].xx
            kept.append(fold.axes.shape[1])
            shares.append(float(np.square(fold.loadings).sum() / np.trace(whole)))
        return min(kept), min(shares)

    def _fold(self, fold: int, axes: Mapping[str, list[np.ndarray]]) -> _Fold:
        stats = [self._train[name][fold] for name in self.names]
        own = whitened(stats[0].xx, stats[0].sum_x, stats[0].n, self.rank[0], "the tract")
        y = [(each.sum_y / each.n, axes[name][fold]) for each, name in zip(stats, self.names, strict=True)]
        parts = _side_by_side([each.shape[1] for _, each in y])
        cross = np.zeros((2, self.shifts + 1, own.shape[1], parts[-1].stop))
        return _Fold(stats[0].sum_x / stats[0].n, own, own.T @ stats[0].xx, y, parts, cross)

    def weigh(self, track: Track, features: Features) -> None:
        """Sum a track up along the axes of every fold."""
        rows = len(track.x)
        turn = (np.arange(rows)[:, None] + track.shifts[None, : self.shifts]) % rows  # (t, s)
        lagged = np.stack([track.lagged[lag] for lag in self.lags])  # (l, t, p)
        there = np.isfinite(lagged).all((0, 2))  # the same rows at every lag: only so can lags be held against each other
        lagged = lagged[:, there]
        for number, fold in enumerate(self._folds):
            mine, width = int(track.fold == number), fold.axes.shape[1]
            x = (track.x - fold.mean) @ fold.axes
            blocks = [(features[name] - mean) @ own for name, (mean, own) in zip(self.names, fold.y, strict=True)]
            y = np.concatenate(blocks, 1)
            fold.cross[mine, 0] += x.T @ y
            shifted = y.astype(np.float32).T @ x.astype(np.float32)[turn].reshape(rows, -1)  # the null, half as long and good to 1e-6
            fold.cross[mine, 1:] += shifted.reshape(-1, self.shifts, width).transpose(1, 2, 0)
            if mine:
                _add(fold.tested, track.cluster, _Sums.of(x[None], blocks))
            if self._late and len(self.lags) > 1:
                late = _Sums.of((lagged - fold.mean) @ fold.axes, [blocks[place][there] for place in self._late])
                if mine:
                    _add(fold.late, track.cluster, late)
                else:
                    fold.train = late if fold.train is None else fold.train + late

    def finish(self) -> "Held":
        """Fit every fold on the others and correlate it."""
        values = np.zeros((self.shifts + 1, len(self.names)))
        along: list[list[Along]] = []
        for fold in self._folds:
            test, found = _total(fold.tested), []
            for place, part in enumerate(fold.part):
                left, right, _, alpha = turned(fold.cross[0][..., part], fold.loadings, complete=True)
                wide, high, _ = test.scatters(0, place, part)
                cross = fold.cross[1][..., part] - np.outer(test.x[0], test.y[part]) / test.n
                ab = ((np.swapaxes(left, 1, 2) @ cross) * np.swapaxes(right, 1, 2)).sum(2)
                rho = correlation(ab, ((wide @ left) * left).sum(1), ((high @ right) * right).sum(1))
                values[:, place] += (alpha * rho).sum(1) / self.folds
                found.append(_along(fold.tested, 0, place, part, left[0], right[0], alpha[0]))
            along.append(found)
        late = {self.names[place]: self._at_lags(number, place) for number, place in enumerate(self._late)}
        frames = int(sum(each.n for fold in self._folds for each in fold.late.values()))
        return Held(self.names, values[0], values[1:], along, late, frames)

    def _at_lags(self, number: int, place: int) -> list[list[Along]]:
        """One column at every lag, fitted anew on the train tracks at that lag within the same axes: of each lag, of the folds that can."""
        found: list[list[Along]] = [[] for _ in self.lags]
        if len(self.lags) == 1:
            return found
        for fold in self._folds:
            part = _side_by_side([fold.y[each][1].shape[1] for each in self._late])[number]
            if fold.train is None or min(fold.train.n, sum(each.n for each in fold.late.values())) < LEAST:
                continue
            for lag in range(len(self.lags)):
                xx, yy, xy = fold.train.scatters(lag, number, part)
                ax, ay = _inverse_root(xx), _inverse_root(yy)
                left, right, _, alpha = turned(ax.T @ xy @ ay, ax.T @ fold.loadings, complete=True)
                found[lag].append(_along(fold.late, lag, number, part, ax @ left, ay @ right, alpha))
        return found

    def in_sample(self, name: str) -> InSample:
        """PWCCA of all samples at full rank, and the mean of its null."""
        whole = merged([each for each in self._stats[name] if each is not None])
        x, y = whitened(whole.xx, whole.sum_x, whole.n, None, "the tract"), whitened(whole.yy, whole.sum_y, whole.n, None, name)
        crosses = [whole.xy, *(each - np.outer(whole.sum_x, whole.sum_y) / whole.n for each in self._shifted.get(name, ()))]
        _, _, rho, weights = turned(np.stack([x.T @ each @ y for each in crosses]), x.T @ whole.xx, complete=False)
        found = (rho * weights).sum(1)
        without = np.array([_full(stats, name) for stats in self._train[name]])
        half = student(self.folds - 1) * float(np.sqrt((self.folds - 1) / self.folds * np.square(without - without.mean()).sum()))
        null = float(found[1:].mean()) if len(found) > 1 else float("nan")
        value = float(found[0])
        return InSample(value, max(value - half, 0.0), min(value + half, 1.0), null, few(whole.n, x.shape[1], y.shape[1]))


@dataclass(frozen=True, slots=True)
class Held:
    """What came out, a column for each name: values, the null's, and what others are read from under any weights of the clusters.

    `late` holds the columns with lags, whose frames (`late_frames`) are those that have a tract at every lag.
    """

    names: list[str]
    values: Float[np.ndarray, " c"]
    null: Float[np.ndarray, "s c"]
    along: list[list[Along]]
    late: Mapping[str, list[list[Along]]]
    late_frames: int

    def weighted(self, weights: Float[np.ndarray, "draws k"]) -> Float[np.ndarray, "draws c"]:
        """Values under weights of the clusters: the mean over folds with any."""
        return np.stack([_mean([fold[place] for fold in self.along], weights) for place in range(len(self.names))], 1)

    def at_lags(self, name: str, weights: Float[np.ndarray, "draws k"]) -> Float[np.ndarray, "draws lags"]:
        """Values of one column at every lag; NaN where no frame has a tract at all of them."""
        return np.stack([_mean(folds, weights) for folds in self.late[name]], 1)


def _mean(folds: Sequence[Along], weights: Float[np.ndarray, "draws k"]) -> Float[np.ndarray, " draws"]:
    if not folds:
        return np.full(len(weights), np.nan)
    each = np.stack([fold.value(weights) for fold in folds])
    there = np.isfinite(each)
    count = there.sum(0)
    return np.divide(np.where(there, each, 0.0).sum(0), count, out=np.full(len(weights), np.nan), where=count > 0)


def _along(
    sums: Mapping[int, _Sums], lag: int, place: int, part: slice, a: Float[np.ndarray, "r k"], b: Float[np.ndarray, "s k"],
    alpha: Float[np.ndarray, " k"],
) -> Along:  # fmt: skip
    """Project the sums of each cluster on pairs of directions `a` of x and `b` of one column."""
    each = list(sums.values())
    x, y = np.stack([one.x[lag] for one in each]) @ a, np.stack([one.y[part] for one in each]) @ b
    xx, yy = np.stack([one.xx[lag] for one in each]), np.stack([one.yy[place] for one in each])
    xy = np.stack([one.xy[lag][:, part] for one in each])
    products = ((xx @ a) * a).sum(1), ((yy @ b) * b).sum(1), ((xy @ b) * a).sum(1)
    return Along(np.array(list(sums)), np.array([one.n for one in each]), (x, y, *products), alpha)


def _add(sums: dict[int, _Sums], cluster: int, more: _Sums) -> None:
    sums[cluster] = sums[cluster] + more if cluster in sums else more


def _total(sums: Mapping[int, _Sums]) -> _Sums:
    first, *others = sums.values()
    for each in others:
        first = first + each
    return first


def _side_by_side(widths: Sequence[int]) -> list[slice]:
    ends = np.cumsum([0, *widths]).tolist()
    return [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]


def _inverse_root(scatter: Float[np.ndarray, "r r"]) -> Float[np.ndarray, "r r"]:
    """Whiten what was whitened before a few rows were left out: it is near 1 and has a Cholesky factor."""
    try:
        lower = np.linalg.cholesky(scatter)
    except np.linalg.LinAlgError:
        return whitened(scatter, np.zeros(len(scatter)), 1, None, "a lag")
    return scipy.linalg.solve_triangular(lower, np.eye(len(scatter)), lower=True).T


def _full(stats: CcaStats, name: str) -> float:
    x, y = whitened(stats.xx, stats.sum_x, stats.n, None, "the tract"), whitened(stats.yy, stats.sum_y, stats.n, None, name)
    _, _, rho, weights = turned(x.T @ stats.xy @ y, x.T @ stats.xx, complete=False)
    return float(rho @ weights)
