import numpy as np
import pytest
import torch

from laminal.measures.mel import BANDS, WINDOWS, MelScales, mel_distance
from oracle_signal import log_mel


@pytest.fixture(scope="module")
def sounds():
    rng = np.random.default_rng(0)
    time = np.arange(1500) / 16000
    return np.stack([0.3 * np.sin(2 * np.pi * 440 * time), 0.1 * rng.standard_normal(1500)]).astype(np.float32)


@pytest.mark.parametrize("scale", [0, 2, 3])  # the long windows take a minute by sums
def test_a_scale_equals_the_definition(sounds, scale):
    found = MelScales(16000)(torch.from_numpy(sounds))[scale]
    for row, wav in zip(found, sounds):
        expected = log_mel(wav.astype(float), WINDOWS[scale], BANDS[scale], 16000)
        assert row.numpy() == pytest.approx(expected, abs=2e-4)


def test_long_windows_have_their_bands(sounds):
    for wav, bands, window in zip(MelScales(16000)(torch.from_numpy(sounds)), BANDS, WINDOWS):
        assert wav.shape == (2, 1500 // (window // 4) + 1, bands)


def test_a_gain_moves_every_band_alike(sounds):
    mels = MelScales(16000)
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((2, 8000)).astype(np.float32)) * 10
    assert mel_distance(mels(noise), mels(noise / 10)).tolist() == pytest.approx([7, 7], abs=1e-3)  # 1 of log10 at each scale
    assert mel_distance(mels(noise), mels(noise)).tolist() == [0, 0]
