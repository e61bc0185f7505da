import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from laminal.errors import DataError, RequestError
from laminal.measures.cka import CkaStats, gram, linear_cka, minibatch_cka, pseudo_values, rbf_cka, similarity, unit
from laminal.measures.partial import complement, hollow, hollowing, within
from laminal.measures.permutations import merged, permutations, permuted_products
from oracle_cka import hsic_biased, hsic_by_quadruples, hsic_by_sums, inner, leave_one_out, ratio, rbf

FIXTURES = json.loads((Path(__file__).parents[1] / "fixtures" / "cka.json").read_text())
CASES = {case["id"]: case for case in FIXTURES["cases"]}


def latent(seed=11, n=200, k=4, p=16, q=24, s=0.5):
    r = np.random.default_rng(seed)
    z = r.standard_normal((n, k))
    x = z @ r.standard_normal((k, p)) + s * r.standard_normal((n, p))
    return x, z @ r.standard_normal((k, q)) + s * r.standard_normal((n, q))


def made(case):
    """Inputs of a fixture, by its recipe."""
    match case["id"]:
        case "kornblith_demo":
            r = np.random.RandomState(1337)  # what np.random.seed(1337) draws from
            x = r.randn(100, 10)
            return x, r.randn(100, 10) + x
        case "indep_small":
            r = np.random.default_rng(10)
            return r.standard_normal((100, 10)), r.standard_normal((100, 12))
        case "shared_latent":
            return latent()
        case "scale_offset":
            x, y = latent()
            return 3.7 * x - 2, y + 11
        case "orthogonal_rotation":
            x, y = latent()
            return x @ np.linalg.qr(np.random.default_rng(12).standard_normal((16, 16)))[0], y
        case "n_lt_d_independent":
            r = np.random.default_rng(13)
            return r.standard_normal((60, 512)), r.standard_normal((60, 256))
        case "seed001_like_independent":
            r = np.random.default_rng(14)
            return r.standard_normal((500, 512)) * np.arange(1, 513) ** -0.5, r.standard_normal((500, 1024))
        case "identity":
            x = np.random.default_rng(15).standard_normal((80, 7))
            return x, x.copy()
        case "tiny_n_le_d":
            r = np.random.default_rng(16)
            return r.standard_normal((6, 3)), r.standard_normal((6, 2))
    raise AssertionError(case["id"])


@pytest.mark.parametrize("name", list(CASES))
def test_every_number_of_the_fixtures(name):
    case = CASES[name]
    x, y = made(case)
    for side, check in ((x, "check_X"), (y, "check_Y")):
        if check in case:
            assert list(side.shape) == case[check]["shape"] and side.sum() == pytest.approx(case[check]["sum"], abs=1e-6)
    compared = 0
    for key, value in case["expected"].items():
        if key.startswith("linear"):
            found = linear_cka(x, y, debiased=key.endswith("debiased"))
            assert CkaStats.of(x, y).cka(key.endswith("debiased")) == pytest.approx(value, abs=1e-9)
            assert similarity(gram(x), gram(y), key.endswith("debiased")) == pytest.approx(value, abs=1e-9)
        elif key.startswith("rbf"):
            found = rbf_cka(x, y, float(key.rpartition("_")[2]))
        elif key.startswith("minibatch"):
            found = minibatch_cka(x, y, int(key.rpartition("_")[2]))
        else:
            continue
        assert found == pytest.approx(value, abs=1e-9), key
        compared += 1
    assert compared >= 2
    if "perm20_biased" in case["expected"]:
        check_permutations(x, y, case["expected"])


def check_permutations(x, y, expected):
    r = np.random.default_rng(123)
    drawn = np.stack([r.permutation(len(x)) for _ in range(20)])
    for kind in ("biased", "debiased"):
        found = permuted_products([unit(gram(x), kind == "debiased")], unit(gram(y), kind == "debiased"), drawn)[:, 0]
        np.testing.assert_allclose(found, expected[f"perm20_{kind}"], atol=1e-9)
    found = permuted_products([unit(gram(x), False)], unit(gram(y), False), drawn)[:, 0]
    value = linear_cka(x, y, debiased=False)
    assert (1 + (found >= value).sum()) / 21 == pytest.approx(expected["p_value_biased_add_one"])


