"""Is a layer about sound or about meaning? Distances between words that sound alike, mean alike, or have nothing in common.

Seed study: Shi et al., Speech Codec Probing from Semantic and Phonetic Perspectives (arXiv 2603.10371), Fig. 2; Choi et al. 2024.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar, get_args

import numpy as np
from jaxtyping import Float

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.features import Mode, WordFeatures, features_by_slice, fill
from laminal.measures.distances import DISTANCES, Distance
from laminal.probes.choi_sampling import SEEDS, choi_pairs
from laminal.probes.pair_figures import Measured, SetFigures, figures
from laminal.probes.pair_rows import METRICS, Rows
from laminal.probes.pair_sampling import Sample, sample_pairs
from laminal.results import Items, Score, Undefined
from laminal.word_shards import Slice

NARROW = 0.025  # of random: published effects are no larger, so a wider interval that holds 0 decides nothing


Choice = TypeVar("Choice", bound=str)


class WordPairs:
    """Mean distance of each setting's pairs, against random pairs matched to it on phones, duration and split (PROBES.md).

    `style="choi"` draws pairs as published (10,000 tokens for each of five seeds, unmatched random pairs), to lay curves over theirs.
    On small corpora the tiers are not cross-fitted: each comes from the one split given.
    """

    name = "word_pairs"
    version = 1
    metrics = METRICS

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
        tier_maximum: int | None,
        token_pairs: int,
        randoms: int,
        draws: int,
        items: Sequence[str],
        seed: int,
        cache: str | bool | None = None,
    ):
        """Keep at most `maximum` type pairs a setting (`tier_maximum` in each tier), with `token_pairs` and `randoms` random pairs each.

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
        tier_maximum = maximum if tier_maximum is None else tier_maximum
        self.sizes = {"maximum": maximum, "tier_maximum": tier_maximum, "token_pairs": token_pairs, "randoms": randoms}
        self.cache = open_cache(None if isinstance(cache, bool) else cache)
        self.recalled = 0
        self._samples: dict[int, Sample] = {}

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every setting, split, slice, layer and distance; `recalled` then counts samples whose figures were in the cache."""
        self.recalled = 0
        for seed in self.seeds:
            sample = self.sample(seed)
            if not sample.tokens:
                yield Undefined(probe=self.name, what="all", reason=f"corpus {self.corpus.name} has no pair of words that can be compared")
                continue
            yield from self._sampled(codec, sample, seed)

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        for seed in self.seeds:
            if self.cache is not None and (found := self.sample(seed)).tokens:
                fill(codec, self.corpus, found.tokens, self.slices, self.cache, share)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the samples drawn."""
        return SEEDS if self.style == "choi" else (self.seed,)

    def sample(self, seed: int) -> Sample:
        """Draw the pairs once; every checkpoint is measured on the same."""
        if seed not in self._samples:
            if self.style == "choi":
                self._samples[seed] = choi_pairs(self.corpus, seed, self.sizes["maximum"])
            else:
                self._samples[seed] = sample_pairs(self.corpus, self.split, seed, **self.sizes)
        return self._samples[seed]

    def _sampled(self, codec: Codec, sample: Sample, seed: int) -> Iterator[Score | Items | Undefined]:
        words = features_by_slice(codec, self.corpus, sample.tokens, self.slices, self.cache)
        yield from self.scored(sample, words, seed)

    def scored(self, sample: Sample, words: dict[Slice, WordFeatures], seed: int) -> Iterator[Score | Items | Undefined]:
        """Compare the pairs of `sample`, whose tokens have the features `words`."""
        yield from self._facts(sample, words, seed)
        measured = Measured(sample, words, self.modes, self.distances, self.items, self.draws, seed)
        found = figures(measured, self.cache)
        self.recalled += found.recalled
        columns = measured.columns
        for split, each in found.splits.items():
            rows = Rows(self.name, self.version, split, seed, columns)
            for setting, random in sample.randoms.items():
                yield from rows.setting(setting, each.sets[setting], each.sets[random])
            for random in dict.fromkeys(sample.randoms.values()):
                yield from rows.random(random, each.sets[random])
            if "synonym_core" in sample.sets:
                yield from rows.index(each)
            for name, pairs in each.sets.items():
                if pairs is not None:
                    yield from self._items(sample, name, pairs, found.listed[name][pairs.kept], rows)

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

    def _items(self, sample: Sample, name: str, found: SetFigures, distances: Float[np.ndarray, "p listed"], rows: Rows) -> Iterator[Items]:
        pairs = sample.sets[name]
        a, b = ([sample.tokens[row].name for row in side[found.kept]] for side in (pairs.first, pairs.second))
        clusters = ["|".join(sample.words[number] for number in pairs.types[group]) for group in pairs.group[found.kept]]
        for values, column in zip(distances.T, (column for column in rows.columns if column.distance in self.items), strict=True):
            yield Items(
                probe=self.name,
                metric="distance",
                a=a,
                b=b,
                value=values,
                cluster=clusters,
                setting=name,
                split=rows.split,
                seed=rows.seed,
                probe_version=self.version,
                **column._asdict(),
            )


def conclusive(score: Score) -> str:
    """Say "" where a score decides something, else "cannot tell: n, half-width" in % of random (for over_random and mean)."""
    width = (score.high - score.low) / 2
    relative, level = (width / score.chance, score.chance) if score.metric == "mean" else (width, 0.0)
    if score.metric not in ("mean", "over_random") or relative <= NARROW or not score.low <= level <= score.high:
        return ""
    return f"cannot tell: n = {score.n}, half-width {100 * relative:.1f} %"


def _known(given: Sequence[str], known: Sequence[Choice], key: str) -> tuple[Choice, ...]:
    if unknown := [name for name in given if name not in known]:
        raise RequestError(f"word_pairs.{key}: {unknown[0]!r} is none of {', '.join(known)}")
    return tuple(known[known.index(name)] for name in given)
