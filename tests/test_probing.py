"""Whom a checkpoint is tested on, and where the results go."""

from pathlib import Path

import numpy as np
import pytest

from laminal import commands, probing
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import make_split
from laminal.errors import RequestError
from laminal.results import Context, Results, Score, store
from oracle_pairs import noise_corpus


def of(*speakers: str) -> Corpus:
    return Corpus("other", tuple(Utterance(f"u{s}", Path(f"{s}.wav"), s, (), (), "", 1.0) for s in speakers))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(noise_corpus(tmp_path_factory.mktemp("corpus"), 10), 0)


def test_nobody_whom_training_heard_is_tested_on_another_corpus(split):
    heard, unheard = sorted(split.train_speakers)[:3], sorted(split.test_speakers)[:1]
    found = probing.tested(split, of(*heard, *unheard, "stranger"))
    assert found.test_speakers == {*unheard, "stranger"} and found.train_speakers == split.train_speakers
    assert found.held_types == split.held_types
    with pytest.raises(RequestError, match="all 3 speakers"):
        probing.tested(split, of(*heard))


def test_the_corpus_of_the_run_is_tested_as_in_the_run(split):
    assert probing.tested(split, of(*split.train_speakers, *split.test_speakers)) is split


def test_a_split_that_leaks_is_not_probed_with(split):
    from dataclasses import replace

    leaking = replace(split, test_speakers=split.train_speakers)
    with pytest.raises(RequestError, match="split leak: speakers"):
        probing.tested(leaking, of(*split.train_speakers))


def test_a_renamed_run_keeps_the_name_of_its_rows(tmp_path):
    assert probing.run_name(tmp_path) == tmp_path.name
    score = Score(probe="p", metric="m", value=1.0, low=0.0, high=2.0, n=3, clusters=2, chance=np.nan, higher_is_better=None, unit="")
    store(tmp_path, Results(Context(run="first", codec="laminal", revision="1"), [score]))
    assert probing.run_name(tmp_path) == "first"


@pytest.mark.parametrize(
    ("configs", "rest", "name"),
    [
        ((), [], ""),
        ((), ["corpus=librispeech", "corpus.root=/data"], ""),
        ((), ["probes.units.utterances=2", "probes.units.draws=1000"], "units.draws=1000-units.utterances=2"),
        (("configs/probe.yaml",), ["probes.units.utterances=2"], "probe"),
    ],
)
def test_a_probing_of_other_sizes_does_not_go_over_the_runs_own(configs, rest, name):
    assert commands.other_sizes(configs, rest) == name


def test_only_scores_of_one_size_and_version_are_held_against_each_other(tmp_path):
    def score(**own):
        given = dict(probe="p", metric="m", value=1.0, low=0.5, high=2.0, n=3, clusters=2, chance=np.nan, higher_is_better=None, unit="")
        return Score(**given | own)

    context = Context(run="first", codec="laminal", revision="1")
    before = [score(metric=name) for name in "abcd"] + [score(metric="e", low=np.nan, high=np.nan)]
    store(tmp_path, Results(context, before))
    found = [
        score(metric="a"),
        score(metric="b", value=1.25),
        score(metric="c", n=4, value=9.0),
        score(metric="d", probe_version=2, high=9.0),
    ]
    found.append(score(metric="e", low=np.nan, high=np.nan))
    difference = probing.stored_difference(tmp_path, Results(context, found))
    assert difference == probing.Difference(3, 0.25, 2)
    assert str(difference).startswith("3 scores of this checkpoint were stored before; largest difference to them: 0.25; 2 scores")
    assert str(probing.Difference(0, 0.0, 2)).startswith("2 scores were stored before with another n")
    lost = probing.stored_difference(tmp_path, Results(context, [score(metric="a", low=np.nan)]))
    assert lost == probing.Difference(1, np.inf, 0)  # an interval that is gone is no small difference
    assert probing.stored_difference(tmp_path, Results(context, [score(metric="z")])) is None
