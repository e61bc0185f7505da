"""Which pairs of spoken words are compared: settings, tiers of the generalisation split, and random pairs matched to each setting."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.lexicon import pairs as lexicon_pairs
from laminal.lexicon import pronounce
from laminal.probes.token_choice import TokenChoice
from laminal.words import SHORTEST, Token, tokens

LEXICAL = ("synonym_core", "synonym", "near_homophone", "same_word")  # in the order in which words come into use
FRUGAL = ("near_homophone", "same_word")  # take words in use first; synonyms cannot, or the loose ones would be the core ones
SETTINGS = (*LEXICAL, "same_speaker")
TIERS = ("trained", "new_pair", "new_word", "cross")
BIN_RATIO = 1.25  # durations in one bin differ by at most a quarter
DIVERSE = 6  # word types that a bin must offer before random partners are drawn from the words already in use
ATTEMPTS = 24  # partners tried in a bin before its neighbours are
NEARBY = sorted(((p, d) for p in range(-3, 4) for d in range(-3, 4)), key=lambda step: (2 * abs(step[0]) + abs(step[1]), step))

Bin = tuple[bool, int, int]  # in training or not, phones, duration bin


@dataclass(frozen=True, slots=True)
class PairSet:
    """Token pairs of one setting; `group` numbers the unordered type pair of each, `member` says which type pairs count in a split."""

    first: Int[np.ndarray, " p"]  # rows of Sample.tokens
    second: Int[np.ndarray, " p"]
    group: Int[np.ndarray, " p"]
    types: Int[np.ndarray, "g 2"]  # of each group, numbers of Sample.words
    member: dict[str, Bool[np.ndarray, " g"]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one probing compares: a pure function of corpus, split, seed and sizes, so the same at every epoch."""

    tokens: tuple[Token, ...]
    words: tuple[str, ...]
    sets: dict[str, PairSet]
    randoms: dict[str, str]  # setting: name of the set of its random pairs
    splits: tuple[str, ...]
    widened: dict[str, int]  # random pairs of each setting whose bin had no partner, so that a neighbouring bin gave one


@dataclass(slots=True)
class Chosen:
    """One type pair (numbers of words, a <= b), the splits it counts in, and its token pairs in the same order."""

    types: tuple[int, int]
    splits: tuple[str, ...]
    pairs: list[tuple[int, int]]


class Pool:
    """Words that may be paired, by type, speaker and bin."""

    def __init__(self, every: Sequence[Token], split: Split | None, seed: int):
        self.split, self.seed, self.tokens = split, seed, tuple(every)
        self.splits = ("all",) if split is None else ("all", *TIERS)
        self.words = tuple(sorted({token.word for token in self.tokens}))
        self.number = {word: number for number, word in enumerate(self.words)}
        speakers = {speaker: number for number, speaker in enumerate(sorted({token.speaker for token in self.tokens}))}
        self.type_of = np.array([self.number[token.word] for token in self.tokens], dtype=np.int64)
        self.speaker_of = np.array([speakers[token.speaker] for token in self.tokens], dtype=np.int64)
        self.bin_of = [self._bin(token) for token in self.tokens]
        self.voices: list[set[int]] = [set() for _ in self.words]  # speakers of each type
        for kind, speaker in zip(self.type_of.tolist(), self.speaker_of.tolist(), strict=True):
            self.voices[kind].add(speaker)

    def _bin(self, token: Token) -> Bin:
        length = np.floor(np.log(max(token.end - token.start, SHORTEST) / SHORTEST + 1e-9) / np.log(BIN_RATIO))
        return self.split is None or self.split.trains(token.word), len(pronounce.pronunciations(token.word)[0]), int(length)

    def tier(self, a: int, b: int) -> str:
        """Name the tier of two word types, by their numbers."""
        return "all" if self.split is None else self.split.tier(self.words[a], self.words[b])

    def binned(self, rows: Iterable[int]) -> dict[Bin, list[int]]:
        """Group tokens by phones, duration and side of the split."""
        bins: dict[Bin, list[int]] = {}
        for row in rows:
            bins.setdefault(self.bin_of[row], []).append(row)
        return bins


