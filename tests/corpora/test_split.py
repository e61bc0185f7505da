"""The generalisation split: whole components, honest tiers, no leak."""

import dataclasses
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import oracle_crops as oracle
from laminal.corpora import split as module
from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.corpora.librispeech import librispeech
from laminal.corpora.split import Split, make_split
from laminal.errors import RequestError
from laminal.lexicon import pairs, wordnet


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return oracle.noise_corpus(tmp_path_factory.mktemp("noise"), speakers=12, each=6)


@pytest.fixture(scope="module")
def large() -> Corpus:
    """Every word of 3,000 example sentences of WordNet, by 60 speakers; no audio."""
    rng = np.random.default_rng(1)
    utterances = []
    for number, example in enumerate(wordnet.examples()[::16]):
        words = [word for word in example.text.lower().split() if word.isalpha()]
        said = tuple(Interval(word, 0.4 * at, 0.4 * at + 0.35) for at, word in enumerate(words))
        utterances.append(Utterance(f"{number:05d}", Path("none"), f"s{rng.integers(60):02d}", said, (), "", 0.4 * len(words) + 0.1))
    return Corpus("large", tuple(utterances))


@pytest.mark.parametrize("seed", range(5))
def test_tiers_follow_from_who_says_what(corpus, seed):
    split = make_split(corpus, seed, speakers=0.3)
    trained = oracle.heard(corpus, split.train_speakers)
    everyone = oracle.heard(corpus, corpus.speakers)
    core = {(p.a, p.b) for p in pairs.synonyms_core(everyone)}
    near = {(p.a, p.b) for p in pairs.near_homophones(everyone)}
    for a, b in combinations(sorted(everyone), 2):
        known = [word in trained and word not in split.held_types for word in (a, b)]
        used = (a, b) in split.positives | split.hard_negatives
        expected = "new_word" if not any(known) else "cross" if not all(known) else "trained" if used else "new_pair"
        assert split.tier(a, b) == split.tier(b, a) == expected
        usable = (a, b) in near or ((a, b) in core and len(trained.get(a, set()) | trained.get(b, set())) > 1)
        assert (used or (a, b) in split.held_pairs) == (all(known) and usable), (a, b)
        assert not (used and (a, b) in split.held_pairs)
    for word in everyone:
        assert split.tier(word, word) == ("trained" if split.trains(word) else "new_word")
    assert split.tier("zeppelin", "zebra") == "new_word", "words of another corpus were in no loss"


@pytest.mark.parametrize("seed", range(5))
def test_components_are_held_whole(corpus, seed):
    split = make_split(corpus, seed)
    core = [(p.a, p.b) for p in pairs.synonyms_core(oracle.heard(corpus, corpus.speakers))]
    groups = oracle.components(core)
    assert len(groups) > 5
    assert all(group <= split.held_types or not group & split.held_types for group in groups)
    assert split.core == frozenset(core)


def test_fractions_hold_in_words_pairs_and_frequency(large):
    split = make_split(large, 3)
    counts = Counter(word.label for utterance in large for word in utterance.words if oracle.counts_as_token(word))
    assert len(counts) > 3000
    assert len(split.held_types) / len(counts) == pytest.approx(0.3, abs=0.01)
    held_core = [pair for pair in split.core if split.held_types.issuperset(pair)]
    assert len(held_core) / len(split.core) == pytest.approx(0.3, abs=0.01)
    alone = sorted(set(counts) - {word for pair in split.core for word in pair}, key=lambda word: (counts[word], word))
    for part in np.array_split(np.array(alone), 5):  # rare to frequent
        assert np.isin(part, list(split.held_types)).mean() == pytest.approx(0.3, abs=0.03)
    for held, used in ((split.held_pairs & split.core, split.positives), (split.held_pairs - split.core, split.hard_negatives)):
        assert len(held) / (len(held) + len(used)) == pytest.approx(0.2, abs=0.01)
    assert len(split.test_speakers) == 12 and len(split.train_speakers) == 48


