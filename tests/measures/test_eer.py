"""Equal error rate against its definition, threshold by threshold, and against scikit-learn's curve."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from laminal.measures.bootstrap import multiplicities
from laminal.measures.eer import equal_error_rate, trial_errors


def ones(count):
    return np.ones((count, 1))


def slow(target, impostor):
    """Where the polyline of both rates crosses, by a fine grid on scikit-learn's points."""
    passed, hit, _ = roc_curve([1] * len(target) + [0] * len(impostor), np.r_[target, impostor], drop_intermediate=False)
    grid = np.linspace(0, 1, 200_001)
    return grid[np.abs(grid - np.interp(grid, passed, 1 - hit)).argmin()]


@pytest.mark.parametrize("decimals", [9, 1, 0])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 1.0, 5.0])
def test_it_is_where_the_rates_cross(shift, decimals):
    rng = np.random.default_rng(0)
    target, impostor = rng.normal(shift, 1, 83).round(decimals), rng.normal(0, 1, 211).round(decimals)
    found = equal_error_rate(target, impostor, ones(83), ones(211))[0]
    assert found == pytest.approx(slow(target, impostor), abs=2e-5)
    errors = trial_errors(target, impostor)
    assert errors[0].mean() == pytest.approx(found, abs=1e-12) and errors[1].mean() == pytest.approx(found, abs=1e-12)


def test_apart_alike_and_the_wrong_way_round():
    low, high = np.arange(5.0), np.arange(10.0, 17.0)
    assert equal_error_rate(high, low, ones(7), ones(5))[0] == 0
    assert equal_error_rate(low, high, ones(5), ones(7))[0] == 1
    assert equal_error_rate(np.zeros(5), np.zeros(7), ones(5), ones(7))[0] == 0.5
    assert [side.tolist() for side in trial_errors(high, low)] == [[0.0] * 7, [0.0] * 5]


def test_a_draw_is_the_rate_of_what_was_drawn():
    rng = np.random.default_rng(1)
    target, impostor = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 90).round(1)
    weights = multiplicities(40, 230, 2).T.copy(), multiplicities(90, 230, 3).T.copy()
    found = equal_error_rate(target, impostor, *weights)
    for draw in (0, 99, 100, 229):
        taken = [np.repeat(side, each[:, draw].astype(int)) for side, each in zip((target, impostor), weights)]
        assert found[draw] == pytest.approx(equal_error_rate(*taken, *(ones(len(each)) for each in taken))[0], abs=1e-12)
    weights[0][:, 5] = 0
    assert np.isnan(equal_error_rate(target, impostor, *weights)[5])
