"""Speaker verification of planted codecs: the speaker alone makes no error, phones or noise alone are chance."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter

from laminal import config, experiment
from laminal.codecs.log_mel import LogMel
from laminal.codecs.planted import Planted
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.probes.speaker_verification import SpeakerVerification
from laminal.results import Context, Items, Results, Score, Undefined
from oracle_pairs import FakeCodec, noise_corpus

SETTINGS = {
    "utterances": 40, "seconds": 2.0, "stretches": 3, "trials": 200, "codebooks": None, "modes": ["single", "cumulative"], "folds": 2,
    "teacher": None, "draws": 200, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=6, utterances=4)


def probe(corpus, split=None, **settings):
    return SpeakerVerification(corpus, split, **(SETTINGS | settings))


def table(found):
    return {(each.setting, each.metric, each.distance, each.layer, each.layer_mode): each for each in found if isinstance(each, Score)}


@pytest.fixture(scope="module")
def planted(corpus):
    shared = probe(corpus)
    return {kind: list(shared.run(Planted(kind, corpus))) for kind in ("speaker", "phones", "noise")}


def test_the_speaker_alone_makes_no_error(planted):
    own = [each for key, each in table(planted["speaker"]).items() if not key[0]]
    assert len(own) == 5 * 2 * 2  # latent, two codebooks alone and accumulated; two kinds of trial; with the head and without
    assert all(each.value == each.low == each.high == 0 for each in own)


@pytest.mark.parametrize("kind", ["phones", "noise"])
def test_what_knows_no_speaker_is_chance(planted, kind):
    for key, each in table(planted[kind]).items():
        assert abs(each.value - 0.5) < 0.08 and each.chance == 0.5, key
        assert each.low <= each.value <= each.high


def test_every_score_says_what_it_is(planted, corpus):
    found = table(planted["phones"])
    floor = ("log_mel", "eer", "", "", "")
    assert {key[0] for key in found} == {"", "log_mel"} and found[floor] == table(planted["noise"])[floor]
    assert found["", "eer", "", "1", "single"].n == 200 and found["", "eer", "", "1", "single"].clusters == 6
    for each in (each for each in planted["phones"] if isinstance(each, Items)):
        score = found["", each.metric, each.distance, each.layer, each.layer_mode]
        assert np.average(each.value, weights=each.weight) == pytest.approx(score.value, abs=1e-9)
        same = [a.split("-")[0] == b.split("-")[0] for a, b in zip(each.a, each.b)]
        assert sum(same) == score.n and same == sorted(same, reverse=True)
        recordings = [a.rpartition(":")[0] == b.rpartition(":")[0] for a, b in zip(each.a[: score.n], each.b[: score.n])]
        assert all(recordings) if each.metric == "eer_same_recording" else not any(recordings)
    results = Results(Context(run="r", codec="c", revision="1"))
    results.scores += list(found.values())
    assert len(results.score_table()) == len(found)


def test_impostors_are_of_one_fold(planted):
    block = next(each for each in planted["phones"] if isinstance(each, Items))
    pairs = {frozenset((a.split("-")[0], b.split("-")[0])) for a, b in zip(block.a, block.b)}
    others = {pair for pair in pairs if len(pair) == 2}
    assert len(others) == 6  # two folds of three speakers


def test_again_is_the_same_and_no_generator_moves(corpus):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    runs = [table(probe(corpus, modes=["cumulative"], codebooks=[1]).run(FakeCodec())) for _ in range(2)]
    assert runs[0] == runs[1]
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before


def test_voices_are_told_apart_by_log_mel_and_a_teacher(tmp_path):
    class Level:
        sample_rate, width = 8000, 16

        def embed(self, wav, mask=None):
            power = torch.fft.rfft(wav).abs()[:, :-1].square()
            power = power[:, : power.shape[1] // 16 * 16].unflatten(1, (16, -1)).mean(2)
            return power.log() - power.log().mean(1, keepdim=True)

    rng, made = np.random.default_rng(0), []
    for speaker, filtering in enumerate(rng.uniform(-0.8, 0.8, (4, 2))):  # a colour of noise each
        for number in range(3):
            path = tmp_path / f"s{speaker}-{number}.wav"
            soundfile.write(path, 0.05 * lfilter([1.0], [1.0, *(0.5 * filtering)], rng.standard_normal(48000)), 16000)
            made.append(Utterance(path.stem, path, f"s{speaker}", (), (), "", 3.0))
    corpus = Corpus("colours", tuple(made))
    found = table(probe(corpus, seconds=1.0, teacher=Level()).run(LogMel(16000, 160, 400, 80)))
    assert found["", "eer", "", "1", "cumulative"].value == found["log_mel", "eer", "", "", ""].value  # the codec is the floor
    assert found["log_mel", "eer", "", "", ""].value < 0.2 and found["teacher", "eer", "", "", ""].value < 0.2


def test_what_cannot_be_measured_is_said(corpus):
    with pytest.raises(RequestError, match="names 1 speaker, so nobody can be told apart"):
        probe(corpus.subset(frozenset({"s0"})))
    with pytest.raises(RequestError, match="no speaker embedding"):
        probe(corpus, teacher=object())
    for wrong in ({"seconds": 0.5}, {"trials": 5}, {"folds": 1}, {"modes": ["residual"]}):
        with pytest.raises(RequestError):
            probe(corpus, **wrong)
    (only,) = probe(corpus.subset(frozenset({"s0", "s1", "s2"}))).run(FakeCodec())
    assert isinstance(only, Undefined) and "3 unheard speakers" in only.reason
    once = dataclasses.replace(corpus, utterances=corpus.utterances[::4])  # one recording of each: no trial of two
    found = list(probe(once, modes=["cumulative"], codebooks=[1]).run(FakeCodec()))
    assert {each.metric for each in found if isinstance(each, Score)} == {"eer_same_recording"}
    assert any("two recordings" in each.reason for each in found if isinstance(each, Undefined))


def test_the_twin_builds_it(corpus):
    made = experiment.probes({"v": config.twin("probes", "speaker_verification")}, corpus, None)["v"]
    assert isinstance(made, SpeakerVerification) and made.teacher.width == 192


@pytest.mark.data
def test_real_speakers_are_told_apart(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    corpus = librispeech(librispeech_mini)
    found = table(probe(corpus, utterances=140, modes=["cumulative"], codebooks=[1]).run(FakeCodec()))
    plain, head = (found["log_mel", "eer_same_recording", distance, "", ""] for distance in ("", "lda"))
    assert plain.low > 0.1 and plain.high < 0.4 and head.high < 0.25 and head.high < plain.low  # a head helps
    assert plain.clusters > 90


def test_audio_that_is_gone_is_said_and_stops_nothing(corpus, tmp_path):
    gone = [dataclasses.replace(each, path=tmp_path / "gone.wav") if each.speaker < "s3" else each for each in corpus]
    found = list(probe(dataclasses.replace(corpus, utterances=tuple(gone))).run(FakeCodec()))
    assert not table(found) and any("3 speakers whose audio can be read for 2 folds" in each.reason for each in found)


@pytest.mark.parametrize("head", ["", "lda"])
def test_nobody_is_embedded_by_what_his_own_fold_taught(corpus, head):
    speakers = [f"s{row // 4}" for row in range(24)]
    fold = np.repeat([0, 1], 12)
    values = np.random.default_rng(0).standard_normal((24, 6)) + np.repeat(np.random.default_rng(1).standard_normal((6, 6)), 4, 0)
    moved = values.copy()
    moved[0] += 100
    before, after = (probe(corpus)._embedded(each, speakers, fold, head, True) for each in (values, moved))
    assert np.array_equal(before[1:12], after[1:12]) and not np.array_equal(before[12:], after[12:])


def test_only_speakers_that_the_tokenizer_has_not_heard(corpus):
    none = frozenset()
    split = Split(frozenset({"s0"}), frozenset(), none, none, none, none)
    assert probe(corpus, split).corpus.speakers == ("s1", "s2", "s3", "s4", "s5")
