"""Joined corpora: all utterances in order, one speaker of one name, doubles refused; the example configuration builds."""

from pathlib import Path

import pytest

from laminal import config, experiment
from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.corpora.joined import joined
from laminal.errors import RequestError


def _part(name, *ids, words=()):
    made = tuple(Utterance(i, Path(f"{i}.wav"), i.split("-")[0], words, (), "", 2.0) for i in ids)
    return Corpus(name, made, ((f"{name}.wav", "empty"),), {"licence": name})


def test_parts_become_one_corpus_in_the_order_of_ids():
    words = (Interval("tree", 0.5, 0.9),)
    whole = joined({"a": _part("a", "2-1", "1-3", words=words), "b": _part("b", "1-1", "3-1"), "none": None}, "both")
    assert [u.id for u in whole] == ["1-1", "1-3", "2-1", "3-1"] and whole.speakers == ("1", "2", "3") and whole.name == "both"
    assert [u.words for u in whole] == [(), words, words, ()]
    assert whole.skipped == (("a.wav", "empty"), ("b.wav", "empty")) and whole.facts == {"a": {"licence": "a"}, "b": {"licence": "b"}}
    assert whole.sha256 != joined({"a": _part("a", "2-1", "1-3"), "b": _part("b", "1-1", "3-1")}, "both").sha256


def test_what_is_there_twice_or_not_at_all_is_refused():
    with pytest.raises(RequestError, match=r"1 utterances are in more than one part of \['a', 'b'\], as 1-1; leave one part out"):
        joined({"a": _part("a", "1-1", "1-2"), "b": _part("b", "1-1")}, "both")
    with pytest.raises(RequestError, match="corpus.parts is empty"):
        joined({"a": None}, "both")


@pytest.mark.data
def test_the_example_holds_aligned_and_other_speech(librispeech_mini, librispeech_untranscribed):
    roots = [f"corpus.parts.aligned.root={librispeech_mini}", f"corpus.parts.audio.root={librispeech_untranscribed}"]
    made = experiment.corpus(experiment.resolved(config.load(["real_teachers"], roots)))
    assert len(made) == 332 and len(made.speakers) == 258 and sum(bool(u.words) for u in made) == 178
