"""How often the intervals of held-out correlations hold the truth, on simulated speakers: the script that docs/articulation.md quotes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import articulation_coverage as coverage  # noqa: E402


@pytest.mark.parametrize(("case", "trials"), [("3, 12", 40), ("6, 8", 40)])
def test_intervals_over_few_speakers_hold_the_truth_where_percentiles_do_not(case, trials):
    of = coverage.shares([coverage.trial(seed, coverage.CASES[case], (-1, 0, 1)) for seed in range(trials)])
    assert of["percentiles"] < 0.86 and of["stretched"] > of["percentiles"] + 0.05 and of["stretched"] >= 0.8
    assert of["difference_percentiles"] > 0.12 and of["difference_t"] <= 0.14
    assert of["gain_t"] <= 0.1
