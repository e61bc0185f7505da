"""Which stretch of speech comes next: crops uniform over seconds, and crops around words that relate, as a pure function of the step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from laminal.corpora.vocabulary import Relations, Tokens
from laminal.errors import RequestError

PLAIN, PAIRED, SPARE = range(3)  # streams of random numbers
EDGE = 1e-6  # frames by which rounding may miss a frame's edge


@dataclass(frozen=True, slots=True)
class Place:
    """Where a crop begins: utterance number and seconds in it."""

    utterance: int
    start: float


class PlainSampler:
    """Crops uniform over the seconds of a corpus, pass by pass without repeats (systematic sampling).

    The utterances of a pass lie in random order on one line, cut at equal steps of about one crop from a random phase: each cut is
    one crop, so an utterance gives crops in proportion to its length, and crops of one pass differ whatever rank takes them.
    """

    def __init__(self, lengths: Sequence[float], seconds: float, seed: int) -> None:
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._seconds, self._seed = seconds, seed
        self.crops = max(1, int(self._lengths.sum() / seconds))  # in one pass
        self._passes: dict[int, tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]] = {}

    def place(self, position: int) -> Place:
        """Give crop number `position`, counted over all passes."""
        number, index = divmod(position, self.crops)
        if number not in self._passes:
            self._passes = {kept: value for kept, value in self._passes.items() if kept == number - 1}  # a batch may straddle two
            self._passes[number] = self._lay(number)
        utterance, start = self._passes[number]
        return Place(int(utterance[index]), float(start[index]))

    def _lay(self, number: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        rng = np.random.default_rng([self._seed, PLAIN, number])
        order = rng.permutation(len(self._lengths))
        ends = np.cumsum(self._lengths[order])
        cuts = (np.arange(self.crops) + rng.random()) * (ends[-1] / self.crops)
        owner = np.searchsorted(ends, cuts, side="right").clip(max=len(order) - 1)
        utterance = order[owner]
        length = self._lengths[utterance]
        share = ((cuts - ends[owner]) / length + 1).clip(0, 1)  # how far into its utterance the cut lies
        start = share * np.maximum(length - self._seconds, 0)
        shuffled = rng.permutation(self.crops)
        return utterance[shuffled], start[shuffled]


class PairSampler:
    """Crops around a word, around a positive of it by another speaker, and around a near-homophone (TRAINING.md, data).

    A positive is a synonym of the split, with probability `synonyms` and uniform over pairs, or else the same word, uniform over types.
    A word sits anywhere in its crop, which starts on the edge of a frame of `grid` Hz where that is given. One step is drawn for all ranks
    at once, so that no utterance comes twice in it. Raises RequestError where no positive is said by two speakers.
    """

    def __init__(
        self, found: Tokens, relations: Relations, lengths: Sequence[float], seconds: float, synonyms: float, seed: int,
        grid: float | None = None,
    ) -> None:  # fmt: skip
        self._tokens, self._relations, self._grid = found, relations, grid
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._seconds, self._share, self._seed = seconds, synonyms, seed
        fits = np.flatnonzero(found.end - found.start <= seconds)
        self._order = fits[np.lexsort((found.speaker[fits], found.word[fits]))]
        self._speaker = found.speaker[self._order]
        self._offset = np.searchsorted(found.word[self._order], np.arange(len(relations.words) + 1))
        first, last = self._offset[:-1], self._offset[1:]
        self._said = last > first
        self._several = self._said.copy()
        self._several[self._said] = self._speaker[first[self._said]] != self._speaker[last[self._said] - 1]
        self._words = np.flatnonzero(self._several)
        self._synonyms = self._feasible(relations.positive)
        if len(self._words) + len(self._synonyms) == 0:
            none = f"{len(fits)} tokens of training words, of which none has a positive by another training speaker"
            raise RequestError(f"{none}: add speakers, or say data.pairs=0")

    def places(self, step: int, ranks: int, slots: int) -> list[list[Place]]:
        """Draw `slots` crops for each of `ranks` ranks at `step`, in groups of three (two where slots are left over)."""
        rng = np.random.default_rng([self._seed, PAIRED, step])
        used: set[int] = set()
        return [[self._around(row, rng) for size in _sizes(slots) for row in self._group(size, used, rng)] for _ in range(ranks)]

    def _group(self, size: int, used: set[int], rng: np.random.Generator) -> list[int]:
        for _ in range(16):  # a corpus too small for the batch may repeat an utterance rather than fail
            rows = self._pair(rng)
            if size == 3:
                rows.append(self._contrast(rows, rng))
            utterances = set(self._tokens.utterance[rows].tolist())
            if used.isdisjoint(utterances) and len(utterances) == size:
                break
        used.update(utterances)
        return rows

    def _pair(self, rng: np.random.Generator) -> list[int]:
        if len(self._words) == 0 or (len(self._synonyms) and rng.random() < self._share):
            a, b = rng.permutation(self._synonyms[rng.integers(len(self._synonyms))]).tolist()
        else:
            a = b = int(self._words[rng.integers(len(self._words))])
        alone = None if self._several[b] else int(self._speaker[self._offset[b]])  # then only others may say a
        first = self._token(a, alone, rng)
        return [first, self._token(b, int(self._tokens.speaker[first]), rng)]

    def _contrast(self, rows: list[int], rng: np.random.Generator) -> int:
        """Draw a token of a near-homophone of either word; of any word where they have none."""
        for row in rows:
            near = self._relations.partners(self._relations.hard, int(self._tokens.word[row]))
            near = near[self._said[near]]
            if len(near):
                return self._token(int(near[rng.integers(len(near))]), None, rng)
        return int(self._order[rng.integers(len(self._order))])

    def _token(self, word: int, but: int | None, rng: np.random.Generator) -> int:
        """Draw a token of `word` by any speaker but `but`."""
        low, high = int(self._offset[word]), int(self._offset[word + 1])
        left, right = (low, low) if but is None else low + np.searchsorted(self._speaker[low:high], (but, but + 1))
        place = low + int(rng.integers(high - low - (right - left)))
        return int(self._order[place if place < left else place + (right - left)])

    def _around(self, row: int, rng: np.random.Generator) -> Place:
        utterance = int(self._tokens.utterance[row])
        room = max(float(self._lengths[utterance]) - self._seconds, 0.0)
        earliest = max(float(self._tokens.end[row]) - self._seconds, 0.0)
        latest = min(float(self._tokens.start[row]), room)
        share = rng.random()
        if self._grid is not None:
            first, last = math.ceil(earliest * self._grid - EDGE), math.floor(latest * self._grid + EDGE)
            if first <= last:
                return Place(utterance, (first + int(share * (last - first + 1))) / self._grid)
            if first / self._grid <= float(self._tokens.start[row]):  # a word at the end: the crop reaches beyond it by a part of a frame
                return Place(utterance, first / self._grid)
        return Place(utterance, min(earliest, latest) + share * max(latest - earliest, 0.0))

    def _feasible(self, keys: Int[np.ndarray, " k"]) -> Int[np.ndarray, "p 2"]:
        """Positive pairs that two different speakers say."""
        pairs = np.stack(np.divmod(keys, len(self._relations.words)), axis=1)
        pairs = pairs[(pairs[:, 0] < pairs[:, 1]) & self._said[pairs].all(1)]
        speaker = self._speaker[self._offset[pairs]]
        return pairs[self._several[pairs].any(1) | (speaker[:, 0] != speaker[:, 1])]


def _sizes(slots: int) -> list[int]:
    """Cut `slots` into groups of three, and of two where three do not fit: 8 = 3 + 3 + 2, 4 = 2 + 2."""
    if slots == 1:
        few = "1 crop of a batch for pairs: a pair takes 2 and a near-homophone 1 more"
        raise RequestError(f"{few}; raise data.pairs or data.batch, or say data.pairs=0")
    twos = -slots % 3
    return [3] * ((slots - 2 * twos) // 3) + [2] * twos
