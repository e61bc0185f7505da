import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle_cca
from laminal.errors import DataError, RequestError
from laminal.measures.cca import CcaStats, fold_of_groups, heldout_pwcca, merged, pwcca

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "pwcca.json").read_text())
CASES = {case["id"]: case for case in FIXTURE["cases"]}
LOOSE = ("rank_deficient_X", "constant_column")
pytestmark = pytest.mark.filterwarnings("ignore:PWCCA of n=")
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def shared(seed, n, k, p, q, s=0.7):
    r = np.random.default_rng(seed)
    z = r.standard_normal((n, k))
    x = z @ r.standard_normal((k, p)) + s * r.standard_normal((n, p))
    return x, z @ r.standard_normal((k, q)) + s * r.standard_normal((n, q))


def smoothed(r, columns):
    return np.stack([np.convolve(col, np.ones(9) / 9, mode="valid") for col in r.standard_normal((508, columns)).T], 1)


def views(name):
    """X and Y of a fixture by its recipe."""
    square = shared(1, 400, 3, 6, 6)
    match name:
        case "indep_small" | "inflation_n_near_p_plus_q":
            seed, n, p, q = (0, 200, 5, 8) if name == "indep_small" else (6, 140, 60, 70)
            r = np.random.default_rng(seed)
            return r.standard_normal((n, p)), r.standard_normal((n, q))
        case "shared_square":
            return square
        case "offset_invariance":
            return square[0] + 5.0, square[1]
        case "sample_permutation":
            order = np.random.default_rng(99).permutation(400)
            return square[0][order], square[1][order]
        case "column_scaled":
            return square[0] * np.logspace(2, -2, 6), square[1]
        case "p_gt_q":
            return shared(2, 400, 3, 9, 4)
        case "p_lt_q":
            return shared(3, 400, 3, 4, 9)
        case "invertible_map":
            r = np.random.default_rng(4)
            x = r.standard_normal((300, 6))
            return x, x @ r.standard_normal((6, 6))
        case "rank_deficient_X":
            r = np.random.default_rng(5)
            z = r.standard_normal((300, 4))
            x = z @ r.standard_normal((4, 12))
            return x, z @ r.standard_normal((4, 6)) + 0.5 * r.standard_normal((300, 6))
        case "autocorrelated_indep":
            r = np.random.default_rng(7)
            return smoothed(r, 10), smoothed(r, 12)
        case "constant_column":
            r = np.random.default_rng(8)
            x = r.standard_normal((150, 5))
            x[:, 2] = 3.0
            return x, x[:, [0, 1, 3]] + 0.8 * r.standard_normal((150, 3))
    raise AssertionError(name)


def check(found, expected, side, tolerance, name):
    assert found.rank == expected["n_corr"] == len(found.rho)
    np.testing.assert_allclose(found.rho, expected["rho"], atol=tolerance)
    assert found.pwcca == pytest.approx(expected[f"pwcca_{side}"], abs=tolerance)
    if name != "invertible_map":  # its correlations are tied
        np.testing.assert_allclose(found.weights, expected[f"weights_{side}"], atol=max(tolerance, 1e-7))


@pytest.mark.parametrize("name", CASES)
def test_published_definition(name):
    case, (x, y) = CASES[name], views(name)
    for side, given_view in (("X", x), ("Y", y)):  # the recipe is the fixture's
        about = case[f"check_{side}"]
        assert list(given_view.shape) == about["shape"]
        np.testing.assert_allclose(given_view.ravel()[:3], about["first3"], rtol=1e-9)
        assert np.square(given_view).sum() == pytest.approx(about["sumsq"], rel=1e-9)
    tolerance = 1e-7 if name in LOOSE else 1e-8
    check(pwcca(x, y), case["expected"], "x", tolerance, name)
    check(pwcca(torch.from_numpy(y), torch.from_numpy(x)), case["expected"], "y", tolerance, name)


@pytest.mark.parametrize("name", CASES)
def test_shards_merge_to_the_same_values(name):
    x, y = views(name)
    cuts = [0, 1, 57, 57, 90, len(x)]  # one sample, and none, are shards too
    for size in (cuts, [0, len(x)]):
        stats = merged([CcaStats.of(x[a:b], y[a:b]) for a, b in zip(size[:-1], size[1:])])
        assert stats.n == len(x)
        check(stats.pwcca(), CASES[name]["expected"], "x", 1e-7, name)


