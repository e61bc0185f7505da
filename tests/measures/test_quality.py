import sys

import numpy as np
import pytest

from laminal.measures.quality import pesq, pesq_available
from oracle_signal import voice

pytest.importorskip("pesq", reason="extra quality")


def speechlike():
    f0 = np.linspace(110, 180, 32000)
    f0[12000:18000] = 0
    return voice(f0)


def test_equal_is_best_and_noise_is_worse():
    x = speechlike()
    rng = np.random.default_rng(0)
    noisy = np.stack([x + level * rng.standard_normal(len(x)) for level in (0, 0.002, 0.1)]).astype(np.float32)
    best, middle, worst = pesq(np.stack([x] * 3), noisy)
    assert best == pytest.approx(4.644, abs=0.001)
    assert best > middle > worst > 1


def test_silence_and_short_sounds_have_none():
    x = speechlike()[None]
    assert np.isnan(pesq(np.zeros_like(x), x)).all() and np.isnan(pesq(x, np.zeros_like(x))).all()
    assert np.isnan(pesq(x[:, :2000], x[:, :2000])).all()


def test_a_missing_package_is_said(monkeypatch):
    import importlib.util

    assert pesq_available()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pesq" else sys.modules[name].__spec__)
    assert not pesq_available()
