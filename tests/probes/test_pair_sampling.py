"""Pairs of every setting obey their definitions one by one, random pairs are matched, tiers never mix, and the draw is a pure function."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from laminal.corpora.base import Corpus
from laminal.corpora.split import make_split
from laminal.lexicon import pairs as lexicon_pairs
from laminal.lexicon import pronounce, wordnet
from laminal.probes.choi_sampling import choi_pairs
from laminal.probes.pair_sampling import SETTINGS, TIERS, sample_pairs
from laminal.words import tokens
from oracle_pairs import noise_corpus

SIZES = {"maximum": 300, "tier_maximum": 300, "token_pairs": 3, "randoms": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=8, utterances=3)


@pytest.fixture(scope="module")
def split(corpus):
    return make_split(corpus, seed=0, speakers=0.5)


@pytest.fixture(scope="module", params=["plain", "split"])
def sample(request, corpus, split):
    return sample_pairs(corpus, split if request.param == "split" else None, 0, **SIZES)


def listed(sample, name):
    """Token pairs with the numbers of their type pair."""
    pairs = sample.sets[name]
    return [(sample.tokens[a], sample.tokens[b], g) for a, b, g in zip(pairs.first, pairs.second, pairs.group, strict=True)]


def test_every_pair_is_what_its_setting_says(sample):
    for name in sample.sets:
        found = listed(sample, name)
        assert found, name
        for a, b, _ in found:
            assert (a.speaker == b.speaker) == (name == "same_speaker")
            assert (a.word == b.word) == (name == "same_word")
            near = lexicon_pairs.phone_distance(a.word, b.word)
            alike, lemma = wordnet.synonyms(a.word, b.word), wordnet.same_lemma(a.word, b.word)
            if name == "near_homophone":
                assert 0 < near <= 0.4 and not alike and not lemma
            if name.startswith("synonym"):
                assert near > 0.4 and alike and not lemma and not wordnet.contentless(a.word) and not wordnet.contentless(b.word)
            if name == "synonym_core":
                assert wordnet.synonyms_core(a.word, b.word)


def test_groups_are_unordered_type_pairs(sample):
    for name, pairs in sample.sets.items():
        assert len({tuple(sorted(types)) for types in pairs.types.tolist()}) == len(pairs.types)
        for a, b, group in listed(sample, name):
            assert [a.word, b.word] == [sample.words[number] for number in pairs.types[group]] and a.word <= b.word
        assert len(set(zip(pairs.first, pairs.second, strict=True))) == len(pairs.first)
        assert set(pairs.group) == set(range(len(pairs.types)))


def test_nothing_is_missed_where_there_is_room(corpus):
    sample = sample_pairs(corpus, None, 0, **SIZES)
    words = {token.word for token in tokens(corpus)}
    said = {word: {token.speaker for token in tokens(corpus) if token.word == word} for word in words}
    for name, whole in (
        ("near_homophone", lexicon_pairs.near_homophones(words)),
        ("synonym", lexicon_pairs.synonyms(words)),
        ("synonym_core", lexicon_pairs.synonyms_core(words)),
    ):
        found = {(sample.words[a], sample.words[b]) for a, b in sample.sets[name].types}
        assert found == {(pair.a, pair.b) for pair in whole if len(said[pair.a] | said[pair.b]) > 1}


def test_tokens_are_of_speakers_unseen_in_training(corpus, split):
    sample = sample_pairs(corpus, split, 0, **SIZES)
    assert {token.speaker for token in sample.tokens} == split.test_speakers
    assert {token.speaker for token in sample_pairs(corpus, None, 0, **SIZES).tokens} == set(corpus.speakers)
    assert set(sample.tokens) <= set(tokens(corpus)) and len(set(sample.tokens)) == len(sample.tokens)


def test_tiers_are_the_splits(corpus, split):
    sample = sample_pairs(corpus, split, 0, **SIZES)
    assert sample.splits == ("all", *TIERS)
    for setting in SETTINGS:
        pairs = sample.sets[setting]
        for group, (a, b) in enumerate(pairs.types):
            tier = split.tier(sample.words[a], sample.words[b])
            inside = [name for name in TIERS if pairs.member[name][group]]
            assert inside in ([tier], []) and (inside or pairs.member["all"][group])
    seen = Counter(split.tier(*(sample.words[n] for n in types)) for types in sample.sets["near_homophone"].types)
    assert min(seen[tier] for tier in TIERS) > 0


def bins(token):
    length = math.floor(math.log((token.end - token.start) / 0.1 + 1e-9) / math.log(1.25))
    return len(pronounce.pronunciations(token.word)[0]), length


def test_random_pairs_are_matched_but_where_it_says_not(corpus, split):
    for chosen in (None, split):
        sample = sample_pairs(corpus, chosen, 0, **SIZES)
        for setting in SETTINGS:
            for name in sample.splits:
                pairs, random = sample.sets[setting], sample.sets[f"random_for_{setting}"]
                sides = Counter()
                for a, b, group in listed(sample, setting):
                    if pairs.member[name][group]:
                        sides |= Counter([frozenset((bins(a), bins(b)))])
                drawn = [(a, b) for a, b, group in listed(sample, f"random_for_{setting}") if random.member[name][group]]
                off = sum(frozenset((bins(a), bins(b))) not in sides for a, b in drawn)
                assert off <= sample.widened[setting]


def test_random_pairs_stay_on_their_side_of_the_split_and_are_never_trained(corpus, split):
    sample = sample_pairs(corpus, split, 0, **SIZES)
    sides = {"trained": {2}, "new_pair": {2}, "cross": {1}, "new_word": {0}}
    for setting in SETTINGS:
        random = sample.sets[f"random_for_{setting}"]
        for group, types in enumerate(random.types):
            a, b = (sample.words[number] for number in types)
            assert split.tier(a, b) != "trained"
            for tier, trained in sides.items():
                if random.member[tier][group]:
                    assert {split.trains(a) + split.trains(b)} == trained


def test_every_type_pair_brings_its_random_pairs(sample):
    for setting in SETTINGS:
        random = sample.sets[f"random_for_{setting}"]
        wanted = SIZES["randoms"] * len(sample.sets[setting].types)
        assert 0.8 * wanted <= len(random.first) <= wanted


def test_no_more_than_the_maximum_and_one_order_for_all_splits(corpus, split):
    few = sample_pairs(corpus, split, 0, maximum=10, tier_maximum=10, token_pairs=1, randoms=1)
    many = sample_pairs(corpus, split, 0, **SIZES)
    for setting in SETTINGS:
        pairs = few.sets[setting]
        for name in few.splits:
            most = min(10, many.sets[setting].member[name].sum())  # the pairs of one speaker are drawn, not listed: fewer may be found
            assert pairs.member[name].sum() == most or (setting == "same_speaker" and pairs.member[name].sum() <= 10)
        tiers = np.logical_or.reduce([pairs.member[tier] for tier in TIERS])
        assert tiers.all()  # what counts for all counts for its tier: nothing is encoded for all alone


def test_the_draw_is_a_pure_function(corpus, split):
    once, again = (sample_pairs(corpus, split, 3, **SIZES) for _ in range(2))
    other = sample_pairs(corpus, split, 4, **SIZES)
    assert once.tokens == again.tokens and once.widened == again.widened
    for name in once.sets:
        np.testing.assert_array_equal(once.sets[name].first, again.sets[name].first)
        np.testing.assert_array_equal(once.sets[name].second, again.sets[name].second)
    one, two = ([(sample.tokens[a], sample.tokens[b]) for a, b in zip(s.first, s.second, strict=True)]
                for sample in (once, other) for s in [sample.sets["near_homophone"]])  # fmt: skip
    assert one != two


def test_little_must_be_encoded(tmp_path):
    corpus = noise_corpus(tmp_path, speakers=8, utterances=12)
    sample = sample_pairs(corpus, None, 0, **(SIZES | {"token_pairs": 1}))
    assert len(sample.tokens) < 0.2 * len(tokens(corpus))


def test_words_in_use_come_first_where_the_relation_allows_it(corpus):
    few = sample_pairs(corpus, None, 0, **(SIZES | {"maximum": 12}))
    synonyms = {kind for name in ("synonym", "synonym_core") for kind in few.sets[name].types.ravel().tolist()}
    every = sample_pairs(corpus, None, 0, **SIZES).sets["near_homophone"].types
    known = [sum(kind in synonyms for kind in types) for types in few.sets["near_homophone"].types.tolist()]
    best = sorted((sum(kind in synonyms for kind in types) for types in every.tolist()), reverse=True)[:12]
    assert sorted(known, reverse=True) == best
    assert {few.words[kind] for kind in few.sets["same_word"].types.ravel()} <= {few.words[kind] for kind in synonyms} | {
        few.words[kind] for kind in few.sets["near_homophone"].types.ravel()
    }


def test_no_words_no_pairs(corpus):
    silent = Corpus("silent", tuple(replace(utterance, words=()) for utterance in corpus))
    sample = sample_pairs(silent, None, 0, **SIZES)
    assert sample.tokens == () and all(len(pairs.first) == 0 for pairs in sample.sets.values())
    alone = Corpus("alone", tuple(utterance for utterance in corpus if utterance.speaker == "s0"))
    sample = sample_pairs(alone, None, 0, **SIZES)
    assert [name for name, pairs in sample.sets.items() if len(pairs.first)] == ["same_speaker"]


def test_published_sampling(corpus):
    sample = choi_pairs(corpus, seed=1, maximum=300)
    assert set(sample.sets) == {"same_word", "near_homophone", "synonym", "same_speaker", "random"} and sample.splits == ("all",)
    assert set(sample.randoms.values()) == {"random"}
    words = {token.word for token in tokens(corpus)}
    for a in words:
        for b in words:
            if a < b:
                near = 0 < lexicon_pairs.phone_distance(a, b, first=True) <= 0.4
                alike, lemma = wordnet.synonyms(a, b), wordnet.same_lemma(a, b)
                types = {(sample.words[x], sample.words[y]) for x, y in sample.sets["near_homophone"].types}
                assert ((a, b) in types) == (near and not alike and not lemma)
    for a, b, _ in listed(sample, "synonym"):
        assert b.word in wordnet.listed_synonyms(a.word) or a.word in wordnet.listed_synonyms(b.word)
    for a, b, _ in listed(sample, "random"):
        assert a.word != b.word and a.speaker != b.speaker


@pytest.mark.data
def test_counts_on_real_speech(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    corpus = librispeech(librispeech_mini)
    sample = sample_pairs(corpus, None, 0, maximum=10_000, tier_maximum=0, token_pairs=2, randoms=1)
    found = {name: len(sample.sets[name].types) for name in SETTINGS}
    words = {token.word for token in tokens(corpus)}
    assert abs(len(lexicon_pairs.near_homophones(words)) / 2463 - 1) < 0.05
    assert abs(found["synonym"] / 1178 - 1) < 0.05 and abs(found["synonym_core"] / 231 - 1) < 0.05
    assert found["same_word"] > 400 and found["same_speaker"] > 5000
    assert max(sample.widened.values()) < 0.05 * 10_000
