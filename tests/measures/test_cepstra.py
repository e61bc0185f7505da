import math

import numpy as np
import pytest
import torch

from laminal.measures.cepstra import ORDER, MelCepstra, mcd
from oracle_signal import mcd as slow
from oracle_signal import voice


def test_equals_the_definition():
    rng = np.random.default_rng(0)
    a = voice(np.full(2400, 120.0))
    a[1000:1600] = 0  # silence: left out
    b = (a + 0.02 * rng.standard_normal(2400)).astype(np.float32)
    (first, loud), (second, _) = (MelCepstra()(torch.from_numpy(each)[None]) for each in (a, b))
    assert 0 < int((~loud).sum()) < loud.numel()
    assert float(mcd(first, second, loud)[0]) == pytest.approx(slow(a.astype(float), b.astype(float)), rel=1e-4)


@pytest.mark.parametrize("order", [1, 7, 24])
def test_is_the_root_mean_square_of_decibels(order):
    c = torch.zeros(1, 1, ORDER)
    moved = c.clone()
    moved[..., order - 1] = 0.4
    curve = 0.4 * np.cos(math.pi * order * (np.arange(4000) + 0.5) / 4000)  # of the natural log of amplitude
    expected = math.sqrt(np.mean((20 * curve / math.log(10)) ** 2))
    assert float(mcd(c, moved, torch.ones(1, 1, dtype=torch.bool))) == pytest.approx(expected, rel=1e-5)


def test_level_does_not_count():
    hiss = 1e-3 * np.random.default_rng(0).standard_normal(8000)  # above the floor in every band
    wav = torch.from_numpy(voice(np.full(8000, 150.0)) + hiss.astype(np.float32))[None]
    (a, loud), (b, _) = MelCepstra()(wav), MelCepstra()(wav / 2)
    assert float(mcd(a, b, loud)[0]) < 0.05
    assert float(mcd(a, a, loud)[0]) == 0


def test_silence_has_none():
    a, loud = MelCepstra()(torch.zeros(1, 4000))
    assert not loud.any() and mcd(a, a, loud).isnan().all()
