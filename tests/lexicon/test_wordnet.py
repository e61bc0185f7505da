"""The shipped WordNet against NLTK's, and against facts that need neither."""

import random

import pytest

from laminal.errors import RequestError
from laminal.lexicon import base, pronounce, wordnet
from oracle_lexicon import Wordnet


def test_lemmas_by_hand() -> None:
    assert wordnet.lemmas("saw") == {("saw", "n"), ("saw", "v"), ("see", "v")}
    assert wordnet.lemmas("geese") == {("goose", "n")}
    assert wordnet.lemmas("biggest") == {("big", "a")}
    assert wordnet.lemmas("villefort") == frozenset()
    assert wordnet.same_lemma("saw", "seen") and wordnet.same_lemma("him", "him") and not wordnet.same_lemma("begin", "start")


def test_synonyms_by_hand() -> None:
    assert wordnet.synonyms("big", "large") and wordnet.synonyms("started", "begins")
    assert not wordnet.synonyms("accept", "except") and not wordnet.synonyms("villefort", "villefort")
    assert wordnet.synonyms_core("huge", "immense") and wordnet.synonyms_core("fifty", "l")
    assert wordnet.synonyms("was", "cost") and not wordnet.synonyms_core("was", "cost")
    assert "cost" in wordnet.listed_synonyms("was") and "was" not in wordnet.listed_synonyms("cost")


def test_words_without_content() -> None:
    assert all(wordnet.contentless(word) for word in ("the", "themselves", "taken", "makes", "been", "without"))
    assert not any(wordnet.contentless(word) for word in ("house", "begin", "villefort", "big"))


def test_unknown_synset_is_refused_with_the_rule() -> None:
    assert wordnet.members("dog.n.01") == ("dog", "domestic_dog", "Canis_familiaris") and wordnet.lexname("dog.n.01") == "noun.animal"
    with pytest.raises(RequestError, match=r"dog\.n\.99.*not in WordNet"):
        wordnet.members("dog.n.99")


def test_tables_agree_with_each_other() -> None:
    synsets = [row.split("\t") for row in base.rows("synsets")]
    assert len({name for name, _, _ in synsets}) == len(synsets) == 117_659
    reached: list[set[str]] = [set() for _ in synsets]
    for row in base.rows("senses"):
        lemma, _, numbers, counts = row.split("\t")
        assert len(numbers.split()) == len(counts.split())
        for number in numbers.split():
            reached[int(number)].add(lemma)
    assert all(found == {member.lower() for member in row[2].split()} for found, row in zip(reached, synsets, strict=True))
    examples = wordnet.examples()
    assert len(examples) == 48_339 and all(example.lemmas == wordnet.members(example.synset) for example in examples[::97])


def test_lemmas_equal_morphy(nltk_wordnet: Wordnet) -> None:
    exceptional = [row.split("\t")[1] for row in base.rows("exceptions")]
    endings = ("s", "es", "ed", "ing", "er", "est", "ses", "ves", "xes", "men", "ies")
    made = [lemma + ending for lemma in wordnet.vocabulary("v")[::50] + wordnet.vocabulary("a")[::100] for ending in endings]
    words = sorted(pronounce.words())[::6] + exceptional + made
    assert len(words) > 25_000
    wrong = [word for word in words if wordnet.lemmas(word) != nltk_wordnet.lemmas(word)]
    assert not wrong


def test_senses_equal_nltk(nltk_wordnet: Wordnet) -> None:
    nltk = nltk_wordnet.nltk
    words = [word for word in random.Random(0).sample(sorted(pronounce.words()), 1000) if wordnet.lemmas(word)]
    assert len(words) > 300
    for word in [*words, "big", "saw", "leaves", "set", "well"]:
        senses, expected = wordnet.senses(word), nltk.synsets(word)
        assert [nltk.synset(sense.synset) for sense in senses] == expected, word
        for sense, synset in zip(senses, expected, strict=True):
            assert wordnet.members(sense.synset) == tuple(synset.lemma_names()) and sense.lexname == synset.lexname()
            own = [lemma for lemma in synset.lemmas() if lemma.name().lower() == sense.lemma]
            assert sense.count == nltk.lemma_count(own[0])
            assert nltk.synsets(sense.lemma, sense.pos).index(synset) >= sense.rank
            assert wordnet.ranks(word)[wordnet._number(sense.synset)] <= sense.rank


def test_examples_equal_nltk(nltk_wordnet: Wordnet) -> None:
    ours: dict[str, list[str]] = {}
    for example in wordnet.examples():
        ours.setdefault(example.synset, []).append(example.text)
    for name in random.Random(1).sample(sorted(ours), 500):
        assert [" ".join(text.split()) for text in nltk_wordnet.nltk.synset(name).examples() if text.strip()] == ours[name]
