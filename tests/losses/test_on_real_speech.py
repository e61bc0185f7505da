"""The losses on LibriSpeech crops: what is worse costs more, and the spans of words carry what they should."""

from dataclasses import replace

import pytest
import torch

from laminal.corpora.crops import Crops
from laminal.corpora.librispeech import librispeech
from laminal.corpora.split import make_split
from laminal.losses.adversarial import AdversarialLoss
from laminal.losses.feature_matching import FeatureMatchingLoss
from laminal.losses.mel import MelLoss
from laminal.losses.synonym_contrast import SynonymContrastLoss
from laminal.losses.waveform import WaveformLoss
from oracle_losses import output

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def crops(librispeech_mini) -> Crops:
    corpus = librispeech(librispeech_mini)
    given = {"sample_rate": 16000, "seconds": 2.0, "batch": 6, "pairs": 1.0, "synonyms": 0.0, "seed": 0, "cache_bytes": 0}
    return Crops(corpus, make_split(corpus, 0), **given)


def test_more_noise_costs_more_and_none_nothing(crops):
    torch.manual_seed(0)
    judge, batch = AdversarialLoss([512, 256], 4, 2), crops[0]
    noise = torch.randn(batch.wav.shape, generator=torch.Generator().manual_seed(1))
    values = []
    for level in (0.0, 0.003, 0.01, 0.03):
        out = output(rows=6, frames=100, audio=batch.wav + level * noise)
        mel, waveform = MelLoss(16000, 64, 5, 11, 1.0, 1e-4)(out, batch), WaveformLoss()(out, batch)
        values.append([waveform.item(), mel.item(), FeatureMatchingLoss()(out, batch, judge.features(out, batch)).item()])
    assert values[0] == [0, 0, 0]
    assert all(worse > better for row, below in zip(values[1:], values, strict=False) for worse, better in zip(row, below, strict=True))


def test_frames_that_know_the_word_beat_frames_that_know_the_speaker(crops):
    steps = [crops[step] for step in range(4)]
    assert all(batch.positive.any() for batch in steps)
    torch.manual_seed(0)
    loss, known = SynonymContrastLoss(64, 64, 0.1, 2.0, 1), {}
    for kind in ("span_word", "span_speaker"):
        values = []
        for batch in steps:
            codes = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
            frames = torch.zeros(len(batch.wav), 100, 64)
            for row, start, end, what in zip(batch.span_row, batch.span_start, batch.span_end, getattr(batch, kind), strict=True):
                frames[row, int(start * 50) : int(end * 50) + 1] = codes[what]
            values.append(loss(replace(output(rows=6, frames=100, width=64), z_1=frames), batch).item())
        known[kind] = sum(values)
    assert known["span_word"] < 0.5 * known["span_speaker"]
