"""The text section: the table's numbers in its charts, bands and levels, sentences that say no more than the intervals do."""

import re

import pandas as pd
import pytest

from laminal.report import comparison, page, plots, sentences, text_alignment
from laminal.report.selection import checkpoints
from laminal.results import Context, Results, read_table, store
from oracle_report import embedded, score, unpacked

LAYERS = ("latent", "1", "2", "3")


def aligned(value=0.19, phones=0.075, duration=0.17, p=0.001, beyond=0.05, p_beyond=0.001, slices=("audio", "features"), heard=None):
    """Rows as text_alignment yields them."""
    for slice in slices:
        common = {"probe": "text_alignment", "slice": slice, "n": 466, "clusters": 466, "unit": "CKA with minilm"}
        for name, level in (("phones_as_speech", phones), ("duration_as_speech", duration)):
            yield score(**common | {"metric": "cka", "setting": name, "value": level, "low": level - 0.02, "high": level + 0.02})
        for k, layer in enumerate(LAYERS):
            here = common | {"layer": layer, "layer_mode": "cumulative"}

            def row(metric, number, half=0.03, setting="text", here=here, **more):
                numbers = {"value": number, "low": number - half, "high": number + half}
                return score(**here | {"metric": metric, "setting": setting} | numbers | more)

            yield row("cka", value + 0.01 * k, higher_is_better=True)
            yield row("cka", 0.16 + 0.05 * k, setting="bag_of_phones")
            yield row("cka", -0.001, 0.008, setting="random")
            yield row("null", 0.0, 0.006)
            yield row("null_by_length", 0.11, 0.01)
            yield row("over_phones", value + 0.01 * k - phones)
            yield row("over_duration", value + 0.01 * k - duration)
            yield row("beyond_form", beyond)
            yield row("beyond_controls", beyond / 5)
            for metric, number in (("p", p), ("p_by_length", 2 * p), ("p_beyond_form", p_beyond), ("p_beyond_controls", 10 * p_beyond)):
                yield row(metric, number, 0.0)
            for size in (50, 100, 200):
                yield row(f"cka_at_{size}", value, 1 / size, n=size, clusters=size)
            if heard is not None and layer == "3":
                yield row("cka", heard, setting="llm_input", slice="features") if slice == "features" else row("cka_biased", 0.3)


def stored(folder, rows, run="lyra", **given):
    store(folder, Results(Context(run=run, codec=run, revision="r", corpus="librispeech", **given), list(rows)))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = stored(tmp_path_factory.mktemp("aligned"), aligned())
    return folder, page.write(folder).read_text(encoding="utf-8")


def test_the_section_shows_the_tables_numbers(made):
    folder, text = made
    assert re.findall(r'<section id="([^"]+)"><h2>(.*?)</h2>', text)[1] == ("text", "Text alignment")
    scores = read_table(folder / "scores.parquet")
    drawn = pd.DataFrame(unpacked(embedded(text)["tables"]["text_alignment"]))
    named = {**text_alignment.LINES, **text_alignment.LEVELS, **text_alignment.NULLS}
    compared = 0
    for found in drawn[drawn["kind"] != "curve"].itertuples():
        setting, metric = named[found.label]
        layer = "" if found.kind == "level" else found.layer
        truth = scores[(scores.setting == setting) & (scores.metric == metric) & (scores.layer == layer) & (scores.slice == found.slice)]
        (one,) = truth.itertuples()
        assert (found.value, found.low, found.high) == pytest.approx((one.value, one.low, one.high), abs=1e-5) and found.n == one.n
        compared += 1
    assert compared == 2 * len(LAYERS) * 9, "two slices; five lines, two levels and two bands at each layer"
    curve = drawn[(drawn["kind"] == "curve") & (drawn["slice"] == "audio") & (drawn["label"] == "codebook 1")]
    assert curve["n"].tolist() == [50, 100, 200, 466]


