"""Distances against Choi et al.'s Table 1 and a plain dynamic programme; pair lists against double loops over NLTK and the dictionary."""

import json
import random
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from laminal.errors import RequestError
from laminal.lexicon import pairs, pronounce, wordnet
from laminal.lexicon.pairs import WordPair
from oracle_lexicon import Wordnet, distance, levenshtein

TABLE_1 = json.loads((Path(__file__).parents[1] / "fixtures" / "misc.json").read_text())["phonetic_distance"]["cases"]
TABLE_1_WORDS = [("oysters", "stirs"), ("dripping", "drilling"), ("mind", "mound"), ("bread", "braids"), ("accept", "except")]


def some_words(count: int, seed: int, of_wordnet: bool = False) -> list[str]:
    shuffled = random.Random(seed).sample(sorted(word for word in pronounce.words() if word.isalpha()), 20 * count)
    return [word for word in shuffled if not of_wordnet or wordnet.lemmas(word)][:count]


def slow(a: str, b: str) -> float:
    return distance(pronounce.pronunciations(a), pronounce.pronunciations(b))


@pytest.mark.parametrize("case,words", zip(TABLE_1, TABLE_1_WORDS, strict=True))
def test_table_1(case: tuple[str, str, float], words: tuple[str, str]) -> None:
    x, y, expected = case[0].split(), case[1].split(), case[2]
    assert levenshtein(x, y) / max(len(x), len(y)) == expected
    assert tuple(x) in pronounce.pronunciations(words[0]) and tuple(y) in pronounce.pronunciations(words[1])
    assert pairs.phone_distance(*words) == expected == pairs.phone_distance(words[1], words[0])


def test_distances_are_the_minimum_over_pronunciations() -> None:
    words, others = some_words(30, 0) + ["read", "either", "tomato"], some_words(20, 1) + ["red", "reed"]
    expected = np.array([[slow(a, b) for b in others] for a in words])
    assert np.array_equal(pairs.distances(words, others), expected)
    assert np.array_equal(pairs.distances(words)[:, ::-1].T[::-1], pairs.distances(words))  # symmetric
    several = [(a, b) for a in words for b in others]
    assert np.array_equal(pairs.pair_distances(several), expected.ravel())
    assert pairs.phone_distance("read", "red") == 0 and pairs.phone_distance("read", "reed") == 0
    assert pairs.phone_distance("read", "reed", first=True) == pytest.approx(1 / 3)


def test_near_homophones_are_those_of_the_double_loop(nltk_wordnet: Wordnet) -> None:
    words = [word for word in some_words(2500, 2, of_wordnet=True) if len(pronounce.pronunciations(word)[0]) <= 5][:350]
    words += ["read", "red", "saw", "see", "seen"]
    expected = []
    for a, b in combinations(sorted(words), 2):
        apart = slow(a, b)
        if 0 < apart <= 0.4 and not nltk_wordnet.same_lemma(a, b) and not nltk_wordnet.synsets(a) & nltk_wordnet.synsets(b):
            expected.append(WordPair(a, b, apart))
    found = pairs.near_homophones(words)
    assert list(found) == expected and len(found) > 100
    assert any(pair.distance == 0.4 for pair in found)  # inclusive


def test_near_homophones_leave_out_homophones_and_kin() -> None:
    words = ["read", "red", "reed", "mind", "minds", "mound", "grey", "gray", "center", "centre", "zap", "zapped"]
    found = {(pair.a, pair.b) for pair in pairs.near_homophones(words)}
    assert found == {("mind", "mound"), ("minds", "mound"), ("red", "reed")}  # read: the same sound; zap: its own lemma; grey: a synonym


def test_cutoff_is_exact_in_whole_edits() -> None:
    known = sorted(word for word in pronounce.words() if word.isalpha() and word.startswith(("con", "int")))
    ten = [word for word in known if {len(phones) for phones in pronounce.pronunciations(word)} == {10}][:160]
    edits = {pair: round(10 * slow(*pair)) for pair in combinations(ten, 2)}
    kin = {pair for pair in edits if wordnet.same_lemma(*pair) or wordnet.synonyms(*pair)}
    for cutoff in (0.3, 0.4, 0.7, 0.29, 0.699):
        expected = {pair for pair, whole in edits.items() if 0 < whole <= int(cutoff * 10 + 1e-9)}
        assert {(pair.a, pair.b) for pair in pairs.near_homophones(ten, cutoff)} == expected - kin and expected


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    words = some_words(800, 3)
    whole = pairs.near_homophones(words)
    monkeypatch.setattr(pairs, "_BLOCK", 500)
    assert pairs.near_homophones(reversed(words)) == whole and len(whole) > 20


