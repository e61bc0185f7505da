"""The generalisation split: which speakers, word types and word pairs training never uses, and the tier of a tested pair."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Literal

import numpy as np

from laminal.corpora.base import Corpus, Interval
from laminal.errors import RequestError
from laminal.lexicon import pairs as word_pairs
from laminal.lexicon import pronounce

Pair = tuple[str, str]  # two word types, a < b
Tier = Literal["trained", "new_pair", "new_word", "cross"]
SHORTEST, LONGEST = 0.1, 1.5  # seconds of a word token that counts
DRAWS = 200  # shuffles of the components, the best balanced one is kept


@dataclass(frozen=True)
class Split:
    """What training used, by speaker, word type and word pair (PROBES.md, generalisation split).

    `held_types` are whole components of the synonym_core graph. A held pair may still be reachable by transitivity: where a~b and b~c
    are trained, a~c is a new_pair that a space of meaning *or* a list of pairs can get right; `bridged` names those.
    `train_types` are the words that a training speaker says and that are not held; a word of neither kind (said only by test speakers, or
    of another corpus) was in no lexical loss, so it counts as new. Where it is None, every word that is not held counts as training type.
    """

    train_speakers: frozenset[str]
    test_speakers: frozenset[str]
    held_types: frozenset[str]
    positives: frozenset[Pair]  # core synonyms, used as positives
    hard_negatives: frozenset[Pair]  # near-homophones, used as hard negatives
    held_pairs: frozenset[Pair]  # of both kinds, between training types, used as neither
    train_types: frozenset[str] | None = None
    core: frozenset[Pair] = frozenset()  # every core synonym pair of the vocabulary: `check` needs them for the components

    def trains(self, word: str) -> bool:
        """Say whether a lexical loss may see `word`."""
        return word not in self.held_types if self.train_types is None else word in self.train_types

    def tier(self, a: str, b: str) -> Tier:
        """Tier of the pair of word types (a, b), in either order."""
        match self.trains(a), self.trains(b):
            case False, False:
                return "new_word"
            case True, True:
                pair = (a, b) if a < b else (b, a)
                return "trained" if a == b or pair in self.positives or pair in self.hard_negatives else "new_pair"
            case _:
                return "cross"

    def bridged(self) -> frozenset[Pair]:
        """Held synonym pairs whose two words are joined by a chain of trained positives."""
        group = _groups(self.positives)
        return frozenset((a, b) for a, b in self.held_pairs & self.core if a in group and group[a] == group.get(b))

    def check(self) -> None:
        """Raise RequestError with the intersection where training and test leak into each other."""
        for rule, shared in self._leaks():
            if shared:
                few = ", ".join("/".join(item) if isinstance(item, tuple) else item for item in sorted(shared)[:10])
                more = f" and {len(shared) - 10} more" if len(shared) > 10 else ""
                raise RequestError(f"split leak: {rule}: {few}{more}; make the split anew from its corpus with make_split")

    def _leaks(self) -> Iterator[tuple[str, frozenset]]:
        train = self.train_types or frozenset()
        used = self.positives | self.hard_negatives
        yield "speakers in training and in test", self.train_speakers & self.test_speakers
        yield "words held out and in training", train & self.held_types
        yield "positives with a held-out word", _touching(self.positives, self.held_types)
        yield "hard negatives with a held-out word", _touching(self.hard_negatives, self.held_types)
        yield "held-out pairs with a held-out word", _touching(self.held_pairs, self.held_types)
        yield "positives among the held-out pairs", self.positives & self.held_pairs
        yield "hard negatives among the held-out pairs", self.hard_negatives & self.held_pairs
        yield "pairs that are positives and hard negatives", self.positives & self.hard_negatives
        yield "synonyms with one held-out word of two", frozenset(p for p in self.core if len(self.held_types.intersection(p)) == 1)
        if self.train_types is not None:
            yield "used pairs with a word outside training", frozenset(p for p in used if not train.issuperset(p))
        yield "pairs out of order (a < b)", frozenset(p for p in used | self.held_pairs if p[0] >= p[1])

    def to_json(self) -> str:
        """Give the split as canonical JSON: equal splits give equal text."""
        content: dict[str, list[str] | None] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            content[part.name] = None if value is None else sorted(" ".join(i) if isinstance(i, tuple) else i for i in value)
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Split":
        """Read what `to_json` wrote; raises RequestError where it is something else."""
        try:
            content = json.loads(text)
            names = {part.name for part in fields(cls)}
            if set(content) != names:
                raise KeyError(f"fields {sorted(content)} are not {sorted(names)}")
            paired = {"positives", "hard_negatives", "held_pairs", "core"}
            values: dict[str, Any] = {name: _frozen(value, name in paired) for name, value in content.items()}
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(f"not a split: {error}; it is the JSON that Split.to_json writes: make it anew with make_split") from error

    def sha256(self) -> str:
        """Hash of the canonical JSON, for the manifest."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def is_token(word: Interval) -> bool:
    """Say whether `word` counts as a token: alphabetic, in CMUdict, 0.1 to 1.5 s long."""
    seconds = round(word.end - word.start, 6)  # 0.3 - 0.2 is below 0.1 in floats
    return SHORTEST <= seconds <= LONGEST and word.label.isalpha() and word.label in pronounce.words()


