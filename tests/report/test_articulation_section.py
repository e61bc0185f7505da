"""Articulation on the page: the numbers drawn are the table's, and sentences say what the intervals support."""

import re

import pytest

from laminal.report import articulation, page, plots
from laminal.report.board import Board
from laminal.report.frames import Points
from laminal.report.selection import checkpoints
from laminal.results import Context, Results, read_table, store
from oracle_report import embedded, score, unpacked


def rows(
    values, random=None, growth=None, lag=0.0, gain=0.05, few=False, rest=None, epoch=0, speakers=6, tract="tract_table", books=8, axes=64
):
    """Rows as the probe yields them: values by layer, each +-0.02, with a null of +-0.03 about 0; differences +-0.01."""
    common = {"probe": "articulation", "n": 5000, "clusters": speakers, "unit": "correlation", "chance": 0.001}
    layered = {"layer_mode": "cumulative"}
    exact = {"seconds_of_tract": 228.0, "tract_axes": 10.0, "tract_variance": 0.949, "codebooks": float(books)}
    for metric, value in exact.items():
        own = {"setting": tract, "n": 24} if metric == "seconds_of_tract" else {}
        yield score(**common | own, metric=metric, value=value, low=value, high=value)

    def difference(metric, value, **given):
        return score(**common | given, metric=metric, value=value, low=value - 0.01, high=value + 0.01)

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
        yield score(**common | layered | {"unit": "ms"}, metric="best_lag", layer=layer, value=lag, low=lag - 20, high=lag)
        yield difference("best_lag_gain", gain if lag else 0.0, layer=layer, **layered)
        yield difference("minus_log_mel", value - 0.5, layer=layer, **layered)
        yield score(**common | layered, metric="feature_axes", layer=layer, value=float(axes), low=float(axes), high=float(axes))
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
        yield difference("minus_random_codebook", values[layer] - value, layer=layer, **layered)
    if growth is not None:
        yield difference("last_minus_first", growth)


def probed(folder, epochs=1, corpus="librispeech", **given):
    for epoch in range(epochs):
        context = Context(run="r", codec="laminal", revision="1", ckpt_sha256=str(epoch), epoch=epoch, step=epoch, corpus=corpus)
        store(folder, Results(context, list(rows(epoch=epoch, **given))))
    return read_table(folder / "scores.parquet")


def lines(table):
    return " ".join(articulation.said(checkpoints(table)[-1]))


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
            assert found["layers", when, r.layer] == pytest.approx(r.value, abs=1e-4)
        for layer in THREE:  # baselines without layers are drawn along all of them
            assert found["log-mel", when, layer] == pytest.approx(0.5 + 0.01 * step)
        assert found["random codebooks of the same size", when, "3"] == pytest.approx(0.22 + 0.01 * step)
    band = [low for low, what in zip(drawn["null_low"], drawn["what"]) if what == "layers"]
    assert band == [-0.03] * 8 and None in drawn["null_low"]  # the null of the baselines is not drawn
    lags = unpacked(data["tables"]["articulation_lag"])
    assert sorted(set(lags["run"])) == ["codebook 1", "codebook 3"] and sorted(set(lags["x"])) == [-60, 0, 60]
    charts = [chart for chart in data["charts"] if chart["section"] == "articulation"]
    assert len(charts) == 2 and all(chart["table"] in data["tables"] for chart in charts)
    assert "0.410 (0.390 to 0.430)" in text and "-0.100 (-0.110 to -0.090)" in text and "Numbers on tract_table" in text
    assert "1 if it gives all 10 (of 95 % of its variance) axes" in text and "bars are 95 % intervals over speakers" in text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"growth": 0.1}, "rises by 0.1 (0.09 to 0.11): more layers mean more articulation here"),
        ({"growth": -0.1}, "falls by 0.1 (-0.11 to -0.09): more layers do not mean more articulation"),
        ({"growth": 0.005}, "does not change beyond the interval (-0.005 to 0.015)"),
        ({"growth": 0.1, "books": 0}, "deeper layers mean more articulation here"),
        ({"random": {"3": 0.2}}, "random codebooks of the same size (0.2 (0.18 to 0.22)) the last layer has 0.2 more (0.19 to 0.21)"),
        ({"random": {"3": 0.395}}, "the last layer has no more and no less beyond the interval (-0.005 to 0.015)"),
        ({"random": {"3": 0.6}}, "the last layer has 0.2 less (-0.21 to -0.19)"),
        (
            {"lag": -60.0},
            "follows the tract of 60 ms before its frames best (-80 to -60 ms are not told from it): 0.05 more than that of its own time "
            "(0.04 to 0.06)",
        ),
        ({"few": True}, "in sample the last layer scores 0.7, of which 0.5 comes from too few frames (n = 5000): not a finding"),
        (
            {"rest": {"2": 0.1, "3": 0.2}},
            "without its semantic codebook the last layer correlates 0.2 (0.18 to 0.22); that codebook alone 0.3 (0.28 to 0.32)",
        ),
        ({"rest": {"3": 0.2}}, "without its semantic codebooks the last layer correlates 0.2 (0.18 to 0.22); those 2 codebooks alone 0.35"),
        ({"axes": 3}, "; with 3 axes for the tract's 10 it cannot reach 1."),
    ],
)
def test_sentences(tmp_path, given, says):
    text = lines(probed(tmp_path, values=THREE, **given))
    assert says in text
    assert text.startswith("articulation is measured on tract_table (simulated tracts): 24 recordings of 6 speakers, 3.8 minutes.")
    first = "layer 1 correlates 0.3 (0.28 to 0.32) with the vocal tract's shape, above chance (circular shifts give -0.03 to 0.03); log-mel"
    assert f"{first} correlates 0.5 (0.48 to 0.52), the layer 0.2 less (-0.21 to -0.19)" in text
    assert ("random" in text) == ("random" in given) and ("in sample" in text) == ("few" in given) and ("best" in text) == ("lag" in given)
    assert ("cannot reach 1" in text) == ("axes" in given) and "cannot tell" not in text


