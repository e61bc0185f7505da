import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from laminal.measures.abx import abx_score, angular_dtw
from laminal.measures.edits import normalised_edits, repeats_removed
from laminal.measures.units import joint_counts, perplexity, unit_quality

FIXTURES = json.loads((Path(__file__).parents[1] / "fixtures" / "misc.json").read_text())


def test_pnmi_and_purities_of_the_fixture():
    case = FIXTURES["pnmi"]
    found = unit_quality(np.array(case["joint_counts_phones_by_units"]))
    assert found.pnmi == pytest.approx(case["pnmi_exact"], abs=1e-11)
    assert found.phone_purity == pytest.approx(case["phone_purity"]) and found.cluster_purity == pytest.approx(case["cluster_purity"])


def test_joint_counts_and_quality_against_a_loop():
    rng = np.random.default_rng(3)
    phones, units = rng.integers(0, 5, 400), rng.integers(0, 11, 400)
    joint = joint_counts(phones, units, 6, 12)
    pairs = Counter(zip(phones.tolist(), units.tolist()))
    assert all(joint[p, u] == pairs[p, u] for p in range(6) for u in range(12))
    mutual = sum(c / 400 * math.log(c / 400 / (np.mean(phones == p) * np.mean(units == u))) for (p, u), c in pairs.items())
    entropy = -sum(np.mean(phones == p) * math.log(np.mean(phones == p)) for p in range(5))
    assert unit_quality(joint).pnmi == pytest.approx(mutual / entropy)


def test_perfect_and_useless_units():
    assert unit_quality(np.diag([4, 5, 6])).pnmi == pytest.approx(1.0)
    assert unit_quality(np.outer([4, 5, 6], [1, 2])).pnmi == pytest.approx(0.0, abs=1e-12)


def test_perplexity_of_even_single_and_several_rows():
    assert perplexity(np.array([[5, 5, 5, 5], [9, 0, 0, 0]])).tolist() == pytest.approx([4.0, 1.0])


def test_abx_cell_of_the_fixture_and_by_loops():
    case = FIXTURES["abx_cell"]
    d_ax, d_bx = np.array(case["d_ax"]), np.array(case["d_bx"])
    triples = [(a < b) + 0.5 * (a == b) for x in range(2) for a in d_ax[x] for b in d_bx[x]]
    assert abx_score(d_ax, d_bx) == pytest.approx(sum(triples) / len(triples))
    assert abx_score(d_ax, d_bx) == pytest.approx(case["score"])


def slow_dtw(f: np.ndarray, s: np.ndarray) -> float:
    """Cheapest path by plain recursion over all three steps, ties to the diagonal first, then down, then right."""

    def angle(x, y):
        norm = np.linalg.norm(x) * np.linalg.norm(y)
        return math.acos(max(-1.0, min(1.0, float(x @ y / norm)))) / math.pi if norm else 0.5

    def best(i, j):
        if i < 0 or j < 0:
            return (0.0, 0) if i == j == -1 else (math.inf, 0)
        total, steps = min((best(i - 1, j - 1), best(i - 1, j), best(i, j - 1)), key=lambda found: found[0])
        return total + angle(f[i], s[j]), steps + 1

    total, steps = best(len(f) - 1, len(s) - 1)
    return total / steps


def test_dtw_against_recursion_with_different_lengths():
    rng = np.random.default_rng(0)
    first = [rng.normal(size=(n, 3)) for n in (1, 4, 5, 2)]
    second = [rng.normal(size=(n, 3)) for n in (3, 5, 1, 2)]
    first[1][2] = 0
    assert angular_dtw(first, second) == pytest.approx([slow_dtw(f, s) for f, s in zip(first, second)])


def test_dtw_of_a_stretched_copy_is_zero():
    frames = np.eye(4)
    assert angular_dtw([frames], [np.repeat(frames, 3, axis=0)])[0] == pytest.approx(0.0, abs=1e-8)


def test_edits():
    assert repeats_removed([5, 5, 5, 2, 2, 5]) == (5, 2, 5)
    assert normalised_edits([[1, 2, 3], [1], []], [[1, 3], [2], []]).tolist() == pytest.approx([1 / 3, 1.0, 0.0])