def make_split(corpus: Corpus, seed: int, speakers: float = 0.2, types: float = 0.3, pairs: float = 0.2, fold: int | None = None) -> Split:
    """Draw the split of `corpus`: fractions of its speakers, of its word types and of the pairs between training types.

    `fold` 0 or 1 halves speakers and types in place of the fractions: what one fold holds out the other trains on, so that two trainings
    test on every speaker and word of a corpus that is too small for one (`probe.py ckpt=A0,A1 against=B0,B1` pools the two).

    The draw does not depend on the losses, so runs with and without them are compared on the same pairs.
    Types are drawn by component of the synonym_core graph so that held words and held synonym pairs both come near `types`;
    words without a synonym in equal shares of frequent and of rare ones.
    Raises RequestError on fractions outside [0, 1), another fold, and on too few speakers.
    """
    if fold is not None:
        if isinstance(fold, bool) or fold not in (0, 1):
            raise RequestError(f"split.fold={fold}: 0 or 1, the two halves; null for one split by the fractions")
        if len(corpus.speakers) < 4:
            raise RequestError(f"split.fold={fold}: {len(corpus.speakers)} speakers; each fold tests on at least 2, so give 4 or more")
        speakers = types = 0.5
    for name, fraction in (("speakers", speakers), ("types", types), ("pairs", pairs)):
        if not 0 <= fraction < 1:
            raise RequestError(f"split.{name}={fraction}: a fraction in [0, 1) is held out; 0 holds out none")
    streams = [np.random.default_rng([seed, stream]) for stream in range(4)]
    test = _test_speakers(corpus.speakers, speakers, streams[0])
    if fold == 1:
        test = frozenset(corpus.speakers) - test
    said: dict[str, Counter[str]] = {}  # word -> tokens by speaker
    for utterance in corpus:
        for label in (word.label for word in utterance.words if is_token(word)):
            said.setdefault(label, Counter())[utterance.speaker] += 1
    vocabulary = sorted(said)
    core = frozenset((p.a, p.b) for p in word_pairs.synonyms_core(vocabulary))
    held_types = _held_types({word: said[word].total() for word in vocabulary}, core, types, streams[1])
    if fold == 1:
        held_types = frozenset(vocabulary) - held_types
    heard = {word: frozenset(said[word]) - test for word in vocabulary if word not in held_types}
    train_types = frozenset(word for word in heard if heard[word])
    synonyms = [p for p in sorted(core) if train_types.issuperset(p) and len(heard[p[0]] | heard[p[1]]) > 1]  # by two speakers
    homophones = [(p.a, p.b) for p in word_pairs.near_homophones(sorted(train_types))]
    held = _held_synonyms(synonyms, pairs, streams[2]) | _sample(homophones, round(pairs * len(homophones)), streams[3])
    positives, hard_negatives = frozenset(synonyms) - held, frozenset(homophones) - held
    split = Split(frozenset(corpus.speakers) - test, test, held_types, positives, hard_negatives, held, train_types, core)
    split.check()
    return split


def _test_speakers(speakers: tuple[str, ...], fraction: float, rng: np.random.Generator) -> frozenset[str]:
    if fraction == 0:
        return frozenset()
    count = max(2, round(fraction * len(speakers)))  # a tested pair is said by two speakers
    if len(speakers) <= count:
        few = f"{len(speakers)} speakers: a split tests on at least 2 whole speakers and trains on others"
        raise RequestError(f"{few}; add speakers or say split.speakers=0")
    return _sample(list(speakers), count, rng)


