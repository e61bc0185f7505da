"""Distances in every layer against one number at a time."""

import numpy as np
import pytest

from laminal.measures.distances import DISTANCES, pair_distances
from laminal.measures.distances import spread as layer_spread
from oracle_pairs import distance, spread


def test_every_distance_equals_the_loop():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((40, 3, 7)) * [[[1], [5], [0.1]]]).astype(np.float32)
    first, second = rng.integers(40, size=600), rng.integers(40, size=600)  # several chunks
    found = pair_distances(values, first, second)
    for layer in range(3):
        unit = spread(values[:, layer])
        for column, kind in enumerate(DISTANCES):
            slow = [distance(values[a, layer], values[b, layer], kind, unit) for a, b in zip(first, second, strict=True)]
            np.testing.assert_allclose(found[:, layer, column], slow, rtol=1e-9, atol=1e-9)
    assert found.dtype == np.float64


def test_scaled_is_free_of_the_unit_and_cosine_of_the_length():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((20, 1, 5)).astype(np.float32)
    pairs = np.arange(10), np.arange(10, 20)
    small, large = pair_distances(values, *pairs), pair_distances(values * 8, *pairs)
    np.testing.assert_allclose(large[:, 0, 1:], small[:, 0, 1:], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(large[:, 0, 0], 8 * small[:, 0, 0])
    np.testing.assert_allclose(layer_spread(values * 8), 8 * layer_spread(values))


def test_one_choice_of_distances_is_that_column():
    values = np.random.default_rng(2).standard_normal((9, 2, 4)).astype(np.float32)
    pairs = np.arange(4), np.arange(4, 8)
    whole = pair_distances(values, *pairs)
    for column, kind in enumerate(DISTANCES):
        np.testing.assert_array_equal(pair_distances(values, *pairs, (kind,))[:, :, 0], whole[:, :, column])


def test_what_is_undefined_is_nan():
    values = np.zeros((4, 1, 3), np.float32)
    found = pair_distances(values, np.array([0, 1]), np.array([2, 3]))
    assert (found[:, 0, 0] == 0).all() and np.isnan(found[:, 0, 1:]).all()


@pytest.mark.parametrize("pairs", [0, 1])
def test_few_pairs(pairs):
    values = np.ones((2, 2, 3), np.float32)
    assert pair_distances(values, np.zeros(pairs, np.int64), np.ones(pairs, np.int64)).shape == (pairs, 2, 3)
