import numpy as np
import pytest
import torch

from laminal.measures.pitch import Pitch, f0_correlation, pitch, voicing_error
from oracle_signal import normalised_correlation, voice


def sound(wav):
    return torch.from_numpy(np.asarray(wav, dtype=np.float32))[None]


def hz_at_frames(f0, frames):
    """Mean of the contour over the 45 ms that a frame may look at."""
    return np.array([f0[160 * k : 160 * k + 720].mean() for k in range(frames)])


@pytest.mark.parametrize("hz", [65, 100, 187.3, 250, 390])
@pytest.mark.parametrize("rate", [16000, 24000])
def test_a_tone_has_its_pitch(hz, rate):
    found = pitch(sound(0.2 * np.sin(2 * np.pi * hz * np.arange(rate) / rate)), rate)
    inner = slice(5, -5)
    assert found.voiced[0, inner].all()
    assert found.f0[0, inner].numpy() == pytest.approx(hz, rel=0.005)


@pytest.mark.parametrize("start, end", [(90, 180), (220, 330), (300, 110)])
def test_a_glide_of_a_voice_is_followed(start, end):
    f0 = np.linspace(start, end, 24000)
    found = pitch(sound(voice(f0)), 16000)
    expected = hz_at_frames(f0, found.f0.shape[1])
    error = np.abs(found.f0[0].numpy() / expected - 1)[3:-3]
    assert found.voiced[0, 3:-3].float().mean() > 0.97
    assert np.median(error) < 0.02 and (error > 0.1).mean() < 0.03


def test_noise_and_silence_are_unvoiced():
    rng = np.random.default_rng(0)
    assert pitch(sound(0.1 * rng.standard_normal(16000)), 16000).voiced.float().mean() < 0.1
    assert not pitch(sound(np.zeros(16000)), 16000).voiced.any()


def test_pauses_are_unvoiced():
    f0 = np.full(24000, 140.0)
    f0[8000:16000] = 0
    found = pitch(sound(voice(f0)), 16000).voiced[0]
    assert found[3:45].all() and found[104:-4].all() and not found[56:94].any()


def test_the_period_is_the_highest_correlation():
    wav = voice(np.full(4000, 131.0))
    found = pitch(sound(wav), 16000)
    low = np.fft.irfft(np.where((f := np.fft.rfftfreq(4000, 1 / 16000)) > 1500, 0, np.where(f < 50, 0, np.fft.rfft(wav))))
    for frame in (5, 10):
        start = 160 * frame
        values = [normalised_correlation(low, start, 480, lag) for lag in range(40, 268)]
        tops = [i for i in range(1, 227) if values[i - 1] <= values[i] > values[i + 1]]
        lag = 40 + next(i for i in tops if values[i] >= 0.85 * max(values[top] for top in tops))
        assert float(found.f0[0, frame]) == pytest.approx(16000 / lag, rel=0.01)


def track(f0, voiced=None):
    f0 = torch.tensor([f0], dtype=torch.float32)
    return Pitch(f0, torch.ones_like(f0, dtype=torch.bool) if voiced is None else torch.tensor([voiced]))


def test_correlation_of_tracks():
    rising = [100 * 1.02**i for i in range(20)]
    assert f0_correlation(track(rising), track([2 * f for f in rising])) == pytest.approx([1], abs=1e-5)
    assert f0_correlation(track(rising), track([1e4 / f for f in rising])) == pytest.approx([-1], abs=1e-5)
    assert f0_correlation(track(rising), track([100.0] * 20)).tolist() == [0]
    few = [True] * 9 + [False] * 11
    assert f0_correlation(track(rising), track(rising, few)).tolist() == [0]
    assert np.isnan(f0_correlation(track(rising, few), track(rising))).all()
    a, b = np.random.default_rng(0).uniform(80, 300, (2, 20))
    mask = [True] * 12 + [False] * 8
    expected = np.corrcoef(np.log(a[:12]), np.log(b[:12]))[0, 1]
    assert f0_correlation(track(a.tolist(), mask), track(b.tolist())) == pytest.approx(expected, abs=1e-5)


def test_voicing_error_counts_frames():
    a, b = [True, True, False, False], [True, False, True, False]
    assert voicing_error(track([100.0] * 4, a), track([100.0] * 4, b)).tolist() == [0.5]


KINDS = dict.fromkeys(("AA", "AE", "AY", "EY", "IY", "OW"), "vowel") | dict.fromkeys(("S", "F", "SH"), "fricative")


@pytest.mark.data
def test_vowels_of_real_speech_are_voiced_and_fricatives_are_not(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    corpus = librispeech(librispeech_mini)
    counts = {"vowel": [0, 0], "fricative": [0, 0]}
    for utterance in list(corpus)[::12]:
        found = pitch(corpus.wav(utterance, 16000)[None], 16000).voiced[0]
        for phone in utterance.phones:
            kind = KINDS.get(phone.label)
            frame = round(((phone.start + phone.end) / 2 - 0.02) * 100)
            if kind and phone.end - phone.start > 0.09 and 0 <= frame < len(found):
                counts[kind][0] += int(found[frame])
                counts[kind][1] += 1
    vowel, fricative = (voiced / total for voiced, total in counts.values())
    assert vowel > 0.85 and fricative < 0.15, counts
