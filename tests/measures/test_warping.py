"""Warped mel-cepstral distortion against the double loop."""

import math

import numpy as np
import pytest

from laminal.measures.warping import warped_mcd


def slow(a, b):
    cost = 10 / math.log(10) * math.sqrt(2) * np.linalg.norm(a[:, None] - b[None], axis=2)
    best = {(0, 0): (cost[0, 0], 1)}
    for i in range(len(a)):
        for j in range(len(b)):
            before = [best[i + x, j + y] for x, y in ((-1, -1), (-1, 0), (0, -1)) if (i + x, j + y) in best]
            if before:
                total, length = min(before, key=lambda each: each[0])
                best[i, j] = total + cost[i, j], length + 1
    total, length = best[len(a) - 1, len(b) - 1]
    return total / length


@pytest.mark.parametrize("sizes", [(1, 1), (1, 7), (9, 1), (30, 30), (25, 41), (41, 25)])
def test_it_is_the_cheapest_path(sizes):
    rng = np.random.default_rng(sum(sizes))
    a, b = (rng.standard_normal((size, 5)) for size in sizes)
    assert warped_mcd(a, b) == pytest.approx(slow(a, b), rel=1e-12)


def test_slower_speech_is_the_same_speech():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 24))
    assert warped_mcd(a, np.repeat(a, 3, axis=0)) == 0 and warped_mcd(np.repeat(a, [1, 2] * 20, axis=0), a) == 0
    shifted = a + np.eye(24)[0] * 0.1  # a coefficient that is off by 0.1 is 10 / ln 10 * sqrt(2) * 0.1 dB
    assert warped_mcd(a, shifted) == pytest.approx(0.6142, abs=1e-4)
    assert math.isnan(warped_mcd(a[:0], a))