def test_every_component_can_be_held(large):
    held = [make_split(large, seed).held_types for seed in range(6)]
    words = {word for pair in make_split(large, 0).core for word in pair}
    share = np.mean([len(words & one) / len(words) for one in held])
    assert share == pytest.approx(0.3, abs=0.01)
    assert len(set.union(*(set(one & words) for one in held))) > 0.8 * len(words), "the seed must move the draw"


def test_equal_seeds_give_equal_splits_and_others_do_not(corpus):
    again = Corpus("noise", tuple(reversed(corpus.utterances)))
    assert make_split(corpus, 0).sha256() == make_split(again, 0).sha256()
    assert len({make_split(corpus, seed).sha256() for seed in range(4)}) == 4


def test_json_keeps_everything(corpus):
    split = make_split(corpus, 0)
    assert Split.from_json(split.to_json()) == split
    bare = dataclasses.replace(split, train_types=None)
    assert Split.from_json(bare.to_json()) == bare != split
    assert bare.tier("zeppelin", "zebra") == "new_pair"


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"train_speakers": []}', "{not json"])
def test_what_is_no_split_is_refused(text):
    with pytest.raises(RequestError, match="not a split"):
        Split.from_json(text)


def test_a_split_with_a_number_for_a_list_is_refused(corpus):
    content = json.loads(make_split(corpus, 0).to_json())
    with pytest.raises(RequestError, match="not a split"):
        Split.from_json(json.dumps(content | {"positives": 3}))


def planted(split: Split, leak: str) -> tuple[Split, str]:
    """Damage `split`; give it with a word that the error must name."""
    held = sorted(split.held_types)[0]
    speaker = sorted(split.train_speakers)[0]
    pair = sorted(split.positives)[0]
    hard = sorted(split.hard_negatives)[0]
    new = tuple(sorted((held, pair[0])))
    core = sorted(split.core)[0]
    changes: dict[str, tuple[dict, str]] = {
        "speaker": ({"test_speakers": split.test_speakers | {speaker}}, speaker),
        "trained word": ({"train_types": split.train_types | {held}}, held),
        "positive with held word": ({"positives": split.positives | {new}}, "/".join(new)),
        "hard negative with held word": ({"hard_negatives": split.hard_negatives | {new}}, "/".join(new)),
        "held pair with held word": ({"held_pairs": split.held_pairs | {new}}, "/".join(new)),
        "positive among held": ({"held_pairs": split.held_pairs | {pair}}, "/".join(pair)),
        "hard negative among held": ({"held_pairs": split.held_pairs | {hard}}, "/".join(hard)),
        "both kinds": ({"hard_negatives": split.hard_negatives | {pair}}, "/".join(pair)),
        "straddling": ({"held_types": split.held_types ^ {core[0]}, "train_types": None, "positives": frozenset()}, "/".join(core)),
        "untrained word": ({"positives": split.positives | {("aaa", "zzz")}}, "aaa/zzz"),
        "order": ({"hard_negatives": split.hard_negatives | {hard[::-1]}}, "/".join(hard[::-1])),
    }
    change, word = changes[leak]
    return dataclasses.replace(split, **change), word


@pytest.mark.parametrize(
    "leak",
    [
        "speaker",
        "trained word",
        "positive with held word",
        "hard negative with held word",
        "held pair with held word",
        "positive among held",
        "hard negative among held",
        "both kinds",
        "straddling",
        "untrained word",
        "order",
    ],
)
def test_a_planted_leak_is_named(corpus, leak):
    bad, word = planted(make_split(corpus, 0), leak)
    with pytest.raises(RequestError, match="split leak") as caught:
        bad.check()
    assert word in str(caught.value)