@pytest.mark.parametrize("name", ["shared_square", "p_gt_q", "p_lt_q", "rank_deficient_X", "constant_column"])
def test_against_projection_matrices(name):
    x, y = views(name)
    rho, _, weights, value = oracle_cca.pwcca(x, y)
    found = pwcca(x, y)
    np.testing.assert_allclose(found.rho, rho, atol=1e-7)
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)
    assert found.pwcca == pytest.approx(value, abs=1e-7)


@QUICK
@given(seed=st.integers(0, 10**6), p=st.integers(1, 7), q=st.integers(1, 7), offset=st.floats(-1e3, 1e3))
def test_order_offsets_and_maps_change_nothing(seed, p, q, offset):
    x, y = shared(seed, 60, 2, p, q)
    r = np.random.default_rng(seed)
    order = r.permutation(len(x))
    once, again = pwcca(x, y), pwcca(x[order] + offset, y[order] - offset)
    np.testing.assert_allclose(again.rho, once.rho, atol=1e-8)
    assert again.pwcca == pytest.approx(once.pwcca, abs=1e-8)
    turn = np.linalg.qr(r.standard_normal((q, q)))[0] * r.uniform(0.5, 2, q)  # any invertible map of the side that does not weigh
    assert pwcca(x, y @ turn).pwcca == pytest.approx(once.pwcca, abs=1e-8)
    mapped = pwcca(x @ (np.linalg.qr(r.standard_normal((p, p)))[0] * r.uniform(0.5, 2, p)), y)
    np.testing.assert_allclose(mapped.rho, once.rho, atol=1e-8)  # of x, too, but for the weights
    assert 0 <= once.pwcca <= 1 and once.weights.sum() == pytest.approx(1)


@QUICK
@given(seed=st.integers(0, 10**6), p=st.integers(1, 6), q=st.integers(1, 6), more=st.integers(1, 5), constant=st.floats(-1e3, 1e3))
def test_dependent_and_constant_columns_add_nothing(seed, p, q, more, constant):
    x, y = shared(seed, 60, 2, p, q)
    r = np.random.default_rng(seed)
    once = pwcca(x, y)

    def wider(view):
        return np.column_stack([view, view @ r.standard_normal((view.shape[1], more)), np.full(len(view), constant)])

    again = pwcca(x, wider(y))
    np.testing.assert_allclose(again.rho, once.rho, atol=1e-7)
    assert again.pwcca == pytest.approx(once.pwcca, abs=1e-7) and again.rank == once.rank == min(p, q)
    deficient = pwcca(wider(x), wider(y))  # of x they change the weights alone
    np.testing.assert_allclose(deficient.rho, once.rho, atol=1e-7)
    assert deficient.rank == min(p, q) and 0 <= deficient.pwcca <= 1
    still = pwcca(np.column_stack([x, np.full(60, constant)]), y)
    assert still.pwcca == pytest.approx(once.pwcca, abs=1e-8)
    for sides in ((x, wider(y)), (wider(x), wider(y))):
        in_one, parts = pwcca(*sides), CcaStats.of(sides[0][:23], sides[1][:23]) + CcaStats.of(sides[0][23:], sides[1][23:])
        assert parts.pwcca().rank == in_one.rank and parts.pwcca().pwcca == pytest.approx(in_one.pwcca, abs=1e-6)
    groups = np.arange(60) // 4
    assert heldout_pwcca(x, wider(y), groups, 3, None).pwcca == pytest.approx(heldout_pwcca(x, y, groups, 3, None).pwcca, abs=1e-6)


@QUICK
@given(seed=st.integers(0, 10**6), p=st.integers(12, 30), extra=st.integers(1, 3))
def test_independent_views_with_n_near_p_plus_q_score_high_in_sample_and_near_0_held_out(seed, p, extra):
    r = np.random.default_rng(seed)
    n = 2 * p + extra
    x, y = r.standard_normal((n, p)), r.standard_normal((n, p))
    with pytest.warns(UserWarning, match=rf"n={n} samples in {p} \+ {p} dimensions is inflated: below {20 * p}"):
        assert pwcca(x, y).pwcca > 0.5
    many = [heldout_pwcca(r.standard_normal((n, p)), r.standard_normal((n, p)), np.arange(n), 2, 4).pwcca for _ in range(40)]
    assert abs(np.mean(many)) < min(0.25, 7 * np.std(many) / np.sqrt(40)) and min(many) < 0 < max(many)