def test_the_charts_draw_bands_lines_levels_and_the_curve(made):
    _, text = made
    charts = [chart for chart in embedded(text)["charts"] if chart["table"] == "text_alignment"]
    assert len(charts) == 2 and charts[1]["where"] == {"kind": "curve"}
    marks = charts[0]["spec"]["layer"]
    filters = [each["transform"][0]["filter"] for each in marks]
    assert sum("permuted" in each for each in filters) == 2 and sum("'line'" in each for each in filters) == 2
    assert 'data-section="text_alignment" data-column="slice"' in text
    import vl_convert

    for chart in charts:
        spec = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **coloured(chart["spec"])}
        rows = pd.DataFrame(unpacked(embedded(text)["tables"]["text_alignment"]))
        spec["datasets"] = {"rows": rows[rows["kind"] == "curve" if chart["where"] else rows["kind"] != "curve"].to_dict("records")}
        spec["width"] = 500
        assert "</svg>" in vl_convert.vegalite_to_svg(spec)


def coloured(spec):
    """The spec as the page's script fills it."""
    if isinstance(spec, list):
        return [coloured(each) for each in spec]
    if isinstance(spec, dict):
        return {name: coloured(each) for name, each in spec.items()}
    if isinstance(spec, str) and spec.startswith("@"):
        return 3 if spec == "@columns" else "#888888"
    return spec


def said(rows):
    table = Results(Context(run="r", codec="c", revision="r", corpus="s"), list(rows)).score_table()
    return list(text_alignment.spoken(checkpoints(table)[-1]))


def test_sentences_carry_their_numbers():
    first, last = said(aligned())
    assert first == (
        "CKA of codebook 1 with minilm is 0.2 (0.17 to 0.23), 466 words (p 0.001, within words of one length 0.002): above a bag of phones "
        "in its place (0.075); not told from the duration of the word alone (0.17); "
        "beyond phones, length and duration: 0.05 (0.02 to 0.08); "
        "not told from 0 beyond form, first phones, speakers and times in utterances: 0.01 (-0.02 to 0.04)."
    )
    assert last.startswith("CKA of codebook 3 with minilm is 0.22")


def test_form_alone_is_not_the_last_word():
    old = [row for row in aligned() if "controls" not in row.metric]
    assert said(old)[0].endswith("times in utterances is not known (too few words, or scores from before it was measured).")


def test_sentences_say_no_more_than_the_intervals():
    below = said(aligned(value=0.02))[0]
    assert "below a bag of phones" in below and "below the duration" in below
    assert said(aligned(value=0.0, p=0.4))[0].endswith("within words of one length 0.8): not told from chance.")
    assert "not told from 0 beyond phones" in said(aligned(beyond=0.01))[0]
    assert "not told from 0 beyond phones" in said(aligned(p_beyond=0.2))[0]
    spoken = said(aligned(heard=0.07))
    assert spoken[-1].startswith("the language model's own speech input has a CKA of 0.07")
    assert not said([score()])
    alone = [each for each in aligned() if each.layer in ("", "latent")]
    assert [line[:34] for line in said(alone)] == ["CKA of the unquantised latent with"], "log-mel has one layer"


def test_the_summary_and_the_page_say_it(made):
    folder, text = made
    (first, *_) = [line for line in sentences.summary(read_table(folder / "scores.parquet")) if line.startswith("CKA of codebook 1")]
    assert text.count(first) == 2, "among the headlines and in its section"
    assert "Numbers on librispeech (features)" in text and "over a bag of phones" in text


def test_there_is_a_picture_of_it(made, monkeypatch):
    folder, _ = made
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 30)  # quicker
    assert [path.name for path in plots.write(folder, read_table(folder / "scores.parquet"))] == ["text_alignment.png"]


def test_codecs_side_by_side_show_one_line_a_number(tmp_path):
    for run in ("lyra", "mimi"):
        stored(tmp_path, aligned(), run=run)
    (tmp_path / "manifest.json").write_text('{"order": ["lyra", "mimi"]}', encoding="utf-8")
    text = comparison.write(tmp_path).read_text(encoding="utf-8")
    rows = pd.DataFrame(unpacked(embedded(text)["tables"]["others"]))
    rows = rows[rows["probe"] == "text_alignment"]
    assert set(rows["metric"]) == {"cka", "beyond_form"} and not rows.duplicated(["metric", "setting", "run", "layer"]).any()