def sample_pairs(corpus: Corpus, split: Split | None, seed: int, maximum: int, tier_maximum: int, token_pairs: int, randoms: int) -> Sample:
    """Draw the pairs of every setting: at most `maximum` type pairs, of each tier `tier_maximum`; `token_pairs` token pairs of each.

    In each setting the type pairs are put in one random order; "all" and each tier take their first ones, so that they share tokens.
    Every type pair brings `randoms` random pairs, with which it shares its splits. With a split, speakers heard in training say nothing.
    """
    heard = frozenset[str]() if split is None else split.train_speakers
    pool = Pool(tokens(corpus.subset(frozenset(corpus.speakers) - heard)), split, seed)
    selected: dict[str, list[Chosen]] = {}
    for index, setting in enumerate(LEXICAL):
        known = {kind for chosen in selected.values() for each in chosen for kind in each.types} if setting in FRUGAL else set[int]()
        selected[setting] = select(pool, index, _type_pairs(pool, setting), maximum, tier_maximum, known)
    voice(pool, selected, token_pairs)
    used = _rows(selected) or list(range(len(pool.tokens)))
    selected["same_speaker"] = same_speaker(pool, used, maximum, tier_maximum)
    bins = pool.binned(used), pool.binned(range(len(pool.tokens)))
    sets: dict[str, list[Chosen]] = {}
    widened: dict[str, int] = {}
    for index, setting in enumerate(SETTINGS):
        sets[setting] = selected[setting]
        matched, widened[setting] = _matched(pool, selected[setting], bins, randoms, np.random.default_rng([seed, 2, index]))
        sets[f"random_for_{setting}"] = matched
    return packed(pool, sets, {setting: f"random_for_{setting}" for setting in SETTINGS}, widened)


def _type_pairs(pool: Pool, setting: str) -> list[tuple[int, int]]:
    """Type pairs of a lexical setting that two different speakers say, in alphabetical order."""
    if setting == "same_word":
        return [(number, number) for number, voices in enumerate(pool.voices) if len(voices) > 1]
    listed = {
        "near_homophone": lexicon_pairs.near_homophones,
        "synonym": lexicon_pairs.synonyms,
        "synonym_core": lexicon_pairs.synonyms_core,
    }[setting](pool.words)
    numbered = [(pool.number[pair.a], pool.number[pair.b]) for pair in listed]
    return [(a, b) for a, b in numbered if len(pool.voices[a] | pool.voices[b]) > 1]


def select(
    pool: Pool, index: int, type_pairs: Sequence[tuple[int, int]], maximum: int, tier_maximum: int, known: Collection[int] = ()
) -> list[Chosen]:
    """Sub-sample type pairs in random order (stream `index`), pairs of `known` words first, those with one known word next."""
    shuffled = [type_pairs[number] for number in np.random.default_rng([pool.seed, 1, index]).permutation(len(type_pairs))]
    shuffled.sort(key=lambda types: sum(kind not in known for kind in types))
    return _within_quota(pool, shuffled, maximum, tier_maximum)


def _within_quota(pool: Pool, type_pairs: Iterable[tuple[int, int]], maximum: int, tier_maximum: int) -> list[Chosen]:
    """Take the first type pairs of all and of each tier, with the splits that each counts in; token pairs are drawn later."""
    room = {name: maximum if name == "all" else tier_maximum for name in pool.splits}
    kept = []
    for types in type_pairs:
        splits = tuple(name for name in dict.fromkeys(("all", pool.tier(*types))) if room[name] > 0)
        for name in splits:
            room[name] -= 1
        if splits:
            kept.append(Chosen(types, splits, []))
        if not any(room.values()):
            break
    return kept


def voice(pool: Pool, sets: dict[str, list[Chosen]], token_pairs: int) -> None:
    """Draw up to `token_pairs` token pairs by different speakers for every chosen type pair."""
    needs: dict[int, int] = {}
    for types in (each.types for chosen in sets.values() for each in chosen):
        for kind in types:
            needs[kind] = max(needs.get(kind, 1), token_pairs + (types[0] == types[1]))
    utterances = {name: number for number, name in enumerate(dict.fromkeys(token.utterance_id for token in pool.tokens))}
    utterance_of = np.array([utterances[token.utterance_id] for token in pool.tokens], dtype=np.int64)
    order = np.random.default_rng([pool.seed, 0]).permutation(len(pool.tokens))
    every = {each.types for chosen in sets.values() for each in chosen}
    rows = TokenChoice(pool.type_of, pool.speaker_of, utterance_of, order).choose(needs, every)
    for index, chosen in enumerate(sets.values()):
        rng = np.random.default_rng([pool.seed, 1, index, 1])
        for each in chosen:
            each.pairs = _token_pairs(pool, rows[each.types[0]], rows[each.types[1]], token_pairs, rng)


