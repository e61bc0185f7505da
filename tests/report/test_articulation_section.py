"""Articulation on the page: the numbers drawn are the table's, and sentences say what the intervals support."""

import re

import pytest

from laminal.report import articulation, page
from laminal.report.board import Board
from laminal.report.frames import Points
from laminal.report.selection import checkpoints
from laminal.results import Context, Results, read_table, store
from oracle_report import embedded, score, unpacked


def rows(values, random=None, growth=None, lag=0.0, few=False, rest=None, epoch=0):
    """Rows as the probe yields them: values by layer, each +-0.02, with a null of +-0.03 about 0."""
    common = {"probe": "articulation", "n": 5000, "clusters": 6, "unit": "correlation", "chance": 0.001}
    layered = {"layer_mode": "cumulative"}

    def held(value, **given):
        value += 0.01 * epoch
        yield score(**common | given, metric="heldout_pwcca", value=value, low=value - 0.02, high=value + 0.02)
        yield score(**common | given, metric="null", value=0.001, low=-0.03, high=0.03)
        yield score(**common | given, metric="above_null", value=value - 0.001, low=value - 0.02, high=value + 0.02)

    for layer, value in values.items():
        yield from held(value, layer=layer, **layered)
        for at in (-60, 0, 60):
            yield score(**common | layered, metric="lag_pwcca", setting=f"lag{at:+04d}ms", layer=layer, value=value - abs(at - lag) / 1000,
                        low=0.1, high=0.3)  # fmt: skip
        yield score(**common | layered | {"unit": "ms"}, metric="best_lag", layer=layer, value=lag, low=lag, high=lag)
        yield score(**common | layered, metric="best_lag_pwcca", layer=layer, value=value + 0.05, low=0.1, high=0.3)
        setting = "few_frames" if few else ""
        yield score(
            **common | layered | {"chance": 0.5}, metric="in_sample_pwcca", setting=setting, layer=layer, value=0.7, low=0.6, high=0.8
        )
    for layer, value in (rest or {}).items():
        yield from held(value, layer=layer, layer_mode="residual")
    yield from held(0.5, setting="log_mel")
    yield from held(0.05, setting="f0_energy")
    for layer, value in (random or {}).items():
        yield from held(value, setting="random_codebook", layer=layer, **layered)
    if growth is not None:
        yield score(**common, metric="last_minus_first", value=growth, low=growth - 0.01, high=growth + 0.01)


def probed(folder, epochs=1, **given):
    for epoch in range(epochs):
        context = Context(run="r", codec="laminal", revision="1", ckpt_sha256=str(epoch), epoch=epoch, step=epoch, corpus="spoken")
        store(folder, Results(context, list(rows(epoch=epoch, **given))))
    return read_table(folder / "scores.parquet")


def lines(table):
    return " ".join(articulation.said(checkpoints(table, "spoken")[-1]))


THREE = {"latent": 0.42, "1": 0.3, "2": 0.35, "3": 0.4}


def test_the_page_draws_the_numbers_of_the_table(tmp_path):
    table = probed(tmp_path, epochs=2, values=THREE, random={"1": 0.2, "3": 0.22}, growth=0.1)
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<section id="([^"]+)">', text)[:2] == ["headlines", "articulation"] and "probe-0" not in text
    data = embedded(text)
    drawn = unpacked(data["tables"]["articulation"])
    found = {(w, at, layer): v for w, at, layer, v in zip(drawn["what"], drawn["when"], drawn["layer"], drawn["value"])}
    for when, step in (("first", 0), ("last", 1)):
        here = table[(table.step == step) & (table.metric == "heldout_pwcca")]
        for r in here[here.setting == ""].itertuples():
            assert found["accumulated layers", when, r.layer] == pytest.approx(r.value, abs=1e-4)
        for layer in THREE:  # baselines without layers are drawn along all of them
            assert found["log-mel", when, layer] == pytest.approx(0.5 + 0.01 * step)
        assert found["random codebooks of the same size", when, "3"] == pytest.approx(0.22 + 0.01 * step)
    band = [low for low, what in zip(drawn["null_low"], drawn["what"]) if what == "accumulated layers"]
    assert band == [-0.03] * 8 and None in drawn["null_low"]  # the null of the baselines is not drawn
    lags = unpacked(data["tables"]["articulation_lag"])
    assert sorted(set(lags["run"])) == ["codebook 1", "codebook 3"] and sorted(set(lags["x"])) == [-60, 0, 60]
    charts = [chart for chart in data["charts"] if chart["section"] == "articulation"]
    assert len(charts) == 2 and all(chart["table"] in data["tables"] for chart in charts)
    assert "0.410 (0.390 to 0.430)" in text and "Numbers on spoken" in text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"growth": 0.1}, "rises by 0.1 (0.09 to 0.11): more layers mean more articulation here"),
        ({"growth": -0.1}, "falls by 0.1 (-0.11 to -0.09): more layers do not mean more articulation"),
        ({"growth": 0.005}, "does not change beyond the interval (-0.005 to 0.015)"),
        ({"random": {"3": 0.2}}, "more than as many random codebooks of the same size hold (0.2 (0.18 to 0.22))"),
        ({"random": {"3": 0.41}}, "not told apart from as many random codebooks"),
        ({"random": {"3": 0.6}}, "less than as many random codebooks"),
        ({"lag": -60.0}, "follows the tract of 60 ms before its frames best, where it is 0.45"),
        ({"few": True}, "In sample the last layer scores 0.7, of which 0.5 comes from too few frames (n = 5000): not a finding"),
        (
            {"rest": {"2": 0.1, "3": 0.2}},
            "Without its semantic codebook the last layer holds 0.2 (0.18 to 0.22); that codebook alone holds 0.3",
        ),
    ],
)
def test_sentences(tmp_path, given, says):
    text = lines(probed(tmp_path, values=THREE, **given))
    assert says in text
    assert "Layer 1 holds 0.3 (0.28 to 0.32) of the vocal tract's shape, above chance (circular shifts give -0.03 to 0.03); log-mel" in text
    assert ("random" in text) == ("random" in given) and ("In sample" in text) == ("few" in given) and ("best" in text) == ("lag" in given)


def test_what_is_chance_is_called_so(tmp_path):
    text = lines(probed(tmp_path, values={"1": 0.02}))
    assert "The one layer holds 0.02 (0 to 0.04) of the vocal tract's shape, not told from chance" in text
    assert "From the first layer" not in text


def test_without_scores_there_is_no_section(tmp_path):
    context = Context(run="r", codec="laminal", revision="1", corpus="spoken")
    store(tmp_path, Results(context, [score(probe="units", metric="bits_nominal", value=1.0)]))
    table = read_table(tmp_path / "scores.parquet")
    assert articulation.section(Board([Points("spoken", checkpoints(table, "spoken"))])) == "" and lines(table) == ""