def test_debiased_hsic_is_the_u_statistic_over_quadruples():
    r = np.random.default_rng(0)
    x, y = r.standard_normal((7, 3)), r.standard_normal((7, 2))
    y[:, 0] += x[:, 1]
    k, m = inner(x), inner(y)
    assert linear_cka(x, y) == pytest.approx(ratio(hsic_by_quadruples, k, m), abs=1e-12)
    assert linear_cka(x, y) == pytest.approx(ratio(hsic_by_sums, k, m), abs=1e-12)
    assert linear_cka(x, y, debiased=False) == pytest.approx(ratio(hsic_biased, k, m), abs=1e-12)
    for threshold in (1.0, 0.5):
        k, m = rbf(x, threshold), rbf(y, threshold)
        assert rbf_cka(x, y, threshold) == pytest.approx(ratio(hsic_biased, k, m), abs=1e-12)
        assert rbf_cka(x, y, threshold, debiased=True) == pytest.approx(ratio(hsic_by_quadruples, k, m), abs=1e-12)


def test_both_forms_agree_where_n_is_below_and_above_d():
    r = np.random.default_rng(1)
    for n, p, q in ((40, 12, 7), (12, 40, 30), (30, 31, 5), (31, 30, 5)):
        x, y = r.standard_normal((n, p)), r.standard_normal((n, q))
        y[:, :3] += x[:, :3]
        for debiased, hsic in ((True, hsic_by_sums), (False, hsic_biased)):
            assert linear_cka(x, y, debiased) == pytest.approx(ratio(hsic, x @ x.T, y @ y.T), abs=1e-10), (n, p, q)


rows = st.integers(5, 24)


@st.composite
def spaces(draw):
    n, p, q = draw(rows), draw(st.integers(1, 30)), draw(st.integers(1, 30))
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, y = r.standard_normal((n, p)), r.standard_normal((n, q))
    y[:, 0] += draw(st.floats(0, 2)) * x[:, 0]
    return x, y, r


def measures(x, y):
    return [linear_cka(x, y), linear_cka(x, y, debiased=False), rbf_cka(x, y), rbf_cka(x, y, 0.7, debiased=True)]


@settings(max_examples=60, deadline=None)
@given(spaces(), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_order_offset_rotation_and_scale_change_nothing(made, scale, offset):
    x, y, r = made
    plain = measures(x, y)
    order = r.permutation(len(x))
    turn = np.linalg.qr(r.standard_normal((x.shape[1], x.shape[1])))[0]
    np.testing.assert_allclose(measures(x[order], y[order]), plain, atol=1e-9)
    np.testing.assert_allclose(measures(x + offset, y - 3 * offset), plain, atol=1e-8)
    np.testing.assert_allclose(measures(x @ turn, y), plain, atol=1e-9)
    np.testing.assert_allclose(measures(scale * x, y / scale), plain, atol=1e-9)
    np.testing.assert_allclose(measures(y, x), plain, atol=1e-12)
    np.testing.assert_allclose(measures(x, scale * x @ turn + offset), 1, atol=1e-7)
    assert all(-1 <= each <= 1 for each in plain)


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(1, 5), st.floats(-100, 100))
def test_constant_and_rotated_columns_in_more_dimensions_change_nothing(made, more, constant):
    x, y, r = made
    plain = measures(x, y)
    np.testing.assert_allclose(measures(np.column_stack([x, np.full((len(x), more), constant)]), y), plain, atol=1e-8)
    wide = np.linalg.qr(r.standard_normal((x.shape[1] + more, x.shape[1] + more)))[0][: x.shape[1]]  # rank deficient: p + more columns
    np.testing.assert_allclose(measures(x @ wide, y), plain, atol=1e-8)
    found = CkaStats.of(x[:3] @ wide, y[:3]) + CkaStats.of(x[3:] @ wide, y[3:])
    assert found.cka() == pytest.approx(plain[0], abs=1e-8) and found.cka(False) == pytest.approx(plain[1], abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float64, (9, 3), elements=st.floats(-5, 5)), st.integers(0, 10**6))
def test_hostile_values_are_defined_or_refused_never_nan(x, seed):
    y = np.random.default_rng(seed).standard_normal((9, 4))
    for debiased in (True, False):
        try:
            assert math.isfinite(linear_cka(x, y, debiased))
        except DataError as error:
            assert "undefined" in str(error)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.lists(st.integers(1, 23), min_size=1, max_size=3), st.sampled_from([0.0, 1.0, 1e4]))
