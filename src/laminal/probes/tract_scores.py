"""Rows of the articulation probe: values held out with intervals over speakers, nulls, paired differences, lags, single speakers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from laminal.measures.bootstrap import half_widths, interval, multiplicities, stretched
from laminal.measures.heldout import Held, HeldOut
from laminal.results import Items, Score, Undefined

LOG_MEL, PITCH, RANDOM_BOOK, RANDOM_CODES = "log_mel", "f0_energy", "random_codebook", "random_codes"
NAN = float("nan")
Ends = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]


@dataclass(frozen=True, slots=True)
class Column:
    """A set of features: the codec's layer (setting ""), or a baseline beside it."""

    setting: str
    layer: str
    mode: str

    @property
    def name(self) -> str:
        """Name it for the engine."""
        return f"{self.setting}|{self.layer}|{self.mode}"

    @property
    def said(self) -> str:
        """Name it in a reason."""
        return " ".join(part for part in (self.setting, self.mode, self.layer) if part)


@dataclass(frozen=True, slots=True)
class Material:
    """What was measured on: the corpus of the tracts, how many tracks and seconds, how many speakers, the codec's codebooks."""

    corpus: str
    tracks: int
    seconds: float
    speakers: int
    codebooks: int


def level_ends(value: Float[np.ndarray, " k"], drawn: Float[np.ndarray, "draws k"], clusters: int) -> Ends:
    """Interval of levels, which end at -1 and 1, by draws of their clusters."""
    low, high = stretched(value, *interval(drawn), clusters)
    return low.clip(-1, 1), high.clip(-1, 1)


