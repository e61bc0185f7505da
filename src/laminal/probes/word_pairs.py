"""Is a layer about sound or about meaning? Distances between words that sound alike, mean alike, or have nothing in common.

Seed study: Shi et al., Speech Codec Probing from Semantic and Phonetic Perspectives (arXiv 2603.10371), Fig. 2; Choi et al. 2024.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.features import Mode, Slice, WordFeatures, word_features
from laminal.measures.bootstrap import multiplicities
from laminal.measures.contrast import Drawn, Estimate, contrasts, drawn, estimate, phonsem
from laminal.measures.distances import DISTANCES, Distance, pair_distances
from laminal.probes.choi_sampling import SEEDS, choi_pairs
from laminal.probes.pair_sampling import Sample, sample_pairs
from laminal.results import Items, Score, Undefined

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
NARROW = 0.025  # of random: published effects are no larger, so a wider half-width decides nothing


Choice = TypeVar("Choice", bound=str)


class Column(NamedTuple):
    """One way to measure a distance."""

    slice: Slice
    layer_mode: Mode
    layer: str
    distance: Distance


class WordPairs:
    """Mean distance of each setting's pairs, against random pairs matched to it on phones, duration and split (PROBES.md).

    `style="choi"` draws pairs as published (10,000 tokens for each of five seeds, unmatched random pairs), to lay curves over theirs.
    On small corpora the tiers are not cross-fitted: each comes from the one split given.
    """

    name = "word_pairs"
    version = 1

    def __init__(
        self,
        corpus: Corpus,
        split: Split | None,
        *,
        style: str,
        slices: Sequence[str],
        distances: Sequence[str],
        modes: Sequence[str],
        maximum: int,
        token_pairs: int,
        randoms: int,
        draws: int,
        items: Sequence[str],
        seed: int,
        cache: str | bool | None = None,
    ):
        """Keep at most `maximum` type pairs a setting and split, `token_pairs` token pairs and `randoms` random pairs for each.

        `draws` of the bootstrap; `items` names the distances whose single pairs are written; `cache` is a folder or "off". Raises
        RequestError for an unknown name, fewer than 1,000 draws and room for fewer than 300 type pairs.
        """
        sizes = (("maximum", maximum, 300), ("draws", draws, 1000), ("token_pairs", token_pairs, 1), ("randoms", randoms, 1))
        for key, value, least in sizes:
            if value < least:
                raise RequestError(f"word_pairs.{key}={value}: at least {least}, or intervals say nothing; raise it")
        self.corpus, self.split, self.seed, self.draws = corpus, split, seed, draws
        (self.style,) = _known([style], ("matched", "choi"), "style")
        self.slices: tuple[Slice, ...] = _known(slices, get_args(Slice), "slices")
        self.distances: tuple[Distance, ...] = _known(distances, DISTANCES, "distances")
        self.modes: tuple[Mode, ...] = _known(modes, get_args(Mode), "modes")
        self.items: tuple[Distance, ...] = _known(items, self.distances, "items")
        self.sizes = {"maximum": maximum, "token_pairs": token_pairs, "randoms": randoms}
        self.cache = open_cache(None if isinstance(cache, bool) else cache)
        self._samples: dict[int, Sample] = {}

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every setting, split, slice, layer and distance."""
        for seed in SEEDS if self.style == "choi" else (self.seed,):
            sample = self.sample(seed)
            if not sample.tokens:
                yield Undefined(probe=self.name, what="all", reason=f"corpus {self.corpus.name} has no pair of words that can be compared")
                continue
            yield from self._sampled(codec, sample, seed)

    def sample(self, seed: int) -> Sample:
        """Draw the pairs once; every checkpoint is measured on the same."""
        if seed not in self._samples:
            if self.style == "choi":
                self._samples[seed] = choi_pairs(self.corpus, seed, self.sizes["maximum"])
            else:
                self._samples[seed] = sample_pairs(self.corpus, self.split, seed, **self.sizes)
        return self._samples[seed]

    def _sampled(self, codec: Codec, sample: Sample, seed: int) -> Iterator[Score | Items | Undefined]:
        words = {slice: word_features(codec, self.corpus, sample.tokens, slice, self.cache) for slice in self.slices}
        yield from self._facts(sample, words, seed)
        ok = np.logical_and.reduce([found.ok for found in words.values()])
        columns, values = self._distances(sample, words)
        counts = np.concatenate([np.ones((1, len(sample.words))), multiplicities(len(sample.words), self.draws, seed)])
        for split in sample.splits:
            found = {
                name: drawn(values[name], pairs.group, pairs.types, keep, counts, MINIMUM)
                for name, pairs in sample.sets.items()
                for keep in [ok[pairs.first] & ok[pairs.second] & pairs.member[split][pairs.group]]
            }
            rows = Rows(self.name, self.version, split, seed, columns)
            for setting, random in sample.randoms.items():
                yield from rows.setting(setting, found[setting], found[random])
            for random in dict.fromkeys(sample.randoms.values()):
                yield from rows.random(random, found[random])
            if "synonym_core" in sample.sets:
                compared = [name for setting in ("near_homophone", "synonym_core") for name in (setting, sample.randoms[setting])]
                yield from rows.index([found[name] for name in compared])
            for name, pairs in found.items():
                if pairs is not None:
                    yield from self._items(sample, name, pairs, rows)

    def _facts(self, sample: Sample, words: dict[Slice, WordFeatures], seed: int) -> Iterator[Score | Undefined]:
        """Say how exact the conditions were: words without a frame centre, random pairs from a neighbouring bin, unreadable audio."""
        rows = Rows(self.name, self.version, "all", seed, [])
        for slice, found in words.items():
            read = int(found.ok.sum())
            yield rows.share("words_without_frame", found.empty, read, len(sample.words), slice=slice)
            for utterance, reason in found.failed:
                yield Undefined(probe=self.name, what=f"{slice}: {utterance}", reason=reason)
        for setting, count in sample.widened.items():
            pairs = sample.sets[sample.randoms[setting]]
            yield rows.share("random_from_next_bin", count, len(pairs.first), len(np.unique(pairs.types)), setting=setting)

    def _distances(self, sample: Sample, words: dict[Slice, WordFeatures]) -> tuple[list[Column], dict[str, np.ndarray]]:
        """Distances of all pairs of every set, one column for each slice, mode, layer and distance."""
        ends = np.cumsum([len(pairs.first) for pairs in sample.sets.values()])
        first, second = (np.concatenate([getattr(pairs, side) for pairs in sample.sets.values()]) for side in ("first", "second"))
        columns: list[Column] = []
        measured = []
        for slice, found in words.items():
            for mode in self.modes:
                features = found.in_mode(mode)
                measured.append(pair_distances(features.values, first, second, self.distances).reshape(len(first), -1))
                columns += [Column(slice, mode, layer, distance) for layer in features.layers for distance in self.distances]
        return columns, dict(zip(sample.sets, np.split(np.concatenate(measured, 1), ends[:-1]), strict=True))

    def _items(self, sample: Sample, name: str, found: Drawn, rows: "Rows") -> Iterator[Items]:
        pairs = sample.sets[name]
        a, b = ([sample.tokens[row].name for row in side[found.kept]] for side in (pairs.first, pairs.second))
        clusters = ["|".join(sample.words[number] for number in pairs.types[group]) for group in pairs.group[found.kept]]
        for number, column in enumerate(rows.columns):
            if column.distance in self.items:
                yield Items(
                    probe=self.name,
                    metric="distance",
                    a=a,
                    b=b,
                    value=found.values[:, number],
                    cluster=clusters,
                    setting=name,
                    split=rows.split,
                    probe_version=self.version,
                    **column._asdict(),
                )


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


def conclusive(score: Score) -> str:
    """Say "" where a score decides something, else "cannot tell: n, half-width" in % of random (for over_random and mean)."""
    width = (score.high - score.low) / 2
    relative = width / score.chance if score.metric == "mean" else width
    if score.metric not in ("mean", "over_random") or relative <= NARROW:
        return ""
    return f"cannot tell: n = {score.n}, half-width {100 * relative:.1f} %"


def _known(given: Sequence[str], known: Sequence[Choice], key: str) -> tuple[Choice, ...]:
    if unknown := [name for name in given if name not in known]:
        raise RequestError(f"word_pairs.{key}: {unknown[0]!r} is none of {', '.join(known)}")
    return tuple(known[known.index(name)] for name in given)
