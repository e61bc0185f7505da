"""Transcription of planted codecs: phones alone are read, the speaker alone is chance; what the corpus lacks is said."""

import dataclasses

import numpy as np
import pytest
import torch

from laminal import config, experiment
from laminal.codecs.planted import Planted
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.probes.transcription import Transcription, symbols_of
from laminal.results import Context, Items, Results, Score, Undefined
from oracle_pairs import FakeCodec, noise_corpus

SETTINGS = {
    "utterances": 24, "target": "phones", "codebooks": [1], "modes": ["single", "cumulative"], "folds": 2, "tested": 1, "width": 40,
    "steps": 90, "teacher": None, "draws": 200, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=6, utterances=4)


def probe(corpus, split=None, **settings):
    return Transcription(corpus, split, **(SETTINGS | settings))


def table(found):
    return {(each.setting, each.metric, each.layer, each.layer_mode): each for each in found if isinstance(each, Score)}


@pytest.fixture(scope="module")
def planted(corpus):
    shared = probe(corpus)
    return {kind: list(shared.run(Planted(kind, corpus))) for kind in ("phones", "speaker")}


def test_phones_are_read_and_speakers_are_not(planted):
    phones, speaker = (table(planted[kind]) for kind in ("phones", "speaker"))
    key = ("", "per", "1", "cumulative")
    assert phones[key].value < 0.35 and phones[key].high < phones[key].chance - 0.4
    assert speaker[key].value > 0.9 and abs(speaker[key].value - speaker[key].chance) < 0.03
    floor = phones["log_mel", "per", "", ""]
    assert abs(floor.value - floor.chance) < 0.05  # the audio is noise
    assert floor == speaker["log_mel", "per", "", ""]  # the floor is no matter of the codec


def test_every_score_says_what_it_is(planted):
    found = table(planted["phones"])
    assert set(found) == {
        ("", "per", "latent", "cumulative"), ("", "per", "1", "single"), ("", "per", "1", "cumulative"), ("log_mel", "per", "", "")
    }  # fmt: skip
    for score in found.values():
        assert score.low <= score.value <= score.high and score.n == 12 and score.clusters == 3 and score.higher_is_better is False
    alone, first = found["", "per", "1", "single"], found["", "per", "1", "cumulative"]
    assert dataclasses.replace(alone, layer_mode="cumulative") == first  # measured once


def test_values_are_those_of_the_items(planted):
    found = table(planted["phones"])
    items = [each for each in planted["phones"] if isinstance(each, Items)]
    assert len(items) == 3 and not any(each.setting for each in items)
    for each in items:
        score = found["", each.metric, each.layer, each.layer_mode]
        assert np.average(each.value, weights=each.weight) == pytest.approx(score.value, abs=1e-12)
        assert len(set(each.cluster)) == 3 and len(each.a) == 12
    results = Results(Context(run="r", codec="c", revision="1"))
    results.scores += list(found.values())
    assert len(results.score_table()) == len(found)