class Rows:
    """All rows of one codec. Levels: bootstrap over clusters, stretched for their number; differences: t over the clusters' own values."""

    def __init__(
        self, engine: HeldOut, held: Held, columns: Sequence[Column], clusters: Sequence[str], draws: int, common: Mapping[str, Any]
    ):
        """`clusters`: speakers, or tracks where there is one speaker; `common`: what all rows share (probe, version, seed, n)."""
        self.engine, self.held, self.clusters = engine, held, list(clusters)
        self.place = {column: number for number, column in enumerate(columns)}
        self.common: dict[str, Any] = dict(common) | {
            "clusters": len(clusters), "unit": "correlation", "higher_is_better": None, "chance": NAN
        }  # fmt: skip
        self.null = held.null.mean(0)
        self.draws = multiplicities(len(clusters), draws, self.common["seed"])
        self.low, self.high = self._ends(held.values, held.weighted(self.draws))
        self.each = held.weighted(np.eye(len(clusters)))  # every cluster's own value (k, c)

    def all(self, material: Material) -> Iterator[Score | Items | Undefined]:
        """Give facts, then column by column, then what several columns say."""
        yield from self._facts(material)
        band = np.quantile(self.held.null, [0.025, 0.975], axis=0)
        for column, at in self.place.items():
            null = float(self.null[at])
            facts = self.common | {"setting": column.setting, "layer": column.layer, "layer_mode": column.mode, "chance": null}
            value, low, high = (float(each[at]) for each in (self.held.values, self.low, self.high))
            yield Score(**facts, metric="heldout_pwcca", value=value, low=low, high=high)
            yield Score(**facts, metric="null", value=null, low=float(band[0, at]), high=float(band[1, at]))
            above = [(each - null) / (1 - null) for each in (value, low, high)]
            yield Score(**facts | {"chance": 0.0}, metric="above_null", value=above[0], low=above[1], high=above[2])
            yield _exact(self.engine.axes[at], facts | {"metric": "feature_axes", "unit": "axes", "chance": NAN})
            if not column.setting:
                yield from self._beside(column, at, facts)
                yield from self._in_sample(column, facts)
            if column.setting in ("", LOG_MEL):
                yield from self._lags(column, facts)
        yield from self._growth()
        if material.speakers > 1:
            yield from self._speakers()

    def _facts(self, material: Material) -> Iterator[Score]:
        """Say on what, and at which ranks: seconds (n tracks), axes of the tract and their share of its variance, codebooks."""
        about = self.common | {"n": material.tracks, "clusters": material.speakers}
        yield _exact(material.seconds, about | {"metric": "seconds_of_tract", "unit": "s", "setting": material.corpus})
        axes, share = self.engine.own
        yield _exact(axes, self.common | {"metric": "tract_axes", "unit": "axes"})
        yield _exact(share, self.common | {"metric": "tract_variance", "unit": "fraction"})
        yield _exact(material.codebooks, self.common | {"metric": "codebooks", "unit": "codebooks"})

    def _ends(self, value: Float[np.ndarray, " k"], drawn: Float[np.ndarray, "draws k"]) -> Ends:
        return level_ends(value, drawn, len(self.clusters))

    def _difference(self, metric: str, at: int, other: int, facts: Mapping[str, Any]) -> Score:
        value = float(self.held.values[at] - self.held.values[other])
        half = float(half_widths(self.each[:, [at]] - self.each[:, [other]])[0])
        return Score(**dict(facts) | {"chance": 0.0}, metric=metric, value=value, low=value - half, high=value + half)

    def _beside(self, column: Column, at: int, facts: Mapping[str, Any]) -> Iterator[Score]:
        """Give paired differences from log-mel, and from as many random codebooks."""
        others = {"minus_log_mel": Column(LOG_MEL, "", ""), "minus_random_codebook": Column(RANDOM_BOOK, column.layer, column.mode)}
        for metric, other in others.items():
            if other in self.place:
                yield self._difference(metric, at, self.place[other], facts)

    def _in_sample(self, column: Column, facts: Mapping[str, Any]) -> Iterator[Score]:
        found = self.engine.in_sample(column.name)
        own = dict(facts) | {"chance": found.null, "setting": "few_frames" if found.few else "", "clusters": self.engine.folds}
        yield Score(**own, metric="in_sample_pwcca", value=found.value, low=found.low, high=found.high)

    def _lags(self, column: Column, facts: Mapping[str, Any]) -> Iterator[Score | Undefined]:
        """Value by lag, on the frames that have a tract at all of them; the highest, and its paired difference from lag 0.

        The interval of `best_lag` runs over the lags that are not told from it.
        """
        lags, count = np.array(self.engine.lags), len(self.clusters)
        if len(lags) < 2:
            return
        value = self.held.at_lags(column.name, np.ones((1, count)))[0]
        each = self.held.at_lags(column.name, np.eye(count))
        each = each[np.isfinite(each).all(1)]
        if len(each) < 2 or not np.isfinite(value).all():
            reason = f"{self.held.late_frames} frames have a tract at every lag; give shorter lags_ms"
            yield Undefined(probe=facts["probe"], what=f"lags of {column.said}", reason=reason)
            return
        low, high = self._ends(value, self.held.at_lags(column.name, self.draws))
        own = dict(facts) | {"n": self.held.late_frames}

        def score(metric: str, at: int, **about: Any) -> Score:
            return Score(**own | about, metric=metric, value=float(value[at]), low=float(low[at]), high=float(high[at]))

        for at, lag in enumerate(lags):
            yield score("lag_pwcca", at, setting=f"{column.setting}{'_' if column.setting else ''}lag{1000 * lag:+04.0f}ms")
        highest, zero = int(value.argmax()), int(np.abs(lags).argmin())
        yield score("best_lag_pwcca", highest)
        gain, half = value[highest] - value, half_widths(each[:, [highest]] - each)
        ends = float(gain[zero] - half[zero]), float(gain[zero] + half[zero])
        yield Score(**own | {"chance": 0.0}, metric="best_lag_gain", value=float(gain[zero]), low=ends[0], high=ends[1])
        near = 1000 * lags[gain <= half]
        about = own | {"chance": NAN, "unit": "ms"}
        yield Score(**about, metric="best_lag", value=float(1000 * lags[highest]), low=float(near.min()), high=float(near.max()))

    def _growth(self) -> Iterator[Score]:
        """Say whether more layers mean more articulation: the last numbered layer minus the first."""
        own = [(column.layer, at) for column, at in self.place.items() if not column.setting and column.mode == "cumulative"]
        layers = sorted((int(layer), at) for layer, at in own if layer.isdigit())
        if len(layers) > 1:
            yield self._difference("last_minus_first", layers[-1][1], layers[0][1], self.common)

    def _speakers(self) -> Iterator[Score | Items]:
        """Each speaker's own value, along directions fitted on all speakers' other tracks."""
        half = half_widths(self.each)
        for column, at in self.place.items():
            if column.setting:
                continue
            facts: dict[str, Any] = {"layer": column.layer, "layer_mode": column.mode, "metric": "speaker_pwcca"}
            mean = float(self.each[:, at].mean())
            about = self.common | facts | {"n": len(self.clusters), "chance": float(self.null[at])}
            yield Score(**about, value=mean, low=max(mean - float(half[at]), -1.0), high=min(mean + float(half[at]), 1.0))
            own: dict[str, Any] = {name: self.common[name] for name in ("probe", "seed", "probe_version")}
            yield Items(**own | facts, a=self.clusters, cluster=self.clusters, value=self.each[:, at])


def _exact(value: float | int, facts: Mapping[str, Any]) -> Score:
    return Score(**facts, value=float(value), low=float(value), high=float(value))
