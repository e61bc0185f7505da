"""Held-out PWCCA of many feature columns against one view of the same tracks: value, null by circular shifts, lags, bootstrap, per group.

All of it happens in a few principal axes a side and fold, where a track is some small matrices of sums: tracks are seen twice (once for the
axes, once for the sums), nothing of them is kept, and any number of shifts or bootstrap draws costs little. The values are those of
`cca.heldout_pwcca`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from laminal.errors import DataError
from laminal.measures.cca import CcaStats, correlation, few, merged, turned, whitened

Features = Mapping[str, Float[np.ndarray, "t _"]]


@dataclass(frozen=True, slots=True)
class Track:
    """Rows of the weighing view at lag 0 and at other lags (NaN rows: none), its fold, and the circular shifts (in rows) of the null."""

    x: Float[np.ndarray, "t p"]
    lagged: Mapping[float, Float[np.ndarray, "t p"]]
    fold: int
    shifts: Int[np.ndarray, " s"]


@dataclass(frozen=True, slots=True)
class InSample:
    """PWCCA at full rank on the samples it was fitted on; `low`, `high` by the jackknife over folds; `few`: too few samples to trust."""

    value: float
    low: float
    high: float
    null: float
    few: bool


@dataclass(frozen=True, slots=True)
class Along:
    """What the test tracks of one fold sum up to along the directions of one column: counts (tracks,), sums and products (tracks, r)."""

    n: Float[np.ndarray, " t"]
    sums: tuple[Float[np.ndarray, "t r"], ...]  # of a, b, aa, bb, ab
    alpha: Float[np.ndarray, " r"]

    def value(self, weights: Float[np.ndarray, "draws t"]) -> Float[np.ndarray, " draws"]:
        """Weighted mean correlation under each weighting of the tracks; NaN where none of them is drawn."""
        n = weights @ self.n
        a, b, aa, bb, ab = (weights @ each for each in self.sums)
        share = np.divide(1.0, n, out=np.zeros_like(n), where=n > 0)[:, None]
        rho = correlation(ab - share * a * b, aa - share * a * a, bb - share * b * b)
        return np.where(n > 0, rho @ self.alpha, np.nan)


@dataclass(slots=True)
class _Fold:
    """One fold: axes fitted on the others, and sums of train (0) and test (1) tracks along them; columns stand side by side in y."""

    mean: Float[np.ndarray, " p"]
    axes: Float[np.ndarray, "p r"]
    loadings: Float[np.ndarray, "r p"]
    y: list[tuple[np.ndarray, np.ndarray]]  # mean and axes of each column
    part: list[slice]  # of y, for each column
    cross: Float[np.ndarray, "2 shifts r total"]
    lagged: Float[np.ndarray, "2 lags r1 total1"]  # products of (1, x) with (1, y)
    lagged_xx: Float[np.ndarray, "2 lags r r"]
    lost: list[np.ndarray]  # of each column, (2, lags, r, r): products of y where the lagged x has no row
    yy: list[np.ndarray]  # of each column, (2, r, r)
    tracks: list[tuple[float, np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]] = field(default_factory=list)


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
            train = [merged(parts[:fold] + parts[fold + 1 :]) for fold in range(self.folds)]
            try:
                axes[name] = [whitened(stats.yy, stats.sum_y, stats.n, self.rank[1], name) for stats in train]
            except DataError as error:
                self.failed[name] = str(error)
                continue
            self._train[name] = train
        self.names = list(axes)
        self._folds = [self._fold(fold, axes) for fold in range(self.folds)] if axes else []

    def _fold(self, fold: int, axes: Mapping[str, list[np.ndarray]]) -> _Fold:
        stats = [self._train[name][fold] for name in self.names]
        own = whitened(stats[0].xx, stats[0].sum_x, stats[0].n, self.rank[0], "the tract")
        y = [(each.sum_y / each.n, axes[name][fold]) for each, name in zip(stats, self.names, strict=True)]
        ends = np.cumsum([0, *(each.shape[1] for _, each in y)]).tolist()
        width, total, lags = own.shape[1], ends[-1], len(self.lags)
        return _Fold(
            stats[0].sum_x / stats[0].n, own, own.T @ stats[0].xx, y, [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)],
            np.zeros((2, self.shifts + 1, width, total)), np.zeros((2, lags, width + 1, total + 1)), np.zeros((2, lags, width, width)),
            [np.zeros((2, lags, each.shape[1], each.shape[1])) for _, each in y],
            [np.zeros((2, each.shape[1], each.shape[1])) for _, each in y],
        )  # fmt: skip

    def weigh(self, track: Track, features: Features) -> None:
        """Sum a track up along the axes of every fold."""
        rows = len(track.x)
        turn = (np.arange(rows)[:, None] + track.shifts[None, : self.shifts]) % rows  # (t, s)
        for number, fold in enumerate(self._folds):
            mine, width = int(track.fold == number), fold.axes.shape[1]
            x = (track.x - fold.mean) @ fold.axes
            y = np.concatenate([(features[name] - mean) @ own for name, (mean, own) in zip(self.names, fold.y, strict=True)], 1)
            blocks = [y[:, part] for part in fold.part]
            products = [block.T @ block for block in blocks]
            fold.cross[mine, 0] += x.T @ y
            shifted = y.astype(np.float32).T @ x.astype(np.float32)[turn].reshape(rows, -1)  # the null, half as long and good to 1e-6
            fold.cross[mine, 1:] += shifted.reshape(-1, self.shifts, width).transpose(1, 2, 0)
            for kept, product in zip(fold.yy, products, strict=True):
                kept[mine] += product
            if mine:
                fold.tracks.append((float(rows), x.sum(0), y.sum(0), x.T @ x, products, x.T @ y))
            for place, lag in enumerate(self.lags):
                there = np.isfinite(track.lagged[lag]).all(1)
                moved = (track.lagged[lag][there] - fold.mean) @ fold.axes
                one = np.ones((len(moved), 1))
                fold.lagged[mine, place] += np.concatenate([one, moved], 1).T @ np.concatenate([one, y[there]], 1)
                fold.lagged_xx[mine, place] += moved.T @ moved
                for name, kept, block in zip(self.names, fold.lost, blocks, strict=True):
                    if name in self.lag_columns and not there.all():
                        kept[mine, place] += block[~there].T @ block[~there]

    def finish(self) -> "Held":
        """Fit every fold on the others and correlate it."""
        values = np.zeros((self.shifts + 1, len(self.names)))
        lagged = np.full((len(self.lags), self.folds, len(self.names)), np.nan)
        along: list[list[Along]] = []
        for number, fold in enumerate(self._folds):
            n = np.array([track[0] for track in fold.tracks])
            x, y, xx, xy = (np.stack([track[place] for track in fold.tracks]) for place in (1, 2, 3, 5))
            total, mean_x, mean_y = n.sum(), x.sum(0) / n.sum(), y.sum(0) / n.sum()
            wide, found = xx.sum(0) - total * np.outer(mean_x, mean_x), []
            for place, part in enumerate(fold.part):
                left, right, _, alpha = turned(fold.cross[0][..., part], fold.loadings, complete=True)
                test = fold.cross[1][..., part] - total * np.outer(mean_x, mean_y[part])
                high = fold.yy[place][1] - total * np.outer(mean_y[part], mean_y[part])
                ab = ((np.swapaxes(left, 1, 2) @ test) * np.swapaxes(right, 1, 2)).sum(2)
                rho = correlation(ab, ((wide @ left) * left).sum(1), ((high @ right) * right).sum(1))
                values[:, place] += (alpha * rho).sum(1) / self.folds
                a, b = left[0], right[0]
                yy = np.stack([track[4][place] for track in fold.tracks])
                products = ((xx @ a) * a).sum(1), ((yy @ b) * b).sum(1), ((xy[..., part] @ b) * a).sum(1)
                found.append(Along(n, (x @ a, y[:, part] @ b, *products), alpha[0]))
                if self.names[place] in self.lag_columns:
                    lagged[:, number, place] = [self._at_lag(fold, lag, place) for lag in range(len(self.lags))]
            along.append(found)
        return Held(self.names, values[0], values[1:], lagged, along)

    def _at_lag(self, fold: _Fold, lag: int, place: int) -> float:
        """Value of one fold and column at one lag, within the same axes."""
        part = fold.part[place]
        scatters = []
        for side in (0, 1):
            products, xx = fold.lagged[side, lag], fold.lagged_xx[side, lag]
            n, of_x, of_y = max(products[0, 0], 1.0), products[1:, 0], products[0, 1:][part]
            yy = fold.yy[place][side] - fold.lost[place][side, lag]
            scatters.append([
                xx - np.outer(of_x, of_x) / n, yy - np.outer(of_y, of_y) / n, products[1:, 1:][:, part] - np.outer(of_x, of_y) / n
            ])  # fmt: skip
        (xx, yy, xy), (test_xx, test_yy, test_xy) = scatters
        ax, ay = (_inverse_root(each) for each in (xx, yy))
        left, right, _, alpha = turned(ax.T @ xy @ ay, ax.T @ fold.loadings, complete=True)
        a, b = ax @ left, ay @ right
        return float(alpha @ correlation(((test_xy @ b) * a).sum(0), ((test_xx @ a) * a).sum(0), ((test_yy @ b) * b).sum(0)))

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
        return InSample(float(found[0]), float(found[0]) - half, float(found[0]) + half, null, few(whole.n, x.shape[1], y.shape[1]))


@dataclass(frozen=True, slots=True)
class Held:
    """What came out, a column for each name: values, the null's, by lag (NaN where not asked for), and what bootstrap is read from."""

    names: list[str]
    values: Float[np.ndarray, " c"]
    null: Float[np.ndarray, "s c"]
    lagged: Float[np.ndarray, "lags f c"]
    along: list[list[Along]]

    def weighted(self, weights: Sequence[Float[np.ndarray, "draws _"]]) -> Float[np.ndarray, "draws c"]:
        """Values under weights of the tracks (a matrix a fold, tracks in the order they were weighed in): the mean over folds with any."""
        each = np.stack([
            np.stack([column.value(own) for column in columns], 1) for columns, own in zip(self.along, weights, strict=True)
        ])  # fmt: skip
        there = np.isfinite(each)
        return np.where(there, each, 0.0).sum(0) / np.maximum(there.sum(0), 1)


def student(freedom: int) -> float:
    """Half-width of a 95 % interval in standard errors."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


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