def test_bridges_are_the_edges_whose_loss_parts_their_ends():
    rng = np.random.default_rng(0)
    for size in (3, 6, 9, 12):
        for _ in range(20):
            words = [chr(97 + i) for i in range(8)]
            edges = sorted({tuple(sorted(rng.choice(words, 2, replace=False).tolist())) for _ in range(size)})
            expected = {edge for edge in edges if not oracle.joined(*edge, [other for other in edges if other != edge])}
            assert module._bridges(edges) == expected


def test_held_synonyms_are_bridged_only_where_there_is_no_other():
    triangle = [("a", "b"), ("a", "c"), ("b", "c")]
    lone = [(f"{x}1", f"{x}2") for x in "defgh"]
    rng = np.random.default_rng(0)
    assert all(module._held_synonyms(sorted(triangle + lone), 0.5, rng).isdisjoint(triangle) for _ in range(10))
    held = module._held_synonyms(triangle, 0.4, rng)
    assert len(held) == 1
    none = frozenset()
    split = Split(none, none, none, frozenset(triangle) - held, none, held, None, frozenset(triangle))
    assert split.bridged() == held
    assert dataclasses.replace(split, positives=frozenset(triangle[:1]) - held).bridged() == none


def test_bridged_agrees_with_the_oracle():
    rng = np.random.default_rng(0)
    none: frozenset = frozenset()
    for _ in range(20):
        edges = sorted({tuple(sorted(rng.choice(list("abcdefghijkl"), 2, replace=False).tolist())) for _ in range(14)})
        held = frozenset(edges[index] for index in rng.permutation(len(edges))[:5])
        positives = frozenset(edges) - held
        split = Split(none, none, none, positives, none, held | {("a", "z")}, None, frozenset(edges))
        assert split.bridged() == {pair for pair in held if oracle.joined(*pair, positives)}


def test_no_held_pair_of_a_large_corpus_needs_to_be_bridged(large):
    assert not make_split(large, 0).bridged()


@pytest.mark.parametrize("given", [{"speakers": 1.0}, {"types": -0.1}, {"pairs": 2.0}])
def test_wrong_fractions_are_refused(corpus, given):
    with pytest.raises(RequestError, match=f"split.{next(iter(given))}"):
        make_split(corpus, 0, **given)


def test_too_few_speakers_are_refused_unless_none_is_held_out(corpus):
    two = corpus.subset(frozenset({"s00", "s01"}))
    with pytest.raises(RequestError, match="2 speakers"):
        make_split(two, 0)
    split = make_split(two, 0, speakers=0.0, types=0.0, pairs=0.0)
    assert not split.test_speakers and not split.held_types and not split.held_pairs and split.train_types


@pytest.mark.data
def test_librispeech_mini_splits_as_the_plan_says(librispeech_mini):
    corpus = librispeech(librispeech_mini)
    split = make_split(corpus, 0)
    groups = oracle.components(split.core)
    assert 100 <= len(groups) <= 135 and 200 <= len(split.core) <= 260
    assert all(group <= split.held_types or not group & split.held_types for group in groups)
    assert 70 <= len(split.positives) <= 130 and len(split.hard_negatives) > 400


@pytest.mark.parametrize("seed", range(3))
def test_two_folds_hold_out_each_others_words_and_speakers(corpus, large, seed):
    for given in (corpus, large):
        first, second = (make_split(given, seed, fold=fold) for fold in (0, 1))
        assert first.test_speakers == second.train_speakers and second.test_speakers == first.train_speakers
        words = {word.label for each in given for word in each.words if module.is_token(word)}
        assert first.held_types | second.held_types == words and not first.held_types & second.held_types
        assert first.core == second.core
        for a, b in first.core:  # every core pair is new to one fold and of words that the other may train on
            assert (a in first.held_types) == (b in first.held_types)
    assert abs(len(first.held_types) - len(second.held_types)) < 0.1 * len(words)
    with pytest.raises(RequestError, match=r"split\.fold=2: 0 or 1"):
        make_split(corpus, seed, fold=2)
