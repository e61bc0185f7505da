"""The articulation probe in a training's callback: scores at every probed step, the report, and no trace in the weights."""

import pytest

from laminal import probing
from laminal.commands import prepared
from laminal.report import folder
from laminal.results import read_table
from laminal.runfolder import read_manifest
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
    told = read_manifest(tmp_path / "probed")["probe_material"]
    assert told["articulation"]["corpus"] == "tract_table" and len(told["articulation"]["corpus_sha256"]) == 64
    again = probing.probe(*prepared({"ckpt": str(tmp_path / "probed"), "out": str(tmp_path / "again"), "probe": "articulation"}, (), []))
    columns = ["metric", "setting", "layer", "layer_mode", "value", "low", "high"]
    last = scores[(scores.probe == "articulation") & (scores.step == 8)][columns].reset_index(drop=True)
    assert last.equals(again.score_table()[columns])  # probe.py computes what the callback did, under the same keys
    (entry,) = [each for name, each in read_manifest(tmp_path / "again").items() if name.startswith("probing/")]
    assert entry["probes"]["articulation"]["material"] == told["articulation"]
    folder.write(tmp_path / "probed")
    assert "Articulation by layer" in (tmp_path / "probed" / "report.html").read_text(encoding="utf-8")
    train(settings(tiny_corpus, *OTHERS, "probing.every_epochs=null"), tmp_path / "bare")
    assert differences(weights(tmp_path / "probed" / "last.ckpt"), weights(tmp_path / "bare" / "last.ckpt")) == []