@QUICK
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 60))
def test_merging_is_associative_and_takes_any_order(seed, cut):
    x, y = shared(seed, 60, 2, 4, 3)
    a, b = CcaStats.of(x[:cut], y[:cut]), CcaStats.of(x[cut:], y[cut:])
    for stats in (a + b, b + a, CcaStats.of(x, y)):
        assert stats.pwcca().pwcca == pytest.approx(pwcca(x, y).pwcca, abs=1e-9)


def test_far_from_zero_and_ill_conditioned():
    x, y = shared(3, 4000, 3, 8, 6)
    far = CcaStats.of(x[:100] + 1e6, y[:100] - 1e6) + CcaStats.of(x[100:] + 1e6, y[100:] - 1e6)
    assert far.pwcca().pwcca == pytest.approx(pwcca(x, y).pwcca, abs=1e-7)
    r = np.random.default_rng(0)
    for condition, tolerance in ((1e3, 1e-9), (1e5, 1e-5)):  # the documented limit
        base = r.standard_normal((4000, 8))
        turn = np.linalg.qr(r.standard_normal((8, 8)))[0]
        near = base * np.logspace(0, -np.log10(condition), 8) @ turn
        assert CcaStats.of(near, y).pwcca().pwcca == pytest.approx(pwcca(near, y).pwcca, abs=tolerance)
    lost = np.column_stack([base[:, 0], base[:, 0] + 1e-8 * base[:, 1]])  # beyond it: dropped here, kept there
    assert CcaStats.of(lost, y).pwcca().rank == 1 and pwcca(lost, y).rank == 2


