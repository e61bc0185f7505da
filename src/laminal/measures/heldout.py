"""Held-out PWCCA of many feature columns against one view of the same tracks: value, null by circular shifts, lags, bootstrap, per group.

All of it happens in `rank` principal axes a side and fold, where a track is a few small matrices of sums: tracks are seen twice (once for
the axes, once for the sums), nothing of them is kept, and any number of shifts or bootstrap draws costs little. The values are those of
`cca.heldout_pwcca`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from laminal.errors import DataError
from laminal.measures.cca import CcaStats, correlation, few, merged, turned, whitened


@dataclass(frozen=True, slots=True)
class Track:
    """Rows of the weighing view at lag 0 and at other lags (NaN rows: none), its fold, and the circular shifts (in rows) of the null."""

    x: Float[np.ndarray, "t p"]
    lagged: Mapping[float, Float[np.ndarray, "t p"]]
    fold: int
    shifts: Int[np.ndarray, " s"]


@dataclass(frozen=True, slots=True)
class InSample:
    """PWCCA at full rank on the samples it was fitted on; `low`, `high` by the jackknife over folds; `few`: too few to trust."""

    value: float
    low: float
    high: float
    null: float
    few: bool


@dataclass(frozen=True, slots=True)
class Sums:
    """What the tracks of one fold and basis sum up to, along canonical directions (tracks, columns, r) or in counts (tracks,)."""

    n: Float[np.ndarray, " t"]
    a: Float[np.ndarray, "t c r"]
    b: Float[np.ndarray, "t c r"]
    aa: Float[np.ndarray, "t c r"]
    bb: Float[np.ndarray, "t c r"]
    ab: Float[np.ndarray, "t c r"]

    def values(self, weights: Float[np.ndarray, "draws t"], alpha: Float[np.ndarray, "c r"]) -> Float[np.ndarray, "draws c"]:
        """Weighted mean correlation under each weighting of the tracks; NaN where none of them is drawn."""
        n = weights @ self.n
        a, b, aa, bb, ab = (np.einsum("dt,tcr->dcr", weights, each, optimize=True) for each in (self.a, self.b, self.aa, self.bb, self.ab))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 1 / n[:, None, None]
            rho = correlation(ab - share * a * b, aa - share * a * a, bb - share * b * b)
        return np.where(n[:, None] > 0, np.einsum("dcr,cr->dc", np.nan_to_num(rho), alpha), np.nan)


class HeldOut:
    """Columns of features are given by name, track by track: first all tracks to `learn`, then `ready`, then all of them to `weigh`."""

    def __init__(self, columns: Sequence[str], folds: int, rank: int, shifts: int, full_shifts: int, lags: Sequence[float]):
        """`shifts` of the null at `rank`; `full_shifts` of them also at full rank, in sample; `lags` in seconds."""
        self.columns, self.folds, self.rank, self.lags = list(columns), folds, rank, list(lags)
        self.shifts, self.full_shifts = shifts, full_shifts
        self.failed: dict[str, str] = {}  # columns that have no value, with reasons
        self._stats: dict[str, list[CcaStats | None]] = {name: [None] * folds for name in self.columns}
        self._shifted: dict[str, Float[np.ndarray, "s p d"]] = {}
        self._tracks: list[tuple[int, float, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def learn(self, track: Track, features: Mapping[str, Float[np.ndarray, "t d"]], where: str) -> None:
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
            if rolled:
                cross = np.stack([each.T @ y for each in rolled])
                self._shifted[name] = self._shifted.get(name, 0.0) + cross

    def ready(self) -> None:
        """Choose the axes of every fold from the others."""
        self._train: dict[str, list[CcaStats]] = {}
        self._x: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # mean, axes, loadings of each fold
        self._y: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for name in self.columns:
            parts = [each for each in self._stats[name] if each is not None]
            if name in self.failed or len(parts) < self.folds:
                self.failed.setdefault(name, f"{len(parts)} of {self.folds} folds have tracks")
                continue
            train = [merged(parts[:fold] + parts[fold + 1 :]) for fold in range(self.folds)]
            try:
                self._y[name] = [(s.sum_y / s.n, whitened(s.yy, s.sum_y, s.n, self.rank, name)) for s in train]
            except DataError as error:
                self.failed[name] = str(error)
                continue
            self._train[name] = train
            if not self._x:
                axes = [whitened(s.xx, s.sum_x, s.n, self.rank, "the tract") for s in train]
                self._x = [(s.sum_x / s.n, own, own.T @ s.xx) for s, own in zip(train, axes, strict=True)]
        self.names = [name for name in self.columns if name in self._train]
        width, size = min((axes.shape[1] for _, axes, _ in self._x), default=0), len(self.names)
        tall = max((axes.shape[1] for each in self._y.values() for _, axes in each), default=0)
        self.width, self.tall = width, tall
        self._cross = np.zeros((2, self.folds, self.shifts + 1, size, width, tall))  # train and test: x by y
        self._lagged = np.zeros((2, self.folds, len(self.lags), size, 1 + width + tall, 1 + width + tall))  # of (1, x, y)

    def weigh(self, track: Track, features: Mapping[str, Float[np.ndarray, "t d"]]) -> None:
        """Sum a track up along the axes of every fold."""
        rows, width, tall, size = len(track.x), self.width, self.tall, len(self.names)
        turn = (np.arange(rows)[:, None] + np.concatenate([[0], track.shifts[: self.shifts]])[None]) % rows  # (t, 1 + s)
        for fold, (mean, axes, _) in enumerate(self._x):
            x = (track.x - mean) @ axes[:, :width]
            y = np.zeros((rows, size, tall))
            for place, name in enumerate(self.names):
                centre, own = self._y[name][fold]
                y[:, place, : own.shape[1]] = (features[name] - centre) @ own
            flat, mine = y.reshape(rows, -1), int(track.fold == fold)
            cross = flat.T @ x[turn].reshape(rows, -1)
            self._cross[mine, fold] += cross.reshape(size, tall, self.shifts + 1, width).transpose(2, 0, 3, 1)
            if mine:
                block = np.swapaxes(y, 0, 1)
                self._tracks.append((fold, float(rows), x.sum(0), y.sum(0), x.T @ x, np.swapaxes(block, 1, 2) @ block, x.T @ flat))
            for place, lag in enumerate(self.lags):
                there = np.isfinite(track.lagged[lag]).all(1)
                moved = (track.lagged[lag][there] - mean) @ axes[:, :width]
                part = y[there]
                both = np.concatenate(
                    [np.ones((size, len(moved), 1)), np.broadcast_to(moved, (size, *moved.shape)), np.swapaxes(part, 0, 1)], 2
                )
                self._lagged[mine, fold, place] += np.swapaxes(both, 1, 2) @ both

    def finish(self) -> "Held":
        """Fit every fold on the others and correlate it."""
        width, tall, size = self.width, self.tall, len(self.names)
        values = np.zeros((self.shifts + 1, size))
        sums: list[Sums] = []
        alphas: list[np.ndarray] = []
        for fold, (_, _, loadings) in enumerate(self._x):
            own = [part for part in self._tracks if part[0] == fold]
            n, x, y, xx, yy, xy = (np.stack([part[place] for part in own]) for place in range(1, 7))
            xy = xy.reshape(len(own), width, size, tall).transpose(0, 2, 1, 3)
            total, mean_x, mean_y = n.sum(), x.sum(0) / n.sum(), y.sum(0) / n.sum()
            wide = xx.sum(0) - total * np.outer(mean_x, mean_x)
            high = yy.sum(0) - total * mean_y[:, :, None] * mean_y[:, None]
            alpha, lefts, rights = np.zeros((size, width)), np.zeros((size, width, width)), np.zeros((size, tall, width))
            for place, name in enumerate(self.names):
                rank = self._y[name][fold][1].shape[1]
                left, right, _, weights = turned(self._cross[0, fold, :, place, :, :rank], loadings[:width], complete=True)
                test = self._cross[1, fold, :, place, :, :rank] - total * np.outer(mean_x, mean_y[place, :rank])
                ab = np.einsum("sik,sij,sjk->sk", left, test, right, optimize=True)
                aa = np.einsum("sik,ij,sjk->sk", left, wide, left, optimize=True)
                bb = np.einsum("sik,ij,sjk->sk", right, high[place, :rank, :rank], right, optimize=True)
                values[:, place] += (weights * correlation(ab, aa, bb)).sum(1) / self.folds
                alpha[place], lefts[place], rights[place, :rank] = weights[0], left[0], right[0]
            alphas.append(alpha)
            sums.append(
                Sums(
                    n, np.einsum("ti,cik->tck", x, lefts), np.einsum("tci,cik->tck", y, rights),
                    np.einsum("tij,cik,cjk->tck", xx, lefts, lefts, optimize=True),
                    np.einsum("tcij,cik,cjk->tck", yy, rights, rights, optimize=True),
                    np.einsum("tcij,cik,cjk->tck", xy, lefts, rights, optimize=True),
                )
            )  # fmt: skip
        ranks = {name: min(width, *(axes.shape[1] for _, axes in self._y[name])) for name in self.names}
        return Held(self.names, values[0], values[1:], self._lag_values(), sums, alphas, ranks)

    def in_sample(self, name: str) -> InSample:
        """PWCCA of all samples at full rank, and the mean of its null."""
        train = self._train[name]
        parts = [each for each in self._stats[name] if each is not None]
        whole = merged(parts)
        x, y = whitened(whole.xx, whole.sum_x, whole.n, None, "the tract"), whitened(whole.yy, whole.sum_y, whole.n, None, name)
        crosses = [whole.xy, *(each - np.outer(whole.sum_x, whole.sum_y) / whole.n for each in self._shifted.get(name, ()))]
        _, _, rho, weights = turned(np.stack([x.T @ each @ y for each in crosses]), x.T @ whole.xx, complete=False)
        found = (rho * weights).sum(1)
        without = np.array([_full(stats, name) for stats in train])
        spread = np.sqrt((self.folds - 1) / self.folds * np.square(without - without.mean()).sum())
        half = _student(self.folds - 1) * float(spread)
        null = float(found[1:].mean()) if len(found) > 1 else float("nan")
        return InSample(float(found[0]), float(found[0]) - half, float(found[0]) + half, null, few(whole.n, x.shape[1], y.shape[1]))

    def _lag_values(self) -> Float[np.ndarray, "lags c"]:
        width = self.width
        found = np.zeros((len(self.lags), len(self.names)))
        for fold, (_, _, loadings) in enumerate(self._x):
            for lag in range(len(self.lags)):
                for place, name in enumerate(self.names):
                    rank = self._y[name][fold][1].shape[1]
                    train, test = (_scatter(self._lagged[part, fold, lag, place], width, rank) for part in (0, 1))
                    (n, xx, yy, xy), (_, test_xx, test_yy, test_xy) = train, test
                    nothing = np.zeros(max(width, rank))
                    ax = whitened(xx, nothing[:width], n, None, "the tract")
                    ay = whitened(yy, nothing[:rank], n, None, name)
                    left, right, _, weights = turned(ax.T @ xy @ ay, ax.T @ loadings[:width], complete=True)
                    a, b = ax @ left, ay @ right
                    ab, aa = np.einsum("ik,ij,jk->k", a, test_xy, b), np.einsum("ik,ij,jk->k", a, test_xx, a)
                    found[lag, place] += weights @ correlation(ab, aa, np.einsum("ik,ij,jk->k", b, test_yy, b)) / self.folds
        return found


@dataclass(frozen=True, slots=True)
class Held:
    """What came out, a column for each name: values, the null's, by lag, and what bootstrap and groups are read from."""

    names: list[str]
    values: Float[np.ndarray, " c"]
    null: Float[np.ndarray, "s c"]
    lagged: Float[np.ndarray, "lags c"]
    sums: list[Sums]
    alphas: list[Float[np.ndarray, "c r"]]
    ranks: dict[str, int]

    def weighted(self, weights: Sequence[Float[np.ndarray, "draws t"]]) -> Float[np.ndarray, "draws c"]:
        """Values under weights of the tracks (a matrix a fold, tracks in the order they were weighed in): the mean over folds with any."""
        each = np.stack([sums.values(own, alpha) for sums, own, alpha in zip(self.sums, weights, self.alphas, strict=True)])
        there = np.isfinite(each)
        return np.where(there, each, 0.0).sum(0) / np.maximum(there.sum(0), 1)


def _scatter(sums: Float[np.ndarray, "m m"], width: int, rank: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Count and cross-products about the means, from those of (1, x, y)."""
    n = float(sums[0, 0])
    about = sums[1:, 1:] - np.outer(sums[0, 1:], sums[0, 1:]) / max(n, 1.0)
    return int(n), about[:width, :width], about[width : width + rank, width : width + rank], about[:width, width : width + rank]


def _full(stats: CcaStats, name: str) -> float:
    x, y = whitened(stats.xx, stats.sum_x, stats.n, None, "the tract"), whitened(stats.yy, stats.sum_y, stats.n, None, name)
    _, _, rho, weights = turned(x.T @ stats.xy @ y, x.T @ stats.xx, complete=False)
    return float(rho @ weights)


def _student(freedom: int) -> float:
    """Half-width of a 95 % interval in standard errors."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
