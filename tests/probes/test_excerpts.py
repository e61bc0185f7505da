from dataclasses import replace
from pathlib import Path

import pytest

from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.corpora.split import Split
from laminal.errors import DataError
from laminal.probes.excerpts import excerpts
from oracle_codec import voices


def utterance(name, speaker, seconds, *words):
    return Utterance(name, Path(f"{name}.wav"), speaker, tuple(Interval(*word) for word in words), (), "", seconds)


def split(*test):
    nothing = frozenset()
    return Split(nothing, frozenset(test), nothing, nothing, nothing, nothing)


CORPUS = Corpus("c", (
    utterance("a1", "a", 5.0, ("yes", 1.0, 1.4), ("no", 1.5, 2.9), ("so", 3.1, 4.0)),
    utterance("a2", "a", 5.0), utterance("a3", "a", 5.0), utterance("b1", "b", 1.7), utterance("b2", "b", 4.0), utterance("c1", "c", 0.3),
))  # fmt: skip


def test_speakers_take_turns_and_the_order_is_the_corpus_order():
    assert [each.utterance.id for each in excerpts(CORPUS, None, 3, 2.0)] == ["a1", "a2", "b2"]
    assert [each.utterance.id for each in excerpts(CORPUS, None, 2, 2.0)] == ["a1", "b2"]


def test_short_ones_serve_where_long_ones_are_too_few_and_lengths_repeat():
    found = excerpts(CORPUS, None, 99, 2.0)
    assert [(each.utterance.id, each.seconds) for each in found] == [("a1", 2.0), ("a2", 2.0), ("a3", 2.0), ("b1", 1.5), ("b2", 2.0)]


def test_only_test_speakers():
    assert {each.utterance.speaker for each in excerpts(CORPUS, split("b"), 99, 2.0)} == {"b"}


def test_it_starts_before_the_first_word_and_ends_in_the_recording():
    assert excerpts(CORPUS, None, 1, 2.0)[0].start == pytest.approx(0.9)
    assert excerpts(CORPUS, None, 1, 4.5)[0].start == pytest.approx(0.5)


def test_words_wholly_inside_and_where_they_end():
    assert excerpts(CORPUS, None, 1, 2.0)[0].words == ("yes no", pytest.approx(2.0))  # the next begins at 3.1, the excerpt ends at 2.9
    text, stop = excerpts(CORPUS, None, 1, 2.5)[0].words
    assert text == "yes no" and stop == pytest.approx(2.1)  # 0.1 s after "no", before "so" begins
    assert excerpts(CORPUS, None, 1, 0.5)[0].words == ("yes", pytest.approx(0.5))
    assert excerpts(CORPUS, None, 2, 2.0)[1].words is None


def test_audio_has_its_length_and_a_cut_file_is_refused(tmp_path):
    corpus = voices(tmp_path, 1, 1)
    excerpt = excerpts(corpus, None, 1, 1.5)[0]
    assert len(excerpt.wav(corpus, 24000)) == 36000
    longer = replace(excerpt, seconds=4.0)
    with pytest.raises(DataError, match="are there"):
        longer.wav(corpus, 16000)