def _token_pairs(pool: Pool, of_a: Sequence[int], of_b: Sequence[int], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    apart = pool.speaker_of[of_a][:, None] != pool.speaker_of[of_b][None]
    rows, columns = np.nonzero(np.triu(apart) if of_a is of_b else apart)
    taken = rng.permutation(len(rows))[:count]
    return [(of_a[row], of_b[column]) for row, column in zip(rows[taken], columns[taken], strict=True)]


def same_speaker(pool: Pool, used: Sequence[int], maximum: int, tier_maximum: int) -> list[Chosen]:
    """Different words by one speaker, from the words in use; a type pair counts once."""
    rng = np.random.default_rng([pool.seed, 1, len(LEXICAL)])
    rows = np.array(used, dtype=np.int64)
    rows = rows[np.argsort(pool.speaker_of[rows], kind="stable")]
    voice = pool.speaker_of[rows]
    first = rng.integers(len(rows), size=40 * maximum) if len(rows) else np.zeros(0, np.int64)
    low, high = np.searchsorted(voice, voice[first], "left"), np.searchsorted(voice, voice[first], "right")
    second = low + np.floor(rng.random(len(first)) * (high - low)).astype(np.int64)
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for one, other in zip(rows[first].tolist(), rows[second].tolist(), strict=True):
        types, pair = ordered(pool, one, other)
        if types[0] != types[1]:
            pairs.setdefault(types, pair)
    kept = _within_quota(pool, pairs, maximum, tier_maximum)
    for each in kept:
        each.pairs = [pairs[each.types]]
    return kept


def ordered(pool: Pool, one: int, other: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Give types and tokens of a pair, the alphabetically first type first."""
    a, b = int(pool.type_of[one]), int(pool.type_of[other])
    return ((a, b), (one, other)) if a <= b else ((b, a), (other, one))


def _matched(
    pool: Pool, chosen: Sequence[Chosen], bins: tuple[dict[Bin, list[int]], dict[Bin, list[int]]], randoms: int, rng: np.random.Generator
) -> tuple[list[Chosen], int]:
    """Random pairs of a setting, and how many needed a neighbouring bin.

    One word of a chosen pair stays; the other gives way to another word with as many phones, as long, by another speaker than the one that
    stays, and like it in or out of training. None is a trained pair: random pairs of `trained` are new pairs between training types.
    """
    found: dict[tuple[int, int], Chosen] = {}
    widened = 0
    for each in chosen:
        for turn in range(randoms):
            pair = each.pairs[int(rng.integers(len(each.pairs)))]
            stays, leaves = pair if turn % 2 == 0 else pair[::-1]
            partner, near = _partner(pool, stays, leaves, bins, found, rng)
            if partner is None:
                continue
            widened += not near
            types, matched = ordered(pool, stays, partner)
            listed = found.setdefault(types, Chosen(types, (), []))
            listed.splits = tuple(dict.fromkeys((*listed.splits, *each.splits)))
            if matched not in listed.pairs:
                listed.pairs.append(matched)
    return list(found.values()), widened


def _partner(
    pool: Pool,
    stays: int,
    leaves: int,
    bins: tuple[dict[Bin, list[int]], dict[Bin, list[int]]],
    taken: dict[tuple[int, int], Chosen],
    rng: np.random.Generator,
) -> tuple[int | None, bool]:
    """Find a partner, and whether it is of the very bin; words in use first, so that little more must be encoded."""
    trains, phones, length = pool.bin_of[leaves]
    unwanted = {pool.type_of[stays], pool.type_of[leaves]}
    for more_phones, longer in NEARBY:
        wanted = (trains, phones + more_phones, length + longer)
        used, every = (side.get(wanted, []) for side in bins)
        diverse = len(used) >= DIVERSE and len({int(pool.type_of[row]) for row in used}) >= DIVERSE
        candidates = used if diverse else every
        second_best = None
        for _ in range(ATTEMPTS if candidates else 0):
            row = candidates[int(rng.integers(len(candidates)))]
            if pool.type_of[row] in unwanted or pool.speaker_of[row] == pool.speaker_of[stays]:
                continue
            types, _ = ordered(pool, stays, row)
            if pool.tier(*types) == "trained":
                continue
            if types not in taken:
                return row, (more_phones, longer) == (0, 0)
            second_best = row
        if second_best is not None:
            return second_best, (more_phones, longer) == (0, 0)
    return None, False


def packed(pool: Pool, sets: dict[str, list[Chosen]], randoms: dict[str, str], widened: dict[str, int]) -> Sample:
    """Put chosen pairs into arrays, keeping only the tokens that are paired."""
    used = _rows(sets)
    place = {row: number for number, row in enumerate(used)}
    arrays = {}
    for name, chosen in sets.items():
        rows = [(place[one], place[other], number) for number, each in enumerate(chosen) for one, other in each.pairs]
        first, second, group = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        types = np.array([each.types for each in chosen], dtype=np.int64).reshape(-1, 2)
        member = {split: np.array([split in each.splits for each in chosen], dtype=bool) for split in pool.splits}
        arrays[name] = PairSet(first, second, group, types, member)
    return Sample(tuple(pool.tokens[row] for row in used), pool.words, arrays, randoms, pool.splits, widened)


def _rows(sets: dict[str, list[Chosen]]) -> list[int]:
    return sorted({row for chosen in sets.values() for each in chosen for pair in each.pairs for row in pair})
