"""The training words as integers: where each is said, and which of them attract, repel or leave each other alone."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from laminal.corpora.base import Corpus
from laminal.corpora.split import Pair, Split, is_token
from laminal.lexicon import wordnet


@dataclass(frozen=True, slots=True)
class Tokens:
    """Word tokens of training types in the order of utterance and time; those of utterance u are rows offset[u] to offset[u + 1]."""

    utterance: Int[np.ndarray, " n"]
    start: Float[np.ndarray, " n"]  # seconds in the utterance
    end: Float[np.ndarray, " n"]
    word: Int[np.ndarray, " n"]
    speaker: Int[np.ndarray, " n"]
    offset: Int[np.ndarray, " u"]
    place: Int[np.ndarray, " n"]  # among the words of its utterance

    def inside(self, utterance: int, start: float, end: float) -> Int[np.ndarray, " m"]:
        """Rows of the tokens of `utterance` that lie wholly in [start, end] s."""
        rows = np.arange(self.offset[utterance], self.offset[utterance + 1])
        return rows[(self.start[rows] >= start) & (self.end[rows] <= end)]


def tokens(corpus: Corpus, words: Sequence[str], speakers: Sequence[str]) -> Tokens:
    """Find the tokens of `words` in `corpus`; word and speaker numbers are places in the two lists."""
    word_number = {word: number for number, word in enumerate(words)}
    speaker_number = {speaker: number for number, speaker in enumerate(speakers)}
    rows = [
        (index, word.start, word.end, word_number[word.label], speaker_number[utterance.speaker], place)
        for index, utterance in enumerate(corpus)
        for place, word in enumerate(utterance.words)
        if word.label in word_number and is_token(word) and word.end <= utterance.seconds
    ]
    utterance, start, end, word, speaker, place = zip(*rows) if rows else ((),) * 6
    counts = np.bincount(np.array(utterance, dtype=np.int64), minlength=len(corpus))
    return Tokens(
        np.array(utterance, dtype=np.int64),
        np.array(start, dtype=np.float64),
        np.array(end, dtype=np.float64),
        np.array(word, dtype=np.int64),
        np.array(speaker, dtype=np.int64),
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        np.array(place, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class Sentences:
    """The sentence around each token of a training corpus, for losses that read; a word of no training type is None.

    Held-out word types may not be read at all: a text model's vector of a training word says something of its neighbours.
    """

    corpus: Corpus
    tokens: Tokens
    split: Split

    def place(self, token: int) -> tuple[int, int]:
        """Give the utterance of a token, and its place among the words."""
        return int(self.tokens.utterance[token]), int(self.tokens.place[token])

    def words(self, utterance: int) -> tuple[str | None, ...]:
        """Give the words of an utterance."""
        return tuple(word.label if self.split.trains(word.label) else None for word in self.corpus[utterance].words)


class Relations:
    """Which training words are positives, hard negatives, or neither positives nor negatives of each other.

    Each relation is one sorted array of keys a * len(words) + b, in both directions, so that a whole batch is one binary search.
    Left out of the negatives are: forms of one lemma, words that share any WordNet synset, and the pairs that the split holds out.
    """

    def __init__(self, split: Split, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._number = {word: number for number, word in enumerate(self.words)}
        self.positive = self._keys(split.positives)
        self.hard = self._keys(split.hard_negatives)
        lemmas = self._groups({word: {form for form, _ in wordnet.lemmas(word)} for word in self.words})
        synsets = self._groups({word: wordnet.ranks(word).keys() for word in self.words})
        kin = np.concatenate((lemmas, synsets, self._keys(split.held_pairs)))
        self.excluded = np.setdiff1d(kin, np.concatenate((self.positive, self.hard)))

    def partners(self, table: Int[np.ndarray, " k"], word: int) -> Int[np.ndarray, " m"]:
        """Words that `table` (one of positive, hard, excluded) relates to `word`."""
        low, high = np.searchsorted(table, (word * len(self.words), (word + 1) * len(self.words)))
        return table[low:high] % len(self.words)

    def matrices(
        self, word: Int[np.ndarray, " w"], speaker: Int[np.ndarray, " w"]
    ) -> tuple[Bool[np.ndarray, "w w"], Bool[np.ndarray, "w w"], Bool[np.ndarray, "w w"]]:
        """Relate all spans of a batch: (positive, excluded, hard).

        Positives are tokens of one word or of a positive pair, by different speakers; such tokens by one speaker are excluded.
        """
        keys = word[:, None] * len(self.words) + word[None, :]
        alike = (word[:, None] == word[None, :]) | _among(self.positive, keys)
        positive = alike & (speaker[:, None] != speaker[None, :])
        return positive, (alike & ~positive) | _among(self.excluded, keys), _among(self.hard, keys)

    def _keys(self, pairs: Iterable[Pair]) -> Int[np.ndarray, " k"]:
        known = [(self._number[a], self._number[b]) for a, b in pairs if a in self._number and b in self._number]
        both = np.array(known, dtype=np.int64).reshape(-1, 2)
        return np.unique(np.concatenate((both @ (len(self.words), 1), both @ (1, len(self.words)))))

    def _groups(self, traits: Mapping[str, Iterable[Hashable]]) -> Int[np.ndarray, " k"]:
        """Keys of all pairs of different words that share a trait."""
        groups: dict[Hashable, list[int]] = {}
        for word, own in traits.items():
            for trait in own:
                groups.setdefault(trait, []).append(self._number[word])
        found = [np.zeros(0, dtype=np.int64)]
        for members in groups.values():
            number = np.array(members, dtype=np.int64)
            keys = number[:, None] * len(self.words) + number[None, :]
            found.append(keys[~np.eye(len(number), dtype=bool)])
        return np.unique(np.concatenate(found))


def _among(table: Int[np.ndarray, " k"], keys: Int[np.ndarray, "w w"]) -> Bool[np.ndarray, "w w"]:
    if len(table) == 0:
        return np.zeros(keys.shape, dtype=bool)
    place = np.searchsorted(table, keys).clip(max=len(table) - 1)
    return table[place] == keys
