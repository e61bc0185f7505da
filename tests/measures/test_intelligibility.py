import numpy as np
import pytest
from pystoi import stoi

from laminal.measures.intelligibility import framed, intelligibility
from oracle_signal import voice


def measured(x, y, rate=16000):
    return intelligibility(framed(x[:, None], rate)[0], framed(y[:, None], rate)[0])


def speechlike(seconds=2):
    f0 = np.linspace(100, 200, 16000 * seconds)
    f0[10000:16000] = 0  # a pause, left out
    wav = voice(f0) * (0.6 + 0.4 * np.sin(np.arange(len(f0)) / 900))
    return wav.astype(np.float32)


@pytest.mark.parametrize("level", [0.001, 0.03, 0.3])
@pytest.mark.parametrize("rate", [16000, 10000])
def test_equals_pystoi(level, rate):
    x = speechlike()
    y = x + level * np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)
    found = measured(x, y, rate)
    assert found.stoi == pytest.approx(stoi(x.astype(float), y.astype(float), rate), abs=1e-9)
    assert found.estoi == pytest.approx(stoi(x.astype(float), y.astype(float), rate, extended=True), abs=1e-6)


def test_equal_is_one_and_another_sound_is_not():
    x = speechlike()
    assert measured(x, x).stoi == pytest.approx(1) and measured(x, x).estoi == pytest.approx(1)
    assert measured(x, x[::-1].copy()).estoi < 0.5


def test_nothing_is_drawn_from_the_global_generator():
    x = speechlike()
    y = x + 0.1
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    assert measured(x, y) == measured(x, y)
    assert np.random.get_state()[1].tolist() == before


def test_too_little_speech_has_none():
    x = speechlike()[:6000]
    assert np.isnan(measured(x, x).stoi) and np.isnan(measured(x, x).estoi)
    zeros = np.zeros(16000, np.float32)
    assert not measured(speechlike(), np.zeros(32000, np.float32)).stoi > 0.01
    assert np.isnan(measured(zeros[:100], zeros[:100]).stoi)


@pytest.mark.data
def test_equals_pystoi_on_real_speech(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    corpus = librispeech(librispeech_mini)
    for utterance in list(corpus)[:3]:
        x = corpus.crop(utterance, 0.0, 3.0, 16000).numpy().astype(float)
        y = np.round(x * 24) / 24  # coarse steps
        found = measured(x, y)
        assert found.stoi == pytest.approx(stoi(x, y, 16000), abs=1e-9)
        assert found.estoi == pytest.approx(stoi(x, y, 16000, extended=True), abs=3e-3)  # its rows where y is 0 are random
        y = x + 1e-3 * np.random.default_rng(0).standard_normal(len(x))
        assert measured(x, y).estoi == pytest.approx(stoi(x, y, 16000, extended=True), abs=1e-6)
