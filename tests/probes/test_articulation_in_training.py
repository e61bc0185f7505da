"""The articulation probe in a training's callback: scores at every probed step, the report, and no trace in the weights."""

import pytest

from laminal.report import folder
from laminal.results import read_table
from oracle_training import differences, settings, train, weights

SIZES = ["probes.articulation={tracks: 5, lags_ms: [-40, 40], draws: 1000}"]
OTHERS = ["probes.word_pairs=null", "probes.units=null"]


@pytest.mark.slow
def test_it_runs_in_the_callback_and_leaves_no_trace(tiny_corpus, tmp_path):
    train(settings(tiny_corpus, *SIZES, *OTHERS), tmp_path / "probed")
    scores = read_table(tmp_path / "probed" / "scores.parquet")
    held = scores[(scores.probe == "articulation") & (scores.metric == "heldout_pwcca") & (scores.setting == "")]
    assert set(held.step) == {4, 8} and set(held.layer) == {"latent", "1", "2"}
    facts = scores[scores.metric == "seconds_of_tract"]
    assert set(facts.setting) == {"tract_table"} and (facts.n == 5).all()  # the corpus of the training has no tracts
    folder.write(tmp_path / "probed")
    assert "Articulation by layer" in (tmp_path / "probed" / "report.html").read_text(encoding="utf-8")
    train(settings(tiny_corpus, *OTHERS, "probing.every_epochs=null"), tmp_path / "bare")
    assert differences(weights(tmp_path / "probed" / "last.ckpt"), weights(tmp_path / "bare" / "last.ckpt")) == []