def test_synonyms_are_those_of_the_double_loop(nltk_wordnet: Wordnet) -> None:
    extra = ("started", "begins", "begin", "sky", "tossing", "fifty", "l", "was", "cost", "take", "have", "in", "inch", "gray", "grey")
    seeds = [*some_words(60, 4, of_wordnet=True), *extra]
    kin = {member for word in seeds for member in sorted(wordnet.listed_synonyms(word))[:4]}
    words = sorted({word for word in [*seeds, *kin] if word.isalpha() and pronounce.pronunciations(word)})
    loose, core = [], []
    for a, b in combinations(words, 2):
        if nltk_wordnet.same_lemma(a, b) or nltk_wordnet.contentless(a) or nltk_wordnet.contentless(b) or slow(a, b) <= 0.4:
            continue
        if nltk_wordnet.synsets(a) & nltk_wordnet.synsets(b):
            loose.append(WordPair(a, b, slow(a, b)))
        if nltk_wordnet.core(a) & nltk_wordnet.core(b):
            core.append(WordPair(a, b, slow(a, b)))
    assert list(pairs.synonyms(words)) == loose and list(pairs.synonyms_core(words)) == core
    assert 20 < len(core) < len(loose)
    assert {("begin", "started"), ("sky", "tossing")} <= {(pair.a, pair.b) for pair in loose}


def test_synonyms_agree_with_the_relation() -> None:
    words = some_words(1500, 5, of_wordnet=True)
    assert all(wordnet.synonyms(pair.a, pair.b) for pair in pairs.synonyms(words))
    core = pairs.synonyms_core(words)
    assert set(core) <= set(pairs.synonyms(words)) and all(wordnet.synonyms_core(pair.a, pair.b) for pair in core)


def test_unknown_words_and_empty_lists() -> None:
    for function in (pairs.near_homophones, pairs.distances):
        with pytest.raises(RequestError, match=r"1 words not in the CMU dictionary \(xyzzyq\)"):
            function(["mind", "xyzzyq"])
    assert pairs.near_homophones([]) == pairs.synonyms([]) == pairs.synonyms_core(["mind"]) == ()
    assert pairs.distances([]).shape == (0, 0) and pairs.distances(["mind"], []).shape == (1, 0)


def test_hash_follows_the_pairs_and_not_their_order() -> None:
    found = pairs.near_homophones(["mind", "mound", "bread", "braids", "breads"])
    assert pairs.pair_hash(found) == pairs.pair_hash(reversed(found))
    assert len({pairs.pair_hash(part) for part in (found, found[1:], ())}) == 3
    assert pairs.pair_hash(found) != pairs.pair_hash([WordPair(p.a, p.b, p.distance + 0.1) for p in found])


@pytest.mark.data
def test_pair_counts_of_librispeech_mini(librispeech_mini: Path) -> None:
    """Near-homophones as counted independently; 1,178 loose and 231 core synonyms were counted with other lists of function words."""
    speakers: dict[str, set[str]] = {}
    for path in librispeech_mini.glob("alignments/*/*/*.TextGrid"):
        words_tier = path.read_text().split("item [2]")[0]
        for start, end, word in re.findall(r'xmin = ([\d.]+)\s+xmax = ([\d.]+)\s+text = "([^"]+)"', words_tier):
            if word.isalpha() and pronounce.pronunciations(word) and 0.1 <= float(end) - float(start) <= 1.5:
                speakers.setdefault(word, set()).add(path.parts[-3])

    def crossing(found: tuple[WordPair, ...]) -> int:
        return sum(len(speakers[pair.a] | speakers[pair.b]) > 1 for pair in found)

    assert len(speakers) == 1564
    assert crossing(pairs.near_homophones(speakers)) == 2463
    assert crossing(pairs.synonyms(speakers)) == pytest.approx(1178, rel=0.03)
    assert crossing(pairs.synonyms_core(speakers)) == pytest.approx(231, rel=0.03)
