"""The rows of word_pairs: what was estimated for a split, as scores with their keys, or named with the reason why it is undefined."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laminal.measures.contrast import Estimate
from laminal.probes.pair_figures import AGAINST_RANDOM, INDEX, MINIMUM, Column, SetFigures, SplitFigures
from laminal.probes.pair_sampling import SETTINGS
from laminal.results import Score, Undefined

UNITS = {
    "mean": "distance",
    "minus_random": "distance",
    "over_random": "fraction of random",
    "auc": "probability",
    "phonsem": "ratio",
    "words_without_frame": "fraction",
    "random_from_next_bin": "fraction",
}
METRICS = {  # what a score can be called, as setting/metric, and whether it is of a layer
    **{f"{setting}/{metric}": True for setting in SETTINGS for metric in AGAINST_RANDOM},
    **{f"{random}/mean": True for random in ("random", *(f"random_for_{setting}" for setting in SETTINGS))},
    **{f"{setting}/random_from_next_bin": False for setting in SETTINGS},
    "phonsem": True,
    "words_without_frame": False,
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes the rows of one split and seed; what is undefined is named once for all its columns."""

    probe: str
    version: int
    split: str
    seed: int
    columns: Sequence[Column]

    def setting(self, setting: str, pairs: SetFigures | None, random: SetFigures | None) -> Iterator[Score | Undefined]:
        """Mean of a setting and its differences from random."""
        if pairs is None or random is None:
            yield self.undefined(setting, f"fewer than {MINIMUM} type pairs by different speakers; give more speech")
            return
        chances: dict[str, float | np.ndarray] = {"mean": random.level, "minus_random": 0.0, "over_random": 0.0, "auc": 0.5}
        for metric, found in pairs.estimates.items():
            yield from self._scores(setting, metric, found, pairs, chances[metric])

    def random(self, name: str, pairs: SetFigures | None) -> Iterator[Score | Undefined]:
        """Mean of random pairs: the chance level, a row of its own."""
        if pairs is not None:
            yield from self._scores(name, "mean", pairs.estimates["mean"], pairs, pairs.level)

    def index(self, figures: SplitFigures) -> Iterator[Score | Undefined]:
        """PhonSem: near-homophones and their random pairs, core synonyms and theirs."""
        sound, meaning = (figures.sets[setting] for setting in INDEX)
        if figures.phonsem is None or sound is None or meaning is None:
            yield self.undefined("phonsem", f"near_homophone or synonym_core has fewer than {MINIMUM} type pairs; give more speech")
            return
        ratio, defined = figures.phonsem
        shown = Estimate(*(np.where(defined, side, np.nan) for side in (ratio.value, ratio.low, ratio.high)))
        smaller = min(sound, meaning, key=lambda each: each.n)
        yield from self._scores("", "phonsem", shown, smaller, float("nan"), "the interval of random - synonym_core holds 0")

    def share(self, metric: str, count: int, n: int, clusters: int, setting: str = "", slice: str = "") -> Score:
        """Give an exact share of `n`."""
        value = count / n if n else 0.0
        return self._score(metric, (value, value, value), n, clusters, float("nan"), setting=setting, slice=slice, higher_is_better=False)

    def undefined(self, what: str, reason: str) -> Undefined:
        """Name what has no row, with the split it lacks it in."""
        return Undefined(probe=self.probe, what=f"{what} ({self.split}, seed {self.seed})", reason=reason)

    def _scores(
        self,
        setting: str,
        metric: str,
        found: Estimate,
        pairs: SetFigures,
        chance: float | np.ndarray,
        reason: str = "features without spread",
    ) -> Iterator[Score | Undefined]:
        missing = []
        levels = chance.tolist() if isinstance(chance, np.ndarray) else [chance] * len(self.columns)
        numbers = zip(found.value.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
        for column, level, (value, low, high) in zip(self.columns, levels, numbers, strict=True):
            if math.isfinite(value):
                yield self._score(metric, (value, low, high), pairs.n, pairs.clusters, level, setting=setting, **column._asdict())
            elif metric != "auc" or column.layer_mode == "cumulative":
                missing.append("/".join(column))
        if missing:
            yield self.undefined(f"{setting} {metric}".strip() + ": " + ", ".join(missing), reason)

    def _score(self, metric: str, numbers: tuple[float, float, float], n: int, clusters: int, chance: float, **keys: Any) -> Score:
        value, low, high = numbers
        return Score(
            probe=self.probe,
            metric=metric,
            value=value,
            low=low,
            high=high,
            n=n,
            clusters=clusters,
            chance=chance,
            unit=UNITS[metric],
            split=self.split,
            seed=self.seed,
            probe_version=self.version,
            **({"higher_is_better": None} | keys),
        )
