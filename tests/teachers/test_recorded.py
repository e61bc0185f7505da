"""Features of whole recordings: the teacher's own, cut where the crop lies, made once, and one teacher for all losses of a batch."""

import math
import pickle

import lightning
import numpy as np
import pytest
import soundfile
import torch

import oracle_crops
from laminal import config, experiment, precomputed, training
from laminal.audio import read
from laminal.cache import CodesCache
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.crops import Batch, Crops
from laminal.corpora.split import Split, make_split
from laminal.errors import DataError, RequestError
from laminal.losses.base import Held, Loss
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
            expected = np.stack([whole[min(number, len(whole) - 1)] for number in range(first, first + 50)])
            assert cut.dtype == np.float32 and np.abs(cut - expected).max() <= 1e-3 * np.abs(whole).max()
    short = made.crop(corpus[1], 0.0, 1.0)  # 0.4 s are 20 frames; the last is said again, for it may be a part of a longer frame
    assert (short[20:] == short[19]).all() and (short[19] != short[18]).any()


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
    assert lengths == [21 * 320] * 4 + [17 * 320]  # 101 frames in 5 parts, not 25 + 25 + 25 + 25 + 1
    wav = torch.from_numpy(read(corpus[0].path, 16000))
    with torch.no_grad():
        third = hubert.frames(wav[42 * 320 : 63 * 320][None])[0].numpy()
    assert np.abs(cut[42:63] - third).max() <= 1e-3 * np.abs(third).max()
    made = Recorded(hubert, corpus, CodesCache(tmp_path / "heard"))
    for first in range(0, 52):
        assert np.array_equal(made.crop(corpus[0], first / 50, 1.0)[: 100 - first], cut[first : first + 50][: 100 - first])


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
    keys = [each._key(corpus[0], 0) for each in made]
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert len({made[0]._key(corpus[1], 0), made[0]._key(corpus[0], 1), keys[0]}) == 3


def test_other_settings_with_the_same_weights_have_other_files(hubert, ecapa, tmp_path):
    other = HubertTeacher("shipped/hubert-small", "mean")
    other._networks[0].config.num_attention_heads //= 2
    dilated = EcapaTeacher("shipped/ecapa-small")
    dilated.sizes = dilated.sizes | {"dilations": [1, 1, 1, 1, 1]}
    loud = HubertTeacher("shipped/hubert-small", "mean")
    loud.normalise = not loud.normalise
    assert recorded.weights_sha256(other) != recorded.weights_sha256(hubert) != recorded.weights_sha256(loud)
    assert (
        recorded.weights_sha256(dilated) != recorded.weights_sha256(ecapa) == recorded.weights_sha256(EcapaTeacher("shipped/ecapa-small"))
    )


def test_a_folder_that_cannot_be_written_is_refused(corpus, ecapa, tmp_path):
    (tmp_path / "heard").write_text("a file")
    with pytest.raises(RequestError, match=r"data.precomputed: \S+heard cannot be written"), pytest.warns(UserWarning):
        Recorded(ecapa, corpus, CodesCache(tmp_path / "heard")).fill()


def test_another_process_reads_and_needs_no_teacher(corpus, hubert, tmp_path):
    made = Recorded(hubert, corpus, CodesCache(tmp_path / "heard"))
    made.fill()
    there = pickle.loads(pickle.dumps(made))
    assert there.teacher is None and np.array_equal(there.crop(corpus[0], 0.2, 1.0), made.crop(corpus[0], 0.2, 1.0))
    for path in (tmp_path / "heard").rglob("*.npz"):
        path.unlink()
    with pytest.raises(DataError, match="start again, it is made then"):
        there.crop(corpus[0], 0.2, 1.0)


