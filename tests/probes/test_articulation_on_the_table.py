"""The articulation probe on the tracts that are shipped, whose truth is known: a copy, a shuffled copy, random codes, and the lag."""

import numpy as np
import pytest

from laminal.codecs.log_mel import LogMel
from laminal.corpora.tract_table import tract_table
from laminal.probes.articulation import Articulation
from laminal.probes.run import run_probes
from laminal.probes.tract_frames import in_turn
from laminal.results import Context
from oracle_tract import Quantised

SIZES = dict(tract=None, tracks=12, folds=5, rank=(10, 64), shifts=100, draws=1000, seed=0)
pytestmark = pytest.mark.slow


class Planted(Quantised):
    """Four codebooks of 64 over the tract itself, of the first recordings of each voice; "1" alone is coarse, all four are not."""

    codebooks, codebook_size = 4, 64
    mark, filled = slice(16_000, 17_000), True  # recordings begin with silence, and lack a line here and there


def found(codec, lags=()):
    probe = Articulation(tract_table(), None, **SIZES, lags_ms=lags)
    return run_probes(codec, {"a": probe}, Context(run="r", codec=codec.name, revision="1", corpus="tract_table")).scores


def one(scores, metric, layer="", setting=""):
    (score,) = [each for each in scores if (each.metric, each.layer, each.setting) == (metric, layer, setting)]
    return score


@pytest.fixture(scope="module")
def planted():
    return found(Planted(in_turn(tract_table(), 12)))


def test_a_copy_is_near_one_and_codebooks_over_it_come_nearer_with_each(planted):
    copy, books = one(planted, "heldout_pwcca", "latent"), [one(planted, "heldout_pwcca", str(book)).value for book in range(1, 5)]
    assert copy.value > 0.98 and copy.clusters == 6 and books == sorted(books) and 0.4 < books[0] < books[3] < copy.value
    assert abs(copy.chance) < 0.03 and one(planted, "minus_log_mel", "latent").low > 0.3


def test_random_codes_are_chance_and_random_codebooks_of_a_copy_are_not(planted):
    codes, band = one(planted, "heldout_pwcca", "4", "random_codes"), one(planted, "null", "4", "random_codes")
    assert abs(codes.value) < 0.04 and codes.low <= band.high and codes.high >= band.low
    assert one(planted, "heldout_pwcca", "4", "random_codebook").low > one(planted, "null", "4", "random_codebook").high


def test_a_shuffled_copy_is_near_zero():
    shuffled = one(found(Planted(in_turn(tract_table(), 12), shuffled=True)), "heldout_pwcca", "latent")
    assert abs(shuffled.value) < 0.04


@pytest.mark.parametrize("late", [0.0, 0.03])
def test_the_lag_is_found_to_5_ms(late):
    lags = range(-50, 21, 5) if late else range(-30, 31, 5)
    scores = found(Planted(in_turn(tract_table(), 12), late=late, frame_rate=100.0), lags)
    assert peak(scores, "latent", lags) == pytest.approx(-1000 * late, abs=5)


def test_log_mel_peaks_within_5_ms_of_its_time():
    lags = range(-30, 31, 5)
    assert abs(peak(found(LogMel(16000, 160, 400, 80), lags), "1", lags)) <= 5


def peak(scores, layer, lags):
    """Vertex of the parabola through the highest value by lag and two neighbours a side, in ms."""
    values = [one(scores, "lag_pwcca", layer, f"lag{lag:+04d}ms").value for lag in lags]
    highest = int(np.argmax(values))
    assert 2 <= highest < len(values) - 2
    here = slice(highest - 2, highest + 3)
    a, b, _ = np.polyfit(list(lags)[here], values[here], 2)
    return -b / (2 * a)
