"""Classes of speaking from planted codecs: the class alone is told, other things are chance, and who was heard does not help."""

import dataclasses
import hashlib

import numpy as np
import pytest
import soundfile
import torch

from laminal import config, experiment
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.labelled import LabelledCorpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.probes.paralinguistic import Paralinguistic
from laminal.probes.task_features import folds_of
from laminal.results import Items, Score, Undefined

CLASSES = ("calm", "loud", "odd")
SETTINGS = {
    "labelled": None, "utterances": None, "codebooks": None, "modes": ["single", "cumulative"], "folds": 3, "penalty": 10.0,
    "teacher": None, "draws": 200, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    utterances, labels = [], {}
    for speaker in range(6):
        for number in range(18):
            name = f"s{speaker}-{number:02d}"
            soundfile.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(9600), 16000)
            utterances.append(Utterance(name, folder / f"{name}.wav", f"s{speaker}", (), (), "", 0.6))
            labels[name] = CLASSES[number % 3]
    return LabelledCorpus("classes", tuple(utterances), (), {}, labels, "style")


class Knows:
    """A codec of two codebooks that holds, for each utterance of a corpus, a vector that follows from `what(utterance, label)`."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "knows", 16000, 50.0, 2, 4096, "1"

    def __init__(self, corpus, first, second=lambda utterance, label: ""):
        self.codes = {}
        for utterance in corpus:
            told = [what(utterance, corpus.labels[utterance.id]) for what in (first, second)]
            numbers = [int.from_bytes(hashlib.sha256(each.encode()).digest()[:4]) % 4096 for each in told]
            self.codes[corpus.wav(utterance, 16000)[:80].numpy().tobytes()] = numbers
        self.tables = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 4096, 12)).astype(np.float32))

    def encode(self, wav):
        numbers = torch.tensor([self.codes[row[:80].numpy().tobytes()] for row in wav])
        return numbers[:, :, None].repeat(1, 1, -(-wav.shape[1] // 320))

    def decode(self, codes):
        return torch.zeros(len(codes), codes.shape[2] * 320)

    def layers(self, wav_or_codes):
        codes = self.encode(wav_or_codes) if wav_or_codes.is_floating_point() else wav_or_codes
        first = self.tables[0][codes[:, 0]]
        return {"1": first, "2": first + self.tables[1][codes[:, 1]]}


def probe(corpus, split=None, **settings):
    return Paralinguistic(corpus, split, **(SETTINGS | settings))


def table(found):
    return {(each.setting, each.layer, each.layer_mode): each for each in found if isinstance(each, Score)}


def test_the_class_is_told_by_the_codebook_that_holds_it(corpus):
    found = list(probe(corpus).run(Knows(corpus, lambda u, label: u.id, lambda u, label: label)))
    scores = table(found)
    assert scores["", "2", "single"].value == pytest.approx(1.0) == scores["", "2", "single"].low
    assert abs(scores["", "1", "single"].value - 1 / 3) < 0.12
    assert scores["", "1", "single"].value < scores["", "2", "cumulative"].value
    assert abs(scores["log_mel", "", ""].value - 1 / 3) < 0.15  # noise
    for score in scores.values():
        assert score.chance == pytest.approx(1 / 3) and score.n == 108 and score.clusters == 6 and score.low <= score.value <= score.high
    for each in (each for each in found if isinstance(each, Items)):
        score = scores["", each.layer, each.layer_mode]
        assert np.average(each.value, weights=each.weight) == pytest.approx(score.value) and not each.setting


def test_what_holds_for_one_speaker_alone_is_no_help(corpus):
    """Who could be tested on a speaker that was learnt from would be right every time."""
    scores = table(probe(corpus).run(Knows(corpus, lambda u, label: u.speaker + label)))
    assert scores["", "1", "single"].value < 0.55
    heard = table(probe(corpus).run(Knows(corpus, lambda u, label: label)))
    assert heard["", "1", "single"].value == pytest.approx(1.0)


def test_rare_classes_count_as_much_as_others(corpus):
    kept = [each for each in corpus if corpus.labels[each.id] != "odd" or each.id.endswith("2")]
    few = LabelledCorpus("few", tuple(kept), (), {}, {each.id: corpus.labels[each.id] for each in kept}, "style")
    codec = Knows(few, lambda u, label: "odd" if label == "odd" else "calm")
    told = next(each for each in probe(few).run(codec) if isinstance(each, Items) and each.layer == "1")
    right = {label: told.value[[few.labels[name] == label for name in told.a]].mean() for label in CLASSES}
    assert right["odd"] == 1.0  # told by the code, though it is rare
    assert table(probe(few).run(codec))["", "1", "single"].value == pytest.approx(np.mean(list(right.values())))


def test_again_is_the_same_and_no_generator_moves(corpus):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    codec = Knows(corpus, lambda u, label: u.id)
    assert table(probe(corpus).run(codec)) == table(probe(corpus).run(codec))
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before


def test_only_speakers_that_the_tokenizer_has_not_heard_and_in_turn(corpus):
    none = frozenset()
    split = Split(frozenset({"s0", "elsewhere"}), frozenset({"nobody"}), none, none, none, none)
    assert probe(corpus, split).corpus.speakers == ("s1", "s2", "s3", "s4", "s5")
    few = probe(corpus, utterances=18).corpus
    assert len(few) == 18 and {(each.speaker, few.labels[each.id]) for each in few} == {(f"s{k}", c) for k in range(6) for c in CLASSES}


def test_a_corpus_without_classes_is_refused(corpus):
    plain = Corpus("plain", corpus.utterances)
    with pytest.raises(RequestError, match="corpus plain has no classes .*probes.paralinguistic.labelled=.*or leave it out"):
        probe(plain)
    assert probe(plain, labelled=corpus).corpus.name == "classes"
    for wrong in ({"folds": 1}, {"penalty": 0.0}, {"modes": ["both"]}, {"teacher": object()}):
        with pytest.raises(RequestError):
            probe(corpus, **wrong)
    (only,) = probe(corpus.subset(frozenset({"s0", "s1"}))).run(Knows(corpus, lambda u, label: u.id))
    assert isinstance(only, Undefined) and "2 unheard speakers" in only.reason


def test_the_twin_builds_it(corpus):
    made = experiment.probes({"p": config.twin("probes", "paralinguistic")}, corpus, None)["p"]
    assert isinstance(made, Paralinguistic) and made.teacher.width == 192


def test_where_nothing_can_be_learnt_it_is_said(corpus, tmp_path):
    """One class in all folds but one, and audio that is gone: a line in the manifest, and no other probe is stopped."""
    codec = Knows(corpus, lambda u, label: u.id)
    by_voice = dataclasses.replace(corpus, labels={name: "odd" if name.startswith("s0") else "calm" for name in corpus.labels})
    own, floor = probe(by_voice).run(codec)
    assert isinstance(own, Undefined) and "are of one class" in own.reason and own == floor
    gone = [dataclasses.replace(each, path=tmp_path / "gone.wav") if each.speaker < "s4" else each for each in corpus]
    found = list(probe(dataclasses.replace(corpus, utterances=tuple(gone))).run(codec))
    assert not table(found) and any("2 speakers whose audio can be read for 3 folds" in each.reason for each in found)


def test_levels_are_those_of_the_speakers_learnt_from(corpus):
    """One recording that is far off spoils no other of its fold."""
    speakers, label = [each.speaker for each in corpus], np.array([CLASSES.index(corpus.labels[each.id]) for each in corpus])
    values = np.eye(3)[label] + 0.1 * np.random.default_rng(0).standard_normal((len(label), 3))
    made = probe(corpus)
    assert (made._told(values, label, speakers) == label).all()
    values[0] += 1e6
    mates = folds_of(speakers, 3) == folds_of(speakers, 3)[0]
    mates[0] = False
    assert (made._told(values, label, speakers)[mates] == label[mates]).all()
