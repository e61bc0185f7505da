"""The two teachers in the package: size, shape, card, and (on real speech) what the card claims."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from laminal.corpora.base import Corpus
from laminal.teachers.base import SHIPPED, FrameTeacher, SpeakerTeacher
from laminal.teachers.ecapa import EcapaTeacher
from laminal.teachers.hubert import HubertTeacher

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))


def test_they_load_and_are_small():
    frames, voice = HubertTeacher("shipped/hubert-small", layer="mean"), EcapaTeacher("shipped/ecapa-small")
    assert isinstance(frames, FrameTeacher) and isinstance(voice, SpeakerTeacher)
    wav = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    assert frames.frames(wav).shape == (2, 50, frames.width) and voice.embed(wav).shape == (2, voice.width)
    assert torch.isfinite(frames.frames(torch.zeros(1, 16000))).all() and torch.isfinite(voice.embed(torch.zeros(1, 16000))).all()
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 12e6
    for path in SHIPPED.rglob("*.safetensors"):
        header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
        assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} <= {"F16", "I64"}


def test_the_card_says_what_was_measured():
    import teacher_card

    numbers = json.loads((SHIPPED / "numbers.json").read_text(encoding="utf-8"))
    card = (SHIPPED / "CARD.md").read_text(encoding="utf-8")
    assert card == teacher_card.card(numbers)
    phones = numbers["phones"]["librispeech-mini"]
    assert phones["mean of layers"]["over log-mel"][1] > 0.05
    assert phones["mean of layers"]["accuracy"][1] > phones["random mean of layers"]["accuracy"][2]
    for name in ("librispeech-mini: halves of utterances", "librispeech-untranscribed: halves"):
        assert numbers["speakers"][name]["ecapa-small"]["over MFCC"][2] < 0  # the whole interval


@pytest.mark.data
@pytest.mark.slow
def test_phones_of_real_speech_beat_log_mel(librispeech_mini):
    from teacher_phones import accuracy_table, collect, log_mel, phone_accuracy

    from laminal.corpora.librispeech import librispeech

    whole = librispeech(librispeech_mini)
    corpus = Corpus("part", tuple(u for u in whole if u.seconds < 14)[:60])
    teacher = HubertTeacher("shipped/hubert-small", layer="mean")
    frames = collect(corpus, lambda wav: {"log-mel": log_mel(wav), "teacher": teacher.frames(wav)[0]})
    rows = accuracy_table(frames, phone_accuracy(frames, folds=3, every=4), "log-mel")
    assert rows["teacher"][1].low > 0.03


@pytest.mark.data
@pytest.mark.slow
def test_voices_of_real_speech_beat_mean_mfcc(librispeech_untranscribed):
    from teacher_speakers import halves, mean_mfcc, speaker_errors, utterances

    from laminal.corpora.librispeech import librispeech

    wavs, who = halves(*utterances(librispeech(librispeech_untranscribed, alignments="none"), 1))
    teacher = EcapaTeacher("shipped/ecapa-small")
    with torch.no_grad():
        vectors = {"mfcc": torch.stack([mean_mfcc(w[None]) for w in wavs]), "ecapa": torch.stack([teacher.embed(w[None])[0] for w in wavs])}
    rates = speaker_errors(vectors, who, draws=200)
    assert np.percentile(rates["ecapa"][1] - rates["mfcc"][1], 97.5) < 0