def test_words_that_crops_are_drawn_around_stay_in_them(tmp_path):
    corpus = oracle_crops.noise_corpus(tmp_path)
    split = make_split(corpus, 0)
    given = {"sample_rate": 16000, "seconds": 1.0, "batch": 6, "pairs": 1.0, "synonyms": 0.5, "seed": 3, "cache_bytes": 2**24}

    class Silent:
        frame_rate = 50.0

        def crop(self, utterance, start, seconds):
            return np.zeros((50, 1), np.float32)

    plain, aligned = Crops(corpus, split, **given), Crops(corpus, split, **given, recorded={"frames": Silent()})
    for step in range(60):
        before, after = plain[step], aligned[step]
        assert bool(after.positive.any()) or not bool(before.positive.any())
        for place, drawn in zip(aligned.places(step), plain.places(step), strict=True):
            assert place.utterance == drawn.utterance and abs(place.start * 50 - round(place.start * 50)) < 1e-6
        assert len(after.span_row) >= 6 and set(after.span_row.tolist()) == set(range(6))  # each crop has its word


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


class Theirs(Loss):
    """A loss of somebody else's: it holds its teacher itself."""

    name = "theirs"

    def __init__(self, teacher, width):
        super().__init__()
        self.teacher = Held(teacher)
        self.projection = torch.nn.Linear(width, teacher.width)


def test_a_loss_that_does_not_ask_for_it_gets_the_teacher_itself():
    theirs = {"_target_": f"{__name__}.Theirs", "weight": 1.0, "teacher": TEACHER, "width": 8}
    objective = build({"semantic_distill": SECTIONS["semantic_distill"], "theirs": theirs})
    ours, other = (loss.teacher for loss in objective.losses.values())
    assert ours is not other and ours.teacher is other.teacher


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
    words = (f"data.precomputed={heard}", "probing.every_epochs=null", "data.workers=1")
    whole = training.train(settings(tiny_corpus, *words, name="hubert_ecapa"), folder(tmp_path / "whole"), False, [])
    files = sorted(heard.rglob("*.npz"))
    speakers = whole.trainer.datamodule.split.train_speakers
    recordings = [u for u in experiment.corpus(settings(tiny_corpus)) if u.speaker in speakers]
    assert len(files) == 2 * len(recordings)  # HuBERT and ECAPA, of training speakers alone
    for kind, name in ((HubertTeacher, "frames"), (EcapaTeacher, "embed")):
        monkeypatch.setattr(kind, name, lambda *_: pytest.fail("a teacher was asked"))
    first = settings(tiny_corpus, *words, "trainer.epochs=2", name="hubert_ecapa")
    part = folder(tmp_path / "part")
    stopped = lightning.Trainer.fit

    def one_epoch(trainer, *given, **named):
        trainer.fit_loop.max_epochs = 1
        return stopped(trainer, *given, **named)

    monkeypatch.setattr(lightning.Trainer, "fit", one_epoch)
    training.train(first, part, False, [])
    monkeypatch.setattr(lightning.Trainer, "fit", stopped)
    training.train(first, part, True, [])
    a, b = (weights(tmp_path / name / "last.ckpt") for name in ("whole", "part"))
    assert a["global_step"] == b["global_step"]
    assert all(torch.equal(a["state_dict"][key], b["state_dict"][key]) for key in a["state_dict"])
    assert sorted(heard.rglob("*.npz")) == files


def test_low_frame_rates_have_no_zeros_in_their_last_frame(corpus, hubert, tmp_path):
    """0.4 s at 12.5 Hz are 5 frames of 4 of the teacher's; 6.25 Hz: 2.5, the third half of them behind the end."""
    made = crops(corpus, recorded={"x": Recorded(hubert, corpus, CodesCache(tmp_path / "heard"))})
    for step in range(6):
        one = made[step]
        norms = one.heard["x"].norm(dim=2)
        assert (norms > 0.5 * norms.median()).all()


@pytest.mark.parametrize("name", ["plain_rvq", "lm_spt"])
def test_without_a_loss_that_hears_recordings_it_is_refused(name):
    made = experiment.resolved(config.load([name], ["data.precomputed=true"]))
    task = training.task_of(made)
    with pytest.raises(RequestError, match=r"data.precomputed=True: of the losses here none hears recordings .* data.precomputed=null"):
        precomputed.recorded(made, task, Corpus("none", ()))