def test_what_is_chance_is_called_so_and_nothing_is_built_on_it(tmp_path):
    text = lines(probed(tmp_path, values={"1": 0.02}))
    assert "the one layer correlates 0.02 (0 to 0.04) with the vocal tract's shape, not told from chance" in text
    assert "from the first layer" not in text
    for number, (growth, says) in enumerate(((0.1, False), (-0.1, True), (0.005, False))):  # layer 1 is above chance, layer 2 is not
        low = lines(probed(tmp_path / str(number), values={"1": 0.3, "2": 0.02}, growth=growth, lag=-60.0))
        assert ("from the first layer" in low) == says and "best" not in low, growth


def test_a_lag_whose_gain_may_be_none_is_not_told(tmp_path):
    assert "best" not in lines(probed(tmp_path, values=THREE, lag=-60.0, gain=0.005))


@pytest.mark.parametrize("speakers", [1, 4])
def test_few_speakers_cannot_tell(tmp_path, speakers):
    text = lines(probed(tmp_path, values=THREE, growth=0.1, lag=-60.0, random={"3": 0.2}, speakers=speakers))
    who = f"{speakers} speaker{'s' * (speakers > 1)}"
    assert f"cannot tell from chance with {who}" in text and f"cannot tell, {who} and 5 are needed" in text
    assert "0.3 (0.28 to 0.32)" in text  # the interval stays
    assert not re.search(r"above chance|more layers|best|0\.2 more|less", text)


def test_tracts_of_another_corpus_are_named_and_not_put_on_the_probed_one(tmp_path):
    from laminal.report import sentences

    for corpus in ("librispeech", "spoken"):
        table = probed(tmp_path, values=THREE, growth=0.1, corpus=corpus)
    said = sentences.summary(table)
    own = [line for line in said if "correlates" in line or "articulation" in line]
    assert own and not [line for line in own if line.startswith("On ")]
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert set(unpacked(embedded(text)["tables"]["articulation"])["corpus"]) == {"tract_table"}
    assert text.count("Numbers on tract_table") == 1
    real = lines(probed(tmp_path / "real", values=THREE, tract="annot16"))
    assert real.startswith("articulation is measured on annot16: 24 recordings")


def test_one_speaker_has_bars_over_recordings(tmp_path):
    probed(tmp_path, values=THREE, speakers=1)
    assert "intervals over recordings where there is one speaker" in page.write(tmp_path).read_text(encoding="utf-8")


def test_an_encoder_has_layers_and_no_codebooks(tmp_path):
    probed(tmp_path, values=THREE, books=0)
    data = embedded(page.write(tmp_path).read_text(encoding="utf-8"))
    assert set(unpacked(data["tables"]["articulation_lag"])["run"]) == {"hidden layer 1", "hidden layer 3"}
    drawn = next(chart for chart in data["charts"] if chart["table"] == "articulation")
    assert drawn["spec"]["layer"][0]["encoding"]["x"]["title"] == "layer"


def test_without_scores_there_is_no_section(tmp_path):
    context = Context(run="r", codec="laminal", revision="1", corpus="spoken")
    store(tmp_path, Results(context, [score(probe="units", metric="bits_nominal", value=1.0)]))
    table = read_table(tmp_path / "scores.parquet")
    assert articulation.section(Board([Points("spoken", checkpoints(table, "spoken"))])) == "" and lines(table) == ""


def test_there_is_a_picture_with_the_null_and_the_baselines(tmp_path, monkeypatch):
    table = probed(tmp_path, values=THREE, random={"1": 0.2, "3": 0.22})
    figure = plots.articulated(checkpoints(table))
    (axis,) = figure.axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.get_lines()}
    assert drawn["layers"] == pytest.approx([0.42, 0.3, 0.35, 0.4]) and drawn["random codebooks of the same size"] == pytest.approx(
        [0.2, 0.22]
    )
    assert set(drawn["log-mel"]) == {0.5} and [tick.get_text() for tick in axis.get_xticklabels()] == ["latent", "1", "2", "3"]
    (band,) = [each for each in axis.collections if each.get_label() == "circular shifts (95 %)"]
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((-0.03, 0.03))
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 30)  # quicker
    assert [path.name for path in plots.write(tmp_path, table)] == ["articulation.png"]
    assert plots.articulated(checkpoints(table[table.metric == "null"])) is None
