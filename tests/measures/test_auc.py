"""AUC against the double loop, and scikit-learn's."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from laminal.measures.auc import auc


def loop(smaller, larger, a, b):
    won = 0.0
    for value, weight in zip(smaller, a, strict=True):
        for other, other_weight in zip(larger, b, strict=True):
            won += weight * other_weight * (1.0 if value < other else 0.5 if value == other else 0.0)
    return won / (sum(a) * sum(b))


@settings(max_examples=90, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.sampled_from([1, 3, 7, 1e-5]))
def test_equals_the_double_loop_with_ties_and_weights(seed, p, r, levels, size):
    rng = np.random.default_rng(seed)
    smaller, larger = rng.integers(levels, size=(p, 4)).astype(float), rng.integers(levels, size=(r, 4)).astype(float)
    a, b = (rng.integers(0, 4, (p, 3)) + 0.5) / size, (rng.integers(0, 4, (r, 3)) + 0.25) / size
    found = auc(smaller, larger, a, b)
    assert found.shape == (3, 4)
    for draw in range(3):
        for column in range(4):
            assert abs(found[draw, column] - loop(smaller[:, column], larger[:, column], a[:, draw], b[:, draw])) < 1e-12


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    near, far = rng.standard_normal(300), rng.standard_normal(500) + 0.3
    truth = np.r_[np.zeros(300), np.ones(500)]
    ours = auc(near[:, None], far[:, None], np.ones((300, 1)), np.ones((500, 1)))[0, 0]
    assert abs(ours - roc_auc_score(truth, np.r_[near, far])) < 1e-12


def test_ends_and_nothing():
    one, low, high = np.ones((2, 1)), np.array([[1.0, 2.0]]).T, np.array([[3.0, 4.0]]).T
    assert auc(low, high, one, one)[0] == 1
    assert auc(high, low, one, one)[0] == 0
    assert auc(one, one, one, one)[0] == 0.5
    assert np.isnan(auc(low, high, 0 * one, one)[0])
    assert auc(low[:, :0], high[:, :0], one, one).shape == (1, 0)
    assert np.isnan(auc(low[:0], high, one[:0], one)).all() and np.isnan(auc(low, high[:0], one, one[:0])).all()


def test_whole_weights_are_exact_up_to_the_bound():
    rng = np.random.default_rng(1)
    smaller, larger = rng.integers(30, size=(200, 2)).astype(float), rng.integers(30, size=(200, 2)).astype(float)
    a, b = (rng.integers(1, 40, (200, 1)).astype(float) for _ in range(2))  # masses of about 4,000: their product is close to 2^24
    found = auc(smaller, larger, a, b)
    for column in range(2):
        won = sum(
            Fraction(int(x * y)) * (Fraction(1, 2) if value == other else int(value < other))
            for value, x in zip(smaller[:, column], a[:, 0], strict=True)
            for other, y in zip(larger[:, column], b[:, 0], strict=True)
        )
        assert abs(found[0, column] - float(won / Fraction(int(a.sum() * b.sum())))) < 1e-15


def test_any_layout_of_weights_will_do():
    rng = np.random.default_rng(2)
    near, far, a, b = rng.standard_normal((9, 2)), rng.standard_normal((7, 2)), rng.random((9, 3)), rng.random((7, 3))
    assert np.allclose(auc(near, far, a[::-1][::-1], np.asfortranarray(b)), auc(near, far, a, b), atol=0, rtol=0)
    assert np.allclose(auc(near[::-1], far, a[::-1], b), auc(near, far, a, b), atol=1e-15)
