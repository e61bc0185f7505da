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
