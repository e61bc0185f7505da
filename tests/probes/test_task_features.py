"""Frames for the tasks: stretches that meet share none, whole utterances lose none, and half precision is taken where it is enough."""

import numpy as np
import pytest
import soundfile

from laminal.corpora.base import Corpus, Utterance
from laminal.probes.task_features import TEACHER, Column, LogMelFrames, TeacherFrames, halved, pooled


@pytest.mark.parametrize("rate", [6.25, 12.5, 18.75, 25.0, 50.0, 75.0, 86.1328125, 100.0])
def test_stretches_that_meet_share_no_frame(rate):
    count = int(8 * rate)
    marks = np.eye(count)  # frame k is the k-th unit vector: the mean shows which frames were taken
    taken = [np.flatnonzero(pooled(marks, rate, start, start + 2.0)[:count]).tolist() for start in (0.0, 2.0, 4.0, 6.0)]
    every = [frame for part in taken for frame in part]
    assert every == sorted(set(every)) == list(range(count))[: len(every)] and len(every) >= count - 1
    for start, part in zip((0.0, 2.0, 4.0, 6.0), taken):
        assert all(start <= (frame + 0.5) / rate < start + 2.0 for frame in part)


def test_mean_then_deviation():
    frames = np.array([[1.0, 4.0], [5.0, 4.0], [100.0, 0.0]])
    assert pooled(frames, 10.0, 0.0, 0.2).tolist() == [3.0, 4.0, 2.0, 0.0]


def test_half_precision_where_it_is_enough():
    plain = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert halved(plain).dtype == np.float16 and np.abs(halved(plain) - plain).max() < 1e-2
    for values in (1e6 * plain, 1e-8 * plain, plain + 1000):  # past its end, below its beginning, coarser than the deviation
        assert halved(values).dtype == np.float32 and (halved(values) == values).all()
    assert halved(np.ones((3, 2), np.float32)).dtype == np.float16 and not np.isfinite(halved(np.full((2, 2), np.nan, np.float32))).any()


class Loudness:
    """A frame teacher whose frame is the mean of its own hop; it hears no more than 30 s."""

    sample_rate, frame_rate, width = 16000, 50.0, 1

    def __init__(self):
        self.heard = []

    def frames(self, wav):
        assert wav.shape[1] <= 30 * 16000 and wav.shape[1] % 320 == 0
        self.heard.append(wav.shape[1])
        return wav.unflatten(1, (-1, 320)).mean(2, keepdim=True)


@pytest.mark.parametrize("seconds", [0.61, 24.99, 25.01, 61.234])
def test_a_teachers_frames_stand_where_the_audio_does(tmp_path, seconds):
    samples = round(16000 * seconds)
    wav = np.linspace(0, 0.5, samples)  # a ramp: its value tells the time
    soundfile.write(tmp_path / "ramp.wav", wav, 16000, subtype="FLOAT")
    utterance = Utterance("ramp", tmp_path / "ramp.wav", "s", (), (), "", samples / 16000)
    teacher = Loudness()
    found = TeacherFrames(teacher, Corpus("ramp", (utterance,))).frames(utterance)[Column(TEACHER)][:, 0]
    whole = np.pad(wav, (0, -samples % 320)).reshape(-1, 320).mean(1)
    assert found.shape == whole.shape and found == pytest.approx(whole, abs=1e-5)
    assert len(teacher.heard) == -(-sum(teacher.heard) // (25 * 16000))
    assert max(teacher.heard) - min(teacher.heard) <= 320 * len(teacher.heard)


def test_log_mel_frames_stand_where_the_audio_does(tmp_path):
    wav = np.zeros(16000)
    wav[8000:8160] = 0.5 * np.random.default_rng(0).standard_normal(160)  # the hop from 0.5 s on: frame 50
    soundfile.write(tmp_path / "click.wav", wav, 16000)
    utterance = Utterance("click", tmp_path / "click.wav", "s", (), (), "", 1.0)
    (values,) = LogMelFrames(Corpus("click", (utterance,))).frames(utterance).values()
    assert values.shape == (100, 80) and values.mean(1).argmax() == 50
