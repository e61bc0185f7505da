"""Bootstrap by word types: weights against the loop, and intervals that hold what they should as often as they should."""

import numpy as np

from laminal.measures.bootstrap import (
    ends,
    half_widths,
    interval,
    jackknifed,
    multiplicities,
    pair_weights,
    stretched,
    student,
    t_spread,
    weighted_means,
)
from oracle_pairs import mean


def test_multiplicities_are_draws_with_replacement():
    counts = multiplicities(30, 4000, seed=1)
    assert (counts.sum(1) == 30).all()
    assert abs(counts.mean() - 1) < 1e-12 and abs(counts.var() - (1 - 1 / 30)) < 0.02
    np.testing.assert_array_equal(counts, multiplicities(30, 4000, seed=1))
    assert (counts != multiplicities(30, 4000, seed=2)).any()


def test_global_generators_are_not_drawn_from():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    multiplicities(5, 5, seed=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_means_under_a_draw_equal_copying_the_pairs():
    rng = np.random.default_rng(0)
    types, pairs = 12, 40
    a, b = rng.integers(types, size=pairs), rng.integers(types, size=pairs)
    values = rng.standard_normal((pairs, 2))
    counts = multiplicities(types, 20, seed=3)
    found = weighted_means(pair_weights(counts, a, b), values)
    for draw, times in enumerate(counts.astype(int)):
        copies = [values[p] for p in range(pairs) for _ in range(times[a[p]] if a[p] == b[p] else times[a[p]] * times[b[p]])]
        np.testing.assert_allclose(found[draw], np.mean(copies, axis=0), rtol=1e-12)


def test_undefined_draws_are_left_out_and_too_many_are_nan():
    draws = np.random.default_rng(0).standard_normal((1000, 3))
    draws[:20, 1] = np.nan
    draws[:100, 2] = np.nan
    low, high = interval(draws)
    np.testing.assert_allclose([low[0], high[0]], np.quantile(draws[:, 0], [0.025, 0.975]))
    np.testing.assert_allclose([low[1], high[1]], np.quantile(draws[20:, 1], [0.025, 0.975]))
    assert np.isnan(low[2]) and np.isnan(high[2])


def _held(effect_of_type: float, effect_of_pair: float, by_type: bool, trials: int = 200) -> float:
    """Share of trials in which the interval holds 0, the true mean; each word type sits in about six pairs."""
    held = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        types, pairs = 80, 240
        a = rng.integers(types, size=pairs)
        b = (a + rng.integers(1, types, size=pairs)) % types
        effects = rng.standard_normal(types) * effect_of_type
        values = effects[a] + effects[b] + rng.standard_normal(pairs) * effect_of_pair
        counts = multiplicities(types if by_type else pairs, 300, seed=trial)
        weights = pair_weights(counts, a, b) if by_type else counts.T.copy()
        low, high = interval(weighted_means(weights, values[:, None]))
        held += bool(low[0] <= 0 <= high[0])
    return held / trials


def test_interval_holds_the_truth_as_often_as_it_says():
    assert 0.90 <= _held(1.0, 0.3, by_type=True) <= 1.0


def test_it_is_wide_rather_than_narrow_where_pairs_are_independent():
    assert _held(0.0, 1.0, by_type=True) >= 0.95


def test_resampling_pairs_would_be_too_narrow():
    assert _held(1.0, 0.3, by_type=False) < 0.85


def test_a_mean_of_types_is_the_oracles():
    pairs = [("a", "b", 1.0), ("b", "a", 3.0), ("a", "c", 10.0)]
    assert mean(pairs) == 6.0 and mean(pairs, {"a": 1, "b": 1, "c": 1}) == 6.0


def test_few_clusters_widen_percentiles_by_t_and_their_own_spread():
    value, low, high = np.array([0.5, 0.0]), np.array([0.4, -0.1]), np.array([0.7, 0.1])
    for clusters, quantile in ((2, 12.7062), (6, 2.5706), (1000, 1.9623)):  # tables of Student's t
        factor = quantile / 1.95996 * np.sqrt(clusters / (clusters - 1))
        wide = stretched(value, low, high, clusters)
        np.testing.assert_allclose(wide[0], value - factor * (value - low), rtol=1e-4)
        np.testing.assert_allclose(wide[1], value + factor * (high - value), rtol=1e-4)
    rng = np.random.default_rng(0)
    held = {"percentiles": 0, "stretched": 0, "t": 0}
    for trial in range(400):
        values = rng.standard_normal(4)
        low, high = interval((multiplicities(4, 1000, trial) @ values / 4)[:, None])
        mean = values.mean(keepdims=True)
        wide = stretched(mean, low, high, 4)
        held["percentiles"] += bool(low[0] <= 0 <= high[0])
        held["stretched"] += bool(wide[0][0] <= 0 <= wide[1][0])
        held["t"] += bool(abs(mean[0]) <= half_widths(values[:, None])[0])
    assert held["percentiles"] < 0.86 * 400 and 0.9 * 400 < held["stretched"] <= 400 and 0.92 * 400 < held["t"] < 0.98 * 400


def test_half_widths_are_students():
    values = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    np.testing.assert_allclose(half_widths(values), [4.30265 * 2 / np.sqrt(3), 0.0], rtol=1e-5)
    assert abs(student(5) - 2.570582) < 1e-5


def test_a_single_cluster_has_no_interval_and_limits_cut():
    draws = np.full(1000, 0.3)
    assert np.isnan(ends(0.3, draws, 1)).all() and np.isnan(jackknifed(0.3, np.array([0.3]))).all()
    assert np.isnan(t_spread(draws[None], 1, 0)).all()
    spread = np.random.default_rng(0).normal(0.05, 0.05, 1000)
    low, high = ends(0.05, spread, 4, (0.0, 1.0))
    assert low == 0 and high > np.quantile(spread, 0.975)
    assert jackknifed(0.9, np.array([0.7, 1.1, 0.9]), (0.0, 1.0)) == (0.0, 1.0)


def test_draws_that_leave_their_value_out_are_widened_to_it():
    low, high = ends(0.45, np.linspace(0.5, 0.6, 1000), 8)
    assert low == 0.45 and high > 0.5975
    assert np.isnan(ends(0.45, np.full(1000, np.nan), 8)).all()


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).standard_normal(9)
    without = (values.sum() - values) / 8
    low, high = jackknifed(values.mean(), without)
    half = half_widths(values[:, None])[0]
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half])


def test_equals_are_told_apart_as_often_as_p_says():
    told = {"percentiles": 0, "as t": 0}
    for trial in range(600):
        values = np.random.default_rng(trial).standard_normal(5)
        draws = np.concatenate([np.ones((1, 5)), multiplicities(5, 500, trial)]) @ values / 5
        for name, each in (("percentiles", draws), ("as t", t_spread(draws, 5, trial))):
            told[name] += (1 + (np.abs(each[1:] - each[0]) >= abs(each[0])).sum()) / 501 <= 0.01
    assert told["percentiles"] > 0.05 * 600 and told["as t"] < 0.025 * 600


def test_draws_of_several_runs_are_spread_together_and_the_sample_stays():
    draws = np.random.default_rng(0).standard_normal((2, 3, 400))
    found = t_spread(draws, 6, 1)
    np.testing.assert_array_equal(found[..., 0], draws[..., 0])
    factor = (found - found[..., :1])[..., 1:] / (draws - draws[..., :1])[..., 1:]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:1, :1], factor.shape))
    assert 1.2 < np.sqrt((factor**2).mean()) / np.sqrt(6 / 5) < 1.4  # t of 5 degrees of freedom has variance 5 / 3