def test_again_is_the_same_and_no_generator_moves(corpus):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    small = {"steps": 3, "width": 8, "modes": ["cumulative"]}
    runs = [table(probe(corpus, **small).run(Planted("phones", corpus))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before


def test_characters_and_words(corpus):
    found = table(probe(corpus, target="characters", steps=2, width=8, modes=["cumulative"], folds=3, tested=3).run(FakeCodec()))
    assert {key[1] for key in found} == {"cer", "wer"}
    assert found["", "cer", "1", "cumulative"].n == 24 and found["", "cer", "1", "cumulative"].clusters == 6  # all folds are tested
    utterance = dataclasses.replace(corpus[0], text="  Don’t -- STOP, at 5! ")
    assert "".join(symbols_of(utterance, "characters")) == "don't stop at"


def test_only_speakers_that_the_tokenizer_has_not_heard(corpus):
    none = frozenset()
    split = Split(frozenset({"s0", "s1", "s2"}), frozenset({"s3", "s4", "s5"}), none, none, none, none)
    assert probe(corpus, split).corpus.speakers == ("s3", "s4", "s5")


def test_what_the_corpus_lacks_is_said(corpus):
    silent = Corpus("silent", tuple(dataclasses.replace(each, text="", phones=()) for each in corpus))
    with pytest.raises(RequestError, match="corpus silent has no transcripts.*leave transcription out"):
        probe(silent, target="characters")
    with pytest.raises(RequestError, match="no aligned phones"):
        probe(silent)
    for wrong in ({"target": "words"}, {"modes": ["alone"]}, {"modes": []}, {"tested": 3}, {"width": 1}, {"steps": 0}):
        with pytest.raises(RequestError):
            probe(corpus, **wrong)
    (only,) = probe(corpus.subset(frozenset({"s0"})), folds=2).run(FakeCodec())
    assert isinstance(only, Undefined) and "1 unheard speakers" in only.reason
    with pytest.raises(RequestError, match="fake has 3"):
        list(probe(corpus, codebooks=[7]).run(FakeCodec()))


def test_bad_audio_is_left_out_and_said(corpus, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing")
    spoilt = Corpus("spoilt", (dataclasses.replace(corpus[0], path=bad), *corpus.utterances[1:]))
    found = list(probe(spoilt, steps=1, width=8, modes=["cumulative"]).run(FakeCodec()))
    said = [each.what for each in found if isinstance(each, Undefined)]
    assert said == [f"utterance {corpus[0].id}"] * 2  # by the codec, and by log-mel


def test_the_twin_builds_it(corpus):
    made = experiment.probes({"transcription": config.twin("probes", "transcription")}, corpus, None)["transcription"]
    assert isinstance(made, Transcription) and made.teacher.width == 192


def test_no_network_is_tested_on_a_sentence_that_it_has_learnt(corpus, monkeypatch):
    """Where one sentence is everybody's it is left out of what networks learn from; where all are, nothing is measured."""
    from laminal.probes import transcription

    learnt = []
    small = {"target": "characters", "steps": 1, "width": 8, "modes": ["cumulative"], "tested": 2}
    plain = transcription.train
    monkeypatch.setattr(transcription, "train", lambda items, *rest: learnt.append(len(items)) or plain(items, *rest))
    list(probe(corpus, **small).run(FakeCodec()))
    assert set(learnt) == {12}
    shared = tuple(dataclasses.replace(each, text="One  for ALL!" if each.id.endswith("0") else each.text) for each in corpus)
    learnt.clear()
    found = table(probe(Corpus("shared", shared), **small).run(FakeCodec()))
    assert set(learnt) == {9} and found["", "cer", "1", "cumulative"].n == 24  # tested all the same
    learnt.clear()
    every = tuple(dataclasses.replace(each, text=f"sentence {'abcd'[int(each.id[-1])]}") for each in corpus)
    (own, floor) = probe(Corpus("every", every), **small).run(FakeCodec())
    assert isinstance(own, Undefined) and "12 of 12 utterances to learn from are sentences of the tested" in own.reason and not learnt
    assert own == floor


def test_chance_is_of_other_words():
    from laminal.probes.transcription import _others

    said = [list("abc"), list("abc"), list("abcdef"), list("xy")]
    assert _others(["s", "t", "t", "s"], said) == [2, 3, 0, 1]
    assert _others(["s", "s"], [list("ab"), list("cd")]) == [1, 0] and _others(["s"], [list("ab")]) == [0]


def test_the_scale_of_a_codec_is_no_matter(corpus):
    """Frames are held in half precision, which has no such large numbers."""
    scale = 1e6

    class Scaled(FakeCodec):
        def latent(self, wav):
            return scale * super().latent(wav)

        def quantize(self, latent):
            return super().quantize(latent / scale)

        def layers(self, wav_or_codes):
            return {name: scale * layer for name, layer in super().layers(wav_or_codes).items() if name != "latent"}

    small = {"steps": 3, "width": 8, "modes": ["cumulative"]}
    plain, scaled = (table(probe(corpus, **small).run(codec)) for codec in (FakeCodec(), Scaled()))
    assert {key for key in plain if not key[0]} == {key for key in scaled if not key[0]}
    assert plain["", "per", "1", "cumulative"].value == pytest.approx(scaled["", "per", "1", "cumulative"].value, abs=0.02)


def test_levels_are_those_of_the_speakers_learnt_from(corpus, monkeypatch):
    from laminal.probes import transcription

    made, given = probe(corpus), []
    monkeypatch.setattr(transcription, "train", lambda items, *rest: given.append(items))
    monkeypatch.setattr(transcription, "read", lambda reader, frames: given.append(frames) or [[] for _ in frames])
    frames = [np.random.default_rng(row).standard_normal((5, 3)).astype(np.float32) for row in range(4)]
    heard = list(made.corpus)[:4]
    for shift in (0, 100):
        made._written(heard, [([0, 1], [2, 3])], [each + shift * (row == 3) for row, each in enumerate(frames)], 50.0)
    learnt = [np.concatenate([each for each, _ in items]) for items in given[::2]]
    assert np.array_equal(*learnt) and abs(learnt[0].mean()) < 1e-6 and learnt[0].std(0) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(given[1][0], given[3][0]) and not np.array_equal(given[1][1], given[3][1])
