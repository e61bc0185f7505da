"""Features of whole recordings: the teacher's own, cut where the crop lies, made once, and one teacher for all losses of a batch."""

import math

import numpy as np
import pytest
import soundfile
import torch

from laminal import config, experiment, training
from laminal.audio import read
from laminal.cache import CodesCache
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.crops import Batch, Crops
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.losses.objective import build
from laminal.teachers import recorded
from laminal.teachers.ecapa import EcapaTeacher
from laminal.teachers.hubert import HubertTeacher
from laminal.teachers.recorded import Recorded
from oracle_losses import batch, output
from oracle_training import settings, weights

RATES = (16000, 24000, 44100)
SECONDS = (2.013, 0.4, 1.0)  # no whole frames, shorter than a crop, as long as one


@pytest.fixture(scope="module")
def hubert() -> HubertTeacher:
    return HubertTeacher("shipped/hubert-small", "mean")


@pytest.fixture(scope="module")
def ecapa() -> EcapaTeacher:
    return EcapaTeacher("shipped/ecapa-small")


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    rng = np.random.default_rng(0)
    made = []
    for number, seconds in enumerate(SECONDS):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * 16000)), 16000, subtype="FLOAT")
        made.append(Utterance(f"u{number}", path, f"s{number}", (), (), "", seconds))
    return Corpus("noise", tuple(made))


def crops(corpus, **given) -> Crops:
    split = Split(frozenset(corpus.speakers), *(frozenset() for _ in range(5)))
    usual = {"sample_rate": 16000, "seconds": 1.0, "batch": 6, "pairs": 0.0, "synonyms": 0.0, "seed": 3, "cache_bytes": 2**24}
    return Crops(corpus, split, **(usual | given))


def folder(path):
    path.mkdir()
    return path


def test_a_crops_frames_are_those_of_its_whole_recording(corpus, hubert, tmp_path):
    made = Recorded(hubert, corpus, CodesCache(tmp_path / "heard"))
    for utterance in corpus:
        wav = torch.from_numpy(read(utterance.path, 16000))
        padded = torch.zeros(math.ceil(len(wav) / 320) * 320)
        padded[: len(wav)] = wav
        with torch.no_grad():
            whole = hubert.frames(padded[None])[0].numpy()
        for first in range(0, max(1, len(whole) - 50 + 1), 7):
            cut = made.crop(utterance, first / 50, 1.0)
            expected = np.zeros((50, 192), np.float32)
            expected[: len(whole[first : first + 50])] = whole[first : first + 50]
            assert cut.dtype == np.float32 and np.abs(cut - expected).max() <= 1e-3 * np.abs(whole).max()
    assert made.crop(corpus[1], 0.0, 1.0)[20:].any() == np.False_ and made.crop(corpus[1], 0.0, 1.0)[19].any()  # 0.4 s are 20 frames


def test_a_recordings_voice_is_that_of_every_crop(corpus, ecapa, tmp_path):
    made = Recorded(ecapa, corpus, CodesCache(tmp_path / "heard"))
    with torch.no_grad():
        voice = ecapa.embed(torch.from_numpy(read(corpus[0].path, 16000))[None])[0].numpy()
    for start in (0.0, 0.5, 1.0):
        assert np.array_equal(made.crop(corpus[0], start, 1.0), voice)