def test_few_samples_are_inflated_in_sample_and_not_held_out():
    x, y = views("inflation_n_near_p_plus_q")
    with pytest.warns(UserWarning, match=r"n=140 samples in 60 \+ 70 dimensions is inflated: below 1300"):
        assert pwcca(x, y).pwcca > 0.6
    with pytest.warns(UserWarning, match="n=140"):
        assert CcaStats.of(x, y).pwcca().pwcca > 0.6
    values = [heldout_pwcca(x, np.random.default_rng(s).standard_normal(y.shape), np.arange(140) // 7, 5, 10).pwcca for s in range(20)]
    assert abs(np.mean(values)) < 0.03 and np.min(values) < 0 < np.max(values)  # either sign
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pwcca(*views("indep_small"))  # 200 samples, 13 dimensions


@pytest.mark.parametrize(("p", "q", "rank"), [(6, 6, None), (9, 4, None), (4, 9, None), (9, 7, 3), (12, 6, 5)])
def test_heldout_against_fold_by_fold(p, q, rank):
    x, y = views("rank_deficient_X") if p == 12 else shared(5, 300, 3, p, q)
    groups = np.arange(300) // 15
    names, sizes = list(range(20)), [15] * 20
    folds = fold_of_groups(names, sizes, 5)[groups]
    found = heldout_pwcca(x, y, groups, 5, rank)
    if rank != 5:  # there x has 4 directions
        assert found.rank == min(p, q, rank or 99)
    assert found.pwcca == pytest.approx(oracle_cca.heldout(x, y, folds, 5, rank), abs=1e-6)


def test_heldout_of_a_copy_is_one_and_of_a_mirror_too():
    x, _ = shared(6, 300, 4, 6, 5)
    turn = np.random.default_rng(0).standard_normal((6, 6))
    found = heldout_pwcca(x, x @ turn, np.arange(300) // 10, 5, None)
    assert found.pwcca == pytest.approx(1, abs=1e-9) and found.rank == 6
    assert heldout_pwcca(x, -x, np.arange(300) // 10, 5, 3).pwcca == pytest.approx(1, abs=1e-9)


def test_a_correlation_that_turns_round_in_new_tracks_is_negative():
    r = np.random.default_rng(0)
    x = r.standard_normal((200, 1))
    groups = np.repeat([0, 1], 100)
    y = np.where(groups == 0, 1.0, -1.0)[:, None] * x
    assert heldout_pwcca(x, y, groups, 2, None).pwcca == pytest.approx(-1, abs=1e-9)


def test_at_one_rank_what_a_view_lacks_counts_as_nothing():
    x, _ = shared(7, 400, 6, 6, 2, s=0.01)
    groups = np.arange(400) // 20
    first = x @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:1].T  # the widest axis of x alone
    alone, equal = heldout_pwcca(x, first, groups, 5, None), heldout_pwcca(x, first, groups, 5, 6)
    assert alone.pwcca > 0.99 and len(alone.rho) == 1
    assert equal.rank == 1 and len(equal.rho) == 6 and (equal.rho[1:] == 0).all()
    assert equal.pwcca == pytest.approx(float(equal.weights[0]), abs=1e-3)


def test_groups_stay_together_and_their_order_does_not_matter():
    sizes = [10, 50, 20, 20, 30, 5]
    found = fold_of_groups(list("abcdef"), sizes, 3)
    assert sorted(np.bincount(found, weights=sizes)) == [45, 45, 45] or np.ptp(np.bincount(found, weights=sizes)) <= 10
    back = fold_of_groups(list("fedcba"), sizes[::-1], 3)[::-1]
    np.testing.assert_array_equal(found, back)
    x, y = shared(8, 135, 2, 4, 4)
    labels = np.repeat(list("abcdef"), sizes)
    order = np.random.default_rng(0).permutation(135)
    once, again = heldout_pwcca(x, y, labels, 3, 2), heldout_pwcca(x[order], y[order], labels[order].tolist(), 3, 2)
    assert again.pwcca == pytest.approx(once.pwcca, abs=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "error", "says"),
    [
        (np.ones((5, 2)), np.ones((4, 2)), RequestError, "x has 5 samples and y 4"),
        (np.ones(5), np.ones((5, 2)), RequestError, r"x has shape \(5,\)"),
        (np.full((5, 2), np.nan), np.ones((5, 2)), DataError, "x is not finite at sample 0, column 0"),
        (np.eye(5), np.where(np.eye(5) == 1, np.inf, 0), DataError, "y is not finite at sample 0, column 0"),
        (np.eye(5), np.full((5, 2), 0.1), DataError, "y does not vary over 5 samples"),
        (np.ones((1, 2)), np.ones((1, 2)), RequestError, "2 or more"),
    ],
)
def test_what_has_no_value_is_refused_in_a_line(x, y, error, says):
    with pytest.raises(error, match=says):
        pwcca(x, y)
    if len(x) == len(y) and x.ndim == 2 and len(x) > 1:
        with pytest.raises(error, match=says):
            CcaStats.of(x, y).pwcca()


def test_heldout_refuses_folds_without_groups():
    x, y = shared(9, 30, 2, 3, 3)
    with pytest.raises(RequestError, match="5 folds of 3 groups"):
        heldout_pwcca(x, y, np.arange(30) // 10, 5, None)
    with pytest.raises(RequestError, match="29 groups for 30 samples"):
        heldout_pwcca(x, y, np.arange(29), 5, None)
    with pytest.raises(RequestError, match="rank=0"):
        heldout_pwcca(x, y, np.arange(30), 5, 0)
    with pytest.raises(RequestError, match="cannot be merged"):
        CcaStats.of(x, y) + CcaStats.of(x, y[:, :2])


@pytest.mark.parametrize(("groups", "fewest"), [(60, 1), (30, 2)])
def test_heldout_refuses_folds_of_one_or_two_samples(groups, fewest):
    x = np.random.default_rng(0).standard_normal((60, 3))
    with pytest.raises(RequestError, match=f"folds={groups}: a fold has {fewest} of 60 samples, and a correlation needs 3"):
        heldout_pwcca(x, x, np.arange(60) % groups, groups, 2)
    assert heldout_pwcca(x, x, np.arange(60) % 20, 20, 2).pwcca == pytest.approx(1)  # three


def test_ranks_are_whole_numbers_and_lists_are_taken():
    x, y = shared(10, 60, 2, 3, 4)
    groups = np.arange(60) // 6
    assert heldout_pwcca(x, y, groups, 5, [2, 3]).pwcca == heldout_pwcca(x, y, groups, 5, (2, 3)).pwcca
    assert heldout_pwcca(x, y, groups, 5, (None, None)).pwcca == heldout_pwcca(x, y, groups, 5, None).pwcca
    for rank in (2.0, "ab", [2], (0, 1), (1, 2, 3), True):
        with pytest.raises(RequestError, match="a whole number, or a pair of them"):
            heldout_pwcca(x, y, groups, 5, rank)


def test_half_precision_and_what_is_no_number():
    x, y = shared(11, 60, 2, 3, 4)
    half = torch.from_numpy(x).bfloat16()
    assert pwcca(half, y).pwcca == pytest.approx(pwcca(half.float().numpy(), y).pwcca)
    assert pwcca(torch.from_numpy(x).requires_grad_(), y).pwcca == pwcca(x, y).pwcca
    with pytest.raises(RequestError, match="x is no array of real numbers"):
        pwcca([["a"]], [["b"]])
