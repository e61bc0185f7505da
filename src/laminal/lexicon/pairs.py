"""Pairs of word types: how far apart they sound, near-homophones and synonyms, found for whole vocabularies at once.

Phone distance = Levenshtein over stress-stripped phones / length of the longer, minimum over listed pronunciations (Choi et al. 2024,
Table 1). Phones become characters, so that rapidfuzz compares strings. A pair is near when edits <= cutoff x length, decided in whole
numbers: 2 of 5 phones are 0.4 and in. A homophone (distance 0 by any two pronunciations) is no near-homophone.

Synonyms are pairs of *lexemes*: inflected words count through their lemmas, whatever the inflection (started/begins with start/begin).
WordNet lists base forms only: equality of the words as written would drop every inflected token, and asking for the same inflection would
need a tagger (started: past or participle; starts: noun or verb), for a difference of tense, not of the meaning that synonyms share.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
from jaxtyping import Float64, Int64
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist

from laminal.errors import RequestError
from laminal.lexicon import pronounce, wordnet

NEAR = 0.4  # the cutoff of near-homophones, inclusive; synonyms are farther apart
_CHARACTER = {phone: chr(ord("A") + number) for number, phone in enumerate(pronounce.PHONES)}
_BLOCK = 2**26  # distances held at once, 1 byte each


@dataclass(frozen=True, slots=True, order=True)
class WordPair:
    """Two word types, a < b, and their phone distance."""

    a: str
    b: str
    distance: float


@dataclass(frozen=True, slots=True)
class _Strings:
    """Pronunciations of a word list as strings of one character a phone; those of word w are start[w] .. start[w + 1]."""

    strings: list[str]
    owner: Int64[np.ndarray, " p"]
    start: Int64[np.ndarray, " w"]  # first string of each word


def _strings(words: Sequence[str], first: bool) -> _Strings:
    listed = [pronounce.pronunciations(word)[: 1 if first else None] for word in words]
    unknown = [word for word, found in zip(words, listed, strict=True) if not found]
    if unknown:
        some = ", ".join(unknown[:5])
        raise RequestError(f"{len(unknown)} words not in the CMU dictionary ({some}): pairs need phones; keep those of pronounce.words()")
    counts = np.array([len(found) for found in listed], dtype=np.int64)
    strings = ["".join(_CHARACTER[phone] for phone in phones) for found in listed for phones in found]
    return _Strings(strings, np.repeat(np.arange(len(words)), counts), np.cumsum(counts) - counts)


def phone_distance(a: str, b: str, first: bool = False) -> float:
    """Phone distance of two words, 0 .. 1; `first`: by first pronunciations only; raises RequestError for an unknown word."""
    x, y = _strings([a], first).strings, _strings([b], first).strings
    return min(Levenshtein.distance(s, t) / max(len(s), len(t)) for s in x for t in y)


def distances(words: Sequence[str], others: Sequence[str] | None = None, first: bool = False) -> Float64[np.ndarray, "w v"]:
    """Phone distance of every word to every other, or to `others`; `first` as in phone_distance; raises RequestError (unknown word)."""
    x = _strings(words, first)
    y = x if others is None else _strings(others, first)
    if not x.strings or not y.strings:
        return np.zeros((len(words), len(words if others is None else others)))
    edits = cdist(x.strings, y.strings, scorer=Levenshtein.distance, dtype=np.uint8)
    longer = np.maximum.outer([len(s) for s in x.strings], [len(s) for s in y.strings])
    return np.minimum.reduceat(np.minimum.reduceat(edits / longer, x.start, axis=0), y.start, axis=1)


def pair_distances(pairs: Sequence[tuple[str, str]], first: bool = False) -> Float64[np.ndarray, " p"]:
    """Phone distance of each given pair of words; raises RequestError for an unknown word."""
    words = sorted({word for pair in pairs for word in pair})
    place = {word: number for number, word in enumerate(words)}
    known = _strings(words, first)
    of: list[list[str]] = [[] for _ in words]
    for owner, string in zip(known.owner, known.strings, strict=True):
        of[owner].append(string)
    both = [(number, s, t) for number, (a, b) in enumerate(pairs) for s in of[place[a]] for t in of[place[b]]]
    nearest = np.full(len(pairs), np.inf)
    if both:
        edits = cpdist([s for _, s, _ in both], [t for _, _, t in both], scorer=Levenshtein.distance, dtype=np.int64)
        longer = np.array([max(len(s), len(t)) for _, s, t in both])
        np.minimum.at(nearest, np.array([number for number, _, _ in both]), edits / longer)
    return nearest


def _near(known: _Strings, cutoff: Fraction) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give (string, string, distance) wherever distance <= cutoff, comparing only lengths that can be so near."""
    by_length: dict[int, list[int]] = {}
    for number, string in enumerate(known.strings):
        by_length.setdefault(len(string), []).append(number)
    for short, long in [(s, t) for s in sorted(by_length) for t in sorted(by_length) if s <= t]:
        most = int(cutoff * long)  # whole edits allowed
        if long - short > most:
            continue
        columns = np.array(by_length[long])
        height = max(1, _BLOCK // len(columns))
        for top in range(0, len(by_length[short]), height):
            rows = np.array(by_length[short][top : top + height])
            x, y = [known.strings[i] for i in rows], [known.strings[i] for i in columns]
            edits = cdist(x, y, scorer=Levenshtein.distance, score_cutoff=most, dtype=np.uint8)  # most + 1 where more
            i, j = np.nonzero(edits <= most)
            yield rows[i], columns[j], edits[i, j] / long


def near_homophones(words: Iterable[str], cutoff: float = NEAR, first: bool = False) -> tuple[WordPair, ...]:
    """List the pairs with 0 < phone distance <= cutoff that share no synset and no lemma, in order; raises RequestError (unknown word).

    `first`: by first pronunciations only, as Choi et al. 2024. Neither word is a synonym of the other through any lemma and sense.
    """
    vocabulary = sorted(set(words))
    known = _strings(vocabulary, first)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [
        (known.owner[i], known.owner[j], near) for i, j, near in _near(known, Fraction(str(cutoff)))
    ]
    if not found:
        return ()
    i, j, near = (np.concatenate(part) for part in zip(*found, strict=True))
    low, high = np.minimum(i, j), np.maximum(i, j)
    order = np.lexsort((near, high, low))  # the nearest pronunciations of a pair come first
    low, high, near = low[order], high[order], near[order]
    fresh = np.ones(len(low), dtype=bool)
    fresh[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    keep = fresh & (near > 0) & (low != high)
    candidates = ((vocabulary[a], vocabulary[b], float(d)) for a, b, d in zip(low[keep], high[keep], near[keep], strict=True))
    return tuple(WordPair(a, b, d) for a, b, d in candidates if not wordnet.same_lemma(a, b) and not wordnet.synonyms(a, b))


def _sharing(words: Iterable[str], most: int | None) -> tuple[WordPair, ...]:
    """Pairs that share a synset (a rank below `most` on both sides), farther apart than NEAR, of different lemmas, with content."""
    vocabulary = sorted(set(words))
    _strings(vocabulary, first=True)  # refuses unknown words, also those that share nothing
    holders: dict[int, list[str]] = {}
    for word in vocabulary:
        for number, rank in () if wordnet.contentless(word) else wordnet.ranks(word).items():
            if most is None or rank < most:
                holders.setdefault(number, []).append(word)
    shared = sorted({pair for sharing in holders.values() for pair in combinations(sharing, 2)})
    pairs = [(a, b) for a, b in shared if not wordnet.same_lemma(a, b)]
    return tuple(WordPair(a, b, float(d)) for (a, b), d in zip(pairs, pair_distances(pairs), strict=True) if d > NEAR)


def synonyms(words: Iterable[str]) -> tuple[WordPair, ...]:
    """List the pairs of the setting `synonym`, in order: a synset shared in any sense of any lemma; raises RequestError (unknown word)."""
    return _sharing(words, None)


def synonyms_core(words: Iterable[str]) -> tuple[WordPair, ...]:
    """List the pairs of `synonym_core`, in order: as synonyms, the synset among the first two senses of each lemma (and part of speech)."""
    return _sharing(words, wordnet.CORE_SENSES)


def pair_hash(pairs: Iterable[WordPair]) -> str:
    """SHA-256 of a pair list, whatever its order: one line `a b distance` (6 digits) a pair."""
    lines = "".join(f"{pair.a} {pair.b} {pair.distance:.6f}\n" for pair in sorted(pairs))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()