@pytest.mark.parametrize("rate", RATES)
def test_crops_start_on_frames_and_bring_what_was_heard(corpus, hubert, ecapa, tmp_path, rate):
    cache = CodesCache(tmp_path / "heard")
    heard = {"frames": Recorded(hubert, corpus, cache), "voice": Recorded(ecapa, corpus, cache)}
    found = crops(corpus, sample_rate=rate, recorded=heard)
    starts = set()
    for step in range(4):
        made = found[step]
        assert made.heard["frames"].shape == (6, 50, 192) and made.heard["voice"].shape == (6, 192)
        for row, place in enumerate(found.places(step)):
            utterance = corpus[place.utterance]
            frame = int(place.start * 50 + 1e-6)
            starts.add(frame)
            wav = torch.from_numpy(read(utterance.path, rate))[round(frame * rate / 50) :][:rate]
            assert torch.allclose(made.wav[row, : len(wav)], wav, atol=1e-4)  # kept as 16 bit
            assert np.array_equal(made.heard["frames"][row].numpy(), heard["frames"].crop(utterance, frame / 50, 1.0))
            assert np.array_equal(made.heard["voice"][row].numpy(), heard["voice"].crop(utterance, 0.0, 1.0))
    assert len(starts) > 5


def test_long_recordings_are_heard_in_pieces(corpus, hubert, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "PIECE", 0.5)
    lengths = []
    monkeypatch.setattr(hubert, "frames", lambda wav, real=hubert.frames: lengths.append(wav.shape[1]) or real(wav))
    cut = Recorded(hubert, corpus, CodesCache(tmp_path / "heard")).crop(corpus[0], 0.0, 2.0)
    assert max(lengths) == 8000 and sum(lengths) == 101 * 320 and np.isfinite(cut).all() and (cut != 0).any(1).all()


def test_each_recording_is_heard_once_and_broken_files_are_made_anew(corpus, hubert, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(hubert, "frames", lambda wav, real=hubert.frames: calls.append(1) or real(wav))
    cache = CodesCache(tmp_path / "heard")
    first = Recorded(hubert, corpus, cache)
    assert first.fill(first=2) == len(calls) == len(corpus)
    before = first.crop(corpus[0], 0.0, 1.0)
    again = Recorded(hubert, corpus, CodesCache(tmp_path / "heard"))
    assert again.fill() == 0 and len(calls) == len(corpus)
    for path in (tmp_path / "heard").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="is broken"):
        assert np.array_equal(again.crop(corpus[0], 0.0, 1.0), before)
    assert len(calls) == len(corpus) + 1


def test_other_weights_layers_and_audio_have_other_files(corpus, hubert, tmp_path):
    last = HubertTeacher("shipped/hubert-small", 4)
    changed = HubertTeacher("shipped/hubert-small", "mean")
    with torch.no_grad():
        next(changed._networks[0].parameters()).view(-1)[0] += 1e-3
    cache = CodesCache(tmp_path / "heard")
    made = [Recorded(teacher, corpus, cache) for teacher in (hubert, HubertTeacher("shipped/hubert-small", "mean"), last, changed)]
    keys = [each._key(corpus[0]) for each in made]
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert made[0]._key(corpus[1]) != keys[0]


def test_what_cannot_be_kept_is_refused(corpus, tmp_path):
    class Loose:
        sample_rate, frame_rate, width = 16000, 50.0, 3

        def frames(self, wav):
            return wav

    with pytest.raises(RequestError, match=r"Loose is no torch module .* data.precomputed=null"):
        Recorded(Loose(), corpus, CodesCache(tmp_path))


def test_features_beyond_16_bit_are_refused(corpus, hubert, tmp_path, monkeypatch):
    monkeypatch.setattr(hubert, "frames", lambda wav, real=hubert.frames: real(wav) + 1e5)
    with pytest.raises(RequestError, match=r"HubertTeacher gives u0 features that are not finite in 16 bit"):
        Recorded(hubert, corpus, CodesCache(tmp_path / "heard")).crop(corpus[0], 0.0, 1.0)


TEACHER = {"_target_": "laminal.teachers.hubert.HubertTeacher", "path": "shipped/hubert-small", "layer": "mean"}
SECTIONS = {
    "semantic_distill": {
        "_target_": "laminal.losses.semantic_distill.SemanticDistillLoss", "weight": 1.0, "teacher": TEACHER, "width": 8, "axis": "frame",
    },
    "reconstruct_match": {
        "_target_": "laminal.losses.reconstruct_match.ReconstructMatchLoss", "weight": 1.0, "teacher": dict(TEACHER), "width": 8,
        "sample_rate": 16000, "frame_rate": 50, "decoder": "own", "filters": 2, "residual_layers": 0, "transformer_layers": 0, "heads": 2,
        "gradient": True,
    },
}  # fmt: skip


