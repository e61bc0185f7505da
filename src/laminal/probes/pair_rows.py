"""The rows of word_pairs: what was estimated for a split, as scores with their keys, or named with the reason why it is undefined."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from laminal.features import Mode
from laminal.measures.contrast import Drawn, Estimate, contrasts, estimate, phonsem
from laminal.measures.distances import Distance
from laminal.probes.pair_sampling import SETTINGS
from laminal.results import Score, Undefined
from laminal.word_shards import Slice

MINIMUM = 10  # type pairs below which a setting has no score
UNITS = {
    "mean": "distance",
    "minus_random": "distance",
    "over_random": "fraction of random",
    "auc": "probability",
    "phonsem": "ratio",
    "words_without_frame": "fraction",
    "random_from_next_bin": "fraction",
}
_OF_SETTINGS = ("mean", "minus_random", "over_random", "auc")
METRICS = {  # what a score can be called, as setting/metric, and whether it is of a layer
    **{f"{setting}/{metric}": True for setting in SETTINGS for metric in _OF_SETTINGS},
    **{f"{random}/mean": True for random in ("random", *(f"random_for_{setting}" for setting in SETTINGS))},
    **{f"{setting}/random_from_next_bin": False for setting in SETTINGS},
    "phonsem": True,
    "words_without_frame": False,
}


class Column(NamedTuple):
    """One way to measure a distance."""

    slice: Slice
    layer_mode: Mode
    layer: str
    distance: Distance


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes the rows of one split and seed; what is undefined is named once for all its columns."""

    probe: str
    version: int
    split: str
    seed: int
    columns: Sequence[Column]

    def setting(self, setting: str, pairs: Drawn | None, random: Drawn | None) -> Iterator[Score | Undefined]:
        """Mean of a setting and its differences from random."""
        if pairs is None or random is None:
            yield self.undefined(setting, f"fewer than {MINIMUM} type pairs by different speakers; give more speech")
            return
        chances: dict[str, float | np.ndarray] = {"mean": random.means[0], "minus_random": 0.0, "over_random": 0.0, "auc": 0.5}
        for metric, found in contrasts(pairs, random, self._same_order()).items():
            yield from self._scores(setting, metric, found, pairs, chances[metric])

    def random(self, name: str, pairs: Drawn | None) -> Iterator[Score | Undefined]:
        """Mean of random pairs: the chance level, a row of its own."""
        if pairs is not None:
            yield from self._scores(name, "mean", estimate(pairs.means), pairs, pairs.means[0])

    def index(self, sets: Sequence[Drawn | None]) -> Iterator[Score | Undefined]:
        """PhonSem: near-homophones and their random pairs, core synonyms and theirs."""
        sound, sound_random, meaning, meaning_random = sets
        if sound is None or sound_random is None or meaning is None or meaning_random is None:
            yield self.undefined("phonsem", f"near_homophone or synonym_core has fewer than {MINIMUM} type pairs; give more speech")
            return
        ratio, defined = phonsem(sound, sound_random, meaning, meaning_random)
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

    def _same_order(self) -> list[int]:
        """Euclidean and scaled order pairs alike, so they share the AUC; intervals are for cumulative layers alone."""
        place: dict[tuple[str, str, bool], int] = {}
        keys = [(column.slice, column.layer, column.distance == "cosine") for column in self.columns]
        cumulative = [column.layer_mode == "cumulative" for column in self.columns]
        return [place.setdefault(key, number) if cumulative[number] else -1 for number, key in enumerate(keys)]

    def _scores(
        self, setting: str, metric: str, found: Estimate, pairs: Drawn, chance: float | np.ndarray, reason: str = "features without spread"
    ) -> Iterator[Score | Undefined]:
        missing = []
        for number, column in enumerate(self.columns):
            level = float(chance[number]) if isinstance(chance, np.ndarray) else chance
            numbers = (float(found.value[number]), float(found.low[number]), float(found.high[number]))
            if np.isfinite(numbers[0]):
                yield self._score(metric, numbers, pairs.n, pairs.clusters, level, setting=setting, **column._asdict())
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
