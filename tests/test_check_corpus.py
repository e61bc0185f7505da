"""What a corpus is good for: the expected width of an interval is that of the probe on made-up distances."""

import numpy as np
import pytest

from laminal import check_corpus, config
from laminal.probes.pair_sampling import SETTINGS, sample_pairs
from oracle_pairs import noise_corpus

SIZES = {"maximum": 60, "tier_maximum": 60, "token_pairs": 2, "randoms": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("corpus"), 8, 6)


def test_the_expected_width_is_that_of_plain_loops(corpus, monkeypatch):
    monkeypatch.setattr(check_corpus, "DRAWS", 2000)
    sample = sample_pairs(corpus, None, 0, **SIZES)
    rng = np.random.default_rng(5)
    pairs, random = sample.sets["near_homophone"], sample.sets["random_for_near_homophone"]
    effects = {name: rng.standard_normal(len(side.types)) for name, side in (("pairs", pairs), ("random", random))}
    own = 1 + check_corpus.BETWEEN * effects["pairs"][pairs.group] + check_corpus.WITHIN * rng.standard_normal(len(pairs.group))
    other = 1 + check_corpus.RANDOM * effects["random"][random.group]

    def mean(side, values, times):
        total = weight = 0.0
        for group, (a, b) in enumerate(side.types):
            rows = side.group == group
            factor = times[a] * times[b] if a != b else times[a]
            if rows.any():
                total, weight = total + factor * values[rows].mean(), weight + factor
        return total / weight if weight else np.nan

    found = []
    for _ in range(300):
        times = np.bincount(rng.integers(len(sample.words), size=len(sample.words)), minlength=len(sample.words))
        a, b = mean(pairs, own, times), mean(random, other, times)
        found.append((a - b) / b)
    low, high = np.nanquantile(found, [0.025, 0.975])
    assert check_corpus.half_width(sample, "near_homophone", "all") == pytest.approx((high - low) / 2, rel=0.4)


def test_more_pairs_are_narrower_and_too_few_have_no_width(corpus):
    few, many = (sample_pairs(corpus, None, 0, **(SIZES | {"maximum": size})) for size in (12, 60))
    assert check_corpus.half_width(few, "same_speaker", "all") > check_corpus.half_width(many, "same_speaker", "all")
    none = sample_pairs(corpus, None, 0, **(SIZES | {"maximum": 5}))
    assert all(np.isnan(check_corpus.half_width(none, setting, "all")) for setting in SETTINGS)


def test_the_description_has_a_row_for_every_setting(tiny_corpus):
    text = check_corpus.describe(config.load(["probe"], ["corpus=folder", f"corpus.root={tiny_corpus}"]))
    assert all(f"  {setting}" in text for setting in SETTINGS)
    assert "speakers" in text and "at most 4000 type pairs" in text