def test_losses_of_one_teacher_share_it_and_what_it_hears(monkeypatch):
    without_gradient = []
    real = HubertTeacher.frames

    def frames(self, wav):
        without_gradient.append(not torch.is_grad_enabled())
        return real(self, wav)

    monkeypatch.setattr(HubertTeacher, "frames", frames)
    objective = build(SECTIONS)
    first, second = (objective.losses[name].teacher for name in SECTIONS)
    other = build(
        {"semantic_distill": SECTIONS["semantic_distill"] | {"teacher": TEACHER | {"layer": 2}}, "match": SECTIONS["reconstruct_match"]}
    )
    assert first is second and len({loss.teacher.name for loss in other.losses.values()}) == 2
    for number in range(2):
        without_gradient.clear()
        made = batch(samples=3200, seed=number)
        together = objective.generator(output(), made).raw
        assert sorted(without_gradient) == [False, True]  # the crop once for both, and the rebuilt audio
        for name, section in SECTIONS.items():
            alone = build({name: section})
            alone.load_state_dict({key: value for key, value in objective.state_dict().items() if f".{name}." in f".{key}"})
            assert alone.generator(output(), made).raw[name].item() == together[name].item()


def test_what_the_batch_brings_is_the_target(monkeypatch):
    objective = build({"semantic_distill": SECTIONS["semantic_distill"]})
    loss, made, out = objective.losses["semantic_distill"], batch(samples=3200), output()
    target = torch.randn(2, 10, 192)
    monkeypatch.setattr(HubertTeacher, "frames", lambda *_: pytest.fail("the teacher was asked"))
    brought = Batch(**{**vars(made), "heard": {loss.teacher.name: target}})
    expected = (1 - torch.nn.functional.cosine_similarity(loss.projection(out.z_1), target, dim=2)).mean()
    assert loss(out, brought).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_training_asks_no_teacher_and_goes_on_exactly(tiny_corpus, tmp_path, monkeypatch):
    heard = tmp_path / "heard"
    made = settings(tiny_corpus, f"data.precomputed={heard}", "probing.every_epochs=null", name="hubert_ecapa")
    whole = training.train(made, folder(tmp_path / "whole"), False, [])
    files = sorted(heard.rglob("*.npz"))
    speakers = whole.trainer.datamodule.split.train_speakers
    recordings = [u for u in experiment.corpus(made) if u.speaker in speakers]
    assert len(files) == 2 * len(recordings)  # HuBERT and ECAPA, of training speakers alone
    for kind, name in ((HubertTeacher, "frames"), (EcapaTeacher, "embed")):
        monkeypatch.setattr(kind, name, lambda *_: pytest.fail("a teacher was asked"))
    part = settings(tiny_corpus, f"data.precomputed={heard}", "probing.every_epochs=null", name="hubert_ecapa")
    training.train(part, folder(tmp_path / "again"), False, [])
    a, b = (weights(tmp_path / name / "last.ckpt") for name in ("whole", "again"))
    assert all(torch.equal(a["state_dict"][key], b["state_dict"][key]) for key in a["state_dict"])
    assert sorted(heard.rglob("*.npz")) == files


@pytest.mark.parametrize("name", ["plain_rvq", "lm_spt"])
def test_without_a_loss_that_hears_recordings_it_is_refused(name):
    made = experiment.resolved(config.load([name], ["data.precomputed=true"]))
    task = training.task_of(made)
    with pytest.raises(RequestError, match=r"data.precomputed=True: of the losses here none hears recordings .* data.precomputed=null"):
        training.recorded(made, task, Corpus("none", ()))