def _held_types(tokens: Mapping[str, int], core: frozenset[Pair], fraction: float, rng: np.random.Generator) -> frozenset[str]:
    """Whole components with about `fraction` of the words and of the pairs, and that fraction of the other words."""
    group = _groups(core)
    components: dict[str, list[str]] = {}
    for word in sorted(group):
        components.setdefault(group[word], []).append(word)
    roots = sorted(components)
    edges = Counter(group[a] for a, _ in core)
    sizes = np.array([(len(components[root]), edges[root]) for root in roots], dtype=np.float64).reshape(-1, 2)
    shares = sizes / np.maximum(sizes.sum(0), 1)
    best: tuple[float, list[int]] = (2 * fraction, [])
    for _ in range(DRAWS if fraction > 0 else 0):  # a component above the fraction stays in training: any cut behind it scores badly
        order = rng.permutation(len(roots))
        off = np.abs(np.cumsum(shares[order], 0) - fraction).sum(1)
        if len(off) and off.min() < best[0]:
            best = (float(off.min()), order[: int(off.argmin()) + 1].tolist())
    held = {word for index in best[1] for word in components[roots[index]]}
    alone = [word for word in tokens if word not in group]
    ranked = sorted(alone, key=dict(zip(alone, rng.random(len(alone)).tolist())).__getitem__)
    ranked.sort(key=tokens.__getitem__, reverse=True)  # stable: equal counts stay shuffled
    for start in range(0, len(ranked), 10):  # ten words of about equal frequency: the held ones are as frequent as the others
        block = ranked[start : start + 10]
        held |= _sample(block, int(fraction * len(block) + rng.random()), rng)
    return frozenset(held)


def _held_synonyms(pairs: list[Pair], fraction: float, rng: np.random.Generator) -> frozenset[Pair]:
    """Draw that fraction of `pairs`, first those whose words no chain of other pairs joins: the answer cannot be had by transitivity."""
    count = round(fraction * len(pairs))
    bridges = _bridges(pairs)
    free = [pair for pair in pairs if pair in bridges]
    held = _sample(free, min(count, len(free)), rng)
    return held | _sample([pair for pair in pairs if pair not in bridges], count - len(held), rng)


def _bridges(pairs: list[Pair]) -> frozenset[Pair]:
    """Edges on no cycle (Tarjan 1974, low-link), without recursion."""
    near: dict[str, list[str]] = {}
    for a, b in pairs:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    seen: dict[str, int] = {}
    low: dict[str, int] = {}
    found = set()
    for root in near:
        if root in seen:
            continue
        seen[root] = low[root] = len(seen)
        path = [(root, "", iter(near[root]))]
        while path:
            node, parent, rest = path[-1]
            for other in rest:
                if other not in seen:
                    seen[other] = low[other] = len(seen)
                    path.append((other, node, iter(near[other])))
                    break
                if other != parent:
                    low[node] = min(low[node], seen[other])
            else:
                path.pop()
                if parent:
                    low[parent] = min(low[parent], low[node])
                    if low[node] > seen[parent]:
                        found.add((min(parent, node), max(parent, node)))
    return frozenset(found)


def _groups(pairs: Iterable[Pair]) -> dict[str, str]:
    """Name the connected component of each word by one of its words (union-find)."""
    parent: dict[str, str] = {}

    def root(word: str) -> str:
        while parent.setdefault(word, word) != word:
            parent[word] = parent[parent[word]]
            word = parent[word]
        return word

    for a, b in pairs:
        high, low = sorted((root(a), root(b)))
        parent[low] = high
    return {word: root(word) for word in sorted(chain(parent))}


def _sample(items: list, count: int, rng: np.random.Generator) -> frozenset:
    return frozenset(items[index] for index in rng.permutation(len(items))[:count])


def _touching(pairs: frozenset[Pair], words: frozenset[str]) -> frozenset[Pair]:
    return frozenset(pair for pair in pairs if not words.isdisjoint(pair))


def _frozen(value: list[str] | None, paired: bool) -> frozenset | None:
    if value is None:
        return None
    return frozenset(tuple(item.split(" ", 1)) if paired else item for item in value)
