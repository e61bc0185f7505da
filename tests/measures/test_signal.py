import numpy as np
import pytest

from laminal.measures.signal import CAP, si_sdr
from oracle_signal import si_sdr as slow


@pytest.fixture
def noise():
    return np.random.default_rng(0).standard_normal((3, 400))


def test_equals_the_sums(noise):
    s, e = noise[:2], 0.3 * noise[:2] + 0.2 * noise[1:] + 0.5
    assert si_sdr(s, e) == pytest.approx([slow(a.tolist(), b.tolist()) for a, b in zip(s, e)], abs=1e-9)


@pytest.mark.parametrize("decibels", [-10, 0, 10, 30])
def test_additive_noise_has_its_ratio(decibels):
    rng = np.random.default_rng(1)
    s, n = rng.standard_normal((2, 1, 200_000))
    n *= np.sqrt((s**2).sum() / (n**2).sum()) * 10 ** (-decibels / 20)
    assert si_sdr(s, s + n) == pytest.approx(decibels, abs=0.1)


def test_gain_and_offset_do_not_count(noise):
    assert si_sdr(noise, -3 * (noise + noise[::-1]) + 7) == pytest.approx(si_sdr(noise, noise + noise[::-1]), abs=1e-9)


def test_equal_is_capped_silent_is_lowest_and_a_silent_original_has_none(noise):
    assert si_sdr(noise, noise).tolist() == [CAP] * 3
    assert si_sdr(noise, np.zeros_like(noise)).tolist() == [-CAP] * 3
    assert np.isnan(si_sdr(np.zeros_like(noise), noise)).all()
    assert np.isnan(si_sdr(np.zeros_like(noise), np.zeros_like(noise))).all()