def test_shards_give_the_value_of_all_rows(made, cuts, offset):
    x, y, r = made
    x, y = x + offset, y - offset * np.arange(y.shape[1])
    edges = sorted({0, len(x), *(cut for cut in cuts if cut < len(x))})
    shards = [CkaStats.of(x[a:b], y[a:b]) for a, b in zip(edges[:-1], edges[1:])]
    total = shards[-1]
    for shard in shards[-2::-1]:
        total = total + shard  # merged in another order than the rows have
    for debiased in (True, False):
        assert total.cka(debiased) == pytest.approx(similarity(gram(x), gram(y), debiased), abs=1e-9)
    assert total.n == len(x)


def test_shards_far_apart_keep_their_value():
    r = np.random.default_rng(5)
    x, y = r.standard_normal((400, 8)), r.standard_normal((400, 5))
    y[:, 0] += x[:, 0]
    x[200:] += 1e5  # two groups, 1e5 spreads apart: the value is that of the groups, and both forms see it
    total = CkaStats.of(x[:150], y[:150]) + CkaStats.of(x[150:], y[150:])
    assert total.cka() == pytest.approx(similarity(gram(x), gram(y)), abs=1e-9)


def test_torch_and_numpy_of_any_precision_agree():
    x, y = latent()
    plain = linear_cka(x, y)
    assert linear_cka(torch.from_numpy(x), torch.from_numpy(y)) == plain
    x32, y32 = torch.from_numpy(x).float(), torch.from_numpy(y).float().requires_grad_()
    assert linear_cka(x32, y32) == linear_cka(x32.double().numpy(), y32.detach().double().numpy())
    assert abs(linear_cka(x32 + 1e3, y32) - plain) < 1e-4


def test_independent_features_score_zero_on_average_and_the_biased_value_does_not():
    r = np.random.default_rng(2)
    drawn = [(r.standard_normal((40, 60)), r.standard_normal((40, 30))) for _ in range(200)]
    found = [[linear_cka(x, y), linear_cka(x, y, False)] for x, y in drawn]
    debiased, biased = np.mean(found, 0)
    spread = np.std(found, 0)[0] / math.sqrt(200)
    assert abs(debiased) < 3 * spread + 0.003 and biased > 0.5


@pytest.mark.parametrize("x,said", [
    (np.ones((20, 3)), "do not vary"), (np.full((20, 30), 3.7), "do not vary"), (np.eye(20), "equally far"),
])  # fmt: skip
def test_a_self_similarity_of_zero_is_undefined(x, said):
    y = np.random.default_rng(0).standard_normal((20, 5))
    with pytest.raises(DataError, match="undefined"):
        linear_cka(x + 0.25, y)
    with pytest.raises(DataError, match="undefined"):
        linear_cka(y, x * 1e3 + 1e3)
    if said == "do not vary":
        for kind in (lambda a, b: linear_cka(a, b, False), rbf_cka, lambda a, b: minibatch_cka(a, b, 5)):
            with pytest.raises(DataError, match="undefined"):
                kind(x, y)


def test_bad_input_says_the_rule():
    x = np.random.default_rng(0).standard_normal((10, 3))
    with pytest.raises(RequestError, match="10 and 9 rows"):
        linear_cka(x, x[:9])
    with pytest.raises(DataError, match="2 of 10 rows .* NaN or infinity"):
        bad = x.copy()
        bad[3, 1], bad[7] = np.nan, np.inf
        linear_cka(bad, x)
    for few in (x[:3], x[:1]):
        with pytest.raises(DataError, match="at least 4"):
            linear_cka(few, few)
    with pytest.raises(DataError, match="no whole batch"):
        minibatch_cka(x, x, 11)
    with pytest.raises(RequestError, match="batch=3"):
        minibatch_cka(x, x, 3)
    with pytest.raises(DataError, match="median distance"):
        rbf_cka(np.repeat([[0.0], [1.0]], [9, 1], 0), x)
    with pytest.raises(RequestError, match="shards"):
        CkaStats.of(x, x) + CkaStats.of(x, x[:, :2])


@pytest.mark.parametrize("debiased,hsic", [(True, hsic_by_sums), (False, hsic_biased)])
def test_pseudo_values_are_the_jackknife(debiased, hsic):
    x, y = latent(n=30, p=5, q=9)
    k, m = gram(x), gram(y)
    found = pseudo_values(k, m, debiased)
    left = leave_one_out(k, m, hsic)
    np.testing.assert_allclose(found - found.mean(), 29 * (left.mean() - left), atol=1e-9)
    assert found.mean() == pytest.approx(linear_cka(x, y, debiased), abs=1e-12)


def test_permutations_stay_in_their_stratum_and_move_within_it():
    strata = np.array([0, 0, 1, 1, 1, 2, 0, 2])
    drawn = permutations(8, 500, 3, strata)
    assert drawn.shape == (500, 8) and (np.sort(drawn, 1) == np.arange(8)).all()
    assert (strata[drawn] == strata).all()
    assert all(len({int(value) for value in drawn[:, place]}) == (strata == strata[place]).sum() for place in range(8))
    plain = permutations(8, 4000, 3)
    share = np.stack([(plain == value).mean(0) for value in range(8)])
    assert abs(share - 1 / 8).max() < 0.03
    assert (permutations(8, 4000, 3) == plain).all() and (permutations(8, 4000, 4) != plain).any()


def test_strata_of_rare_lengths_are_merged():
    lengths = np.array([3] * 5 + [4] * 9 + [5] * 1 + [6] * 2 + [7] * 8 + [9] * 2)
    found = merged(lengths, 5)
    assert [sorted({int(length) for length in lengths[found == each]}) for each in np.unique(found)] == [[3], [4], [5, 6, 7, 9]]
    assert len(np.unique(merged(np.array([1, 2, 3]), 5))) == 1


def test_the_null_of_many_layers_is_the_loop(monkeypatch):
    r = np.random.default_rng(4)
    layers = [r.standard_normal((25, width)) for width in (3, 40, 8, 5, 9)]
    y = r.standard_normal((25, 6))
    drawn = permutations(25, 30, 0)
    slow = [[linear_cka(x, y[order]) for x in layers] for order in drawn]
    units = [unit(gram(x), True) for x in layers]
    np.testing.assert_allclose(permuted_products(units, unit(gram(y), True), drawn), slow, atol=1e-12)
    monkeypatch.setattr("laminal.measures.permutations.BATCH_BYTES", 8 * 325 * 7)  # 7 permutations, then 2 layers, at once
    monkeypatch.setattr("laminal.measures.permutations.ROW_BYTES", 8 * 325 * 2)
    np.testing.assert_allclose(permuted_products(units, unit(gram(y), True), drawn), slow, atol=1e-12)


def test_hollow_kernels_of_a_constant_are_u_centred():
    kernel = gram(np.random.default_rng(0).standard_normal((40, 5)))
    basis = complement(np.zeros((40, 0)))
    found = basis @ hollow(kernel, basis, hollowing(basis)) @ basis.T
    rows, total = kernel - np.diag(np.diag(kernel)), 0.0
    total = rows.sum()
    for i in range(40):
        for j in range(40):
            centred = rows[i, j] - rows[i].sum() / 38 - rows[:, j].sum() / 38 + total / (39 * 38)
            assert abs(found[i, j] - (0.0 if i == j else centred)) < 1e-9


def test_hollow_kernels_have_no_diagonal_and_nothing_of_what_was_taken_out():
    random = np.random.default_rng(1)
    given = np.column_stack([random.standard_normal((90, 20)), np.eye(90)[:, :3]])  # three items are explained wholly
    kernel, basis = gram(random.standard_normal((90, 8))), complement(given)
    found = basis @ hollow(kernel, basis, hollowing(basis)) @ basis.T
    assert np.abs(np.diag(found)).max() < 1e-7 and np.abs(found @ given).max() < 1e-7 and np.abs(found).max() > 0.1


def test_hollow_kernels_are_not_fooled_by_items_heard_more_exactly():
    random = np.random.default_rng(2)
    given, exact = random.standard_normal((120, 60)), random.uniform(0.3, 3, (120, 1))
    basis = complement(given)
    inverse, turned, hollowed = hollowing(basis), [], []
    for _ in range(40):
        a, b = (gram(given @ random.standard_normal((60, 10)) + exact * random.standard_normal((120, 10))) for _ in range(2))
        turned.append((unit(within(a, basis), True) * unit(within(b, basis), True)).sum())
        sides = [hollow(each, basis, inverse) for each in (a, b)]
        hollowed.append((sides[0] * sides[1]).sum() / np.linalg.norm(sides[0]) / np.linalg.norm(sides[1]))
    error = np.std(hollowed) / 40**0.5
    assert np.mean(turned) > 5 * error and abs(np.mean(hollowed)) < 4 * error
