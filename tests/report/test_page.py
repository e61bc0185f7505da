"""The page: nothing from outside, the table's numbers, whatever part of a folder is there, no text that escapes."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from laminal.errors import RequestError
from laminal.report import folder, frames, latex, page, plots
from laminal.report.selection import checkpoints
from laminal.results import Context, Results, read_table, store
from oracle_report import SETTINGS, embedded, fake_run, pairs, score, unpacked, word_pairs

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert(2)">'&"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run(tmp_path_factory.mktemp("run") / "semantic_rvq", epochs=3, codebooks=4, dead=(2,))


@pytest.fixture(scope="module")
def text(run):
    return page.write(run).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag with its attributes, and text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def test_nothing_is_loaded_from_outside(text):
    parsed = Tags(text)
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if name in attributes:
                assert attributes[name].startswith(("#", "data:")), (tag, attributes)
    assert not [tag for tag, _ in parsed.tags if tag in ("link", "iframe", "object", "embed", "base", "form")]
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style and "@import" not in style
    policy = next(attributes["content"] for tag, attributes in parsed.tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "http" not in policy and "unsafe-eval" not in policy
    assert len(text) < 2_500_000


def test_the_sections_come_in_order(text):
    assert re.findall(r'<section id="([^"]+)">', text) == [
        "headlines", "words", "map", "codebooks", "speech", "tradeoff", "listening", "training", "provenance",
    ]  # fmt: skip


def test_every_number_of_the_charts_is_in_the_table(run, text):
    scores = read_table(run / "scores.parquet")
    data = embedded(text)
    label = scores["epoch"].map(lambda epoch: f"epoch {epoch}")
    keys = ["metric", "setting", "corpus", "split", "slice", "distance", "layer_mode", "layer", "at"]
    for name, metrics in (("curves", ["mean", "minus_random"]), ("map", ["over_random"])):
        drawn = pd.DataFrame(unpacked(data["tables"][name]))
        if name == "map":
            drawn["metric"] = "over_random"
        truth = scores.assign(at=label)
        truth = truth[(truth["probe"] == "word_pairs") & truth["metric"].isin(metrics)]
        both = drawn.merge(truth, on=keys, suffixes=("", "_table"), validate="one_to_one")
        assert len(both) == len(drawn) and len(drawn) > 1000
        for part in ("value", "low", "high", "n"):
            np.testing.assert_allclose(both[part].astype(float), both[f"{part}_table"].astype(float), rtol=6e-5, atol=1e-12)
    shown = {row for row in pd.DataFrame(unpacked(data["tables"]["map"]))["at"]}
    assert shown == {"epoch 0", "epoch 1", "epoch 2"}, "the map shows every checkpoint"
    layered = pd.DataFrame(unpacked(data["tables"]["reconstruction"]))
    truth = scores[(scores["probe"] == "reconstruction") & (scores["epoch"] == 2)]
    last = layered[layered["when"] == "last"].merge(truth, on=["metric", "layer"], suffixes=("", "_table"), validate="one_to_one")
    assert len(last) == len(truth)
    np.testing.assert_allclose(last["value"], last["value_table"], rtol=6e-5)


def test_the_numbers_tables_are_those_of_the_last_checkpoint(run, text):
    scores = read_table(run / "scores.parquet")
    last = scores[(scores["epoch"] == 2) & (scores["metric"] == "over_random") & (scores["slice"] == "audio")]
    last = last[(last["distance"] == "euclidean") & (last["split"] == "all") & (last["setting"] == "near_homophone")]
    for row in last.itertuples():
        assert f"{100 * row.value:+.2f} ({100 * row.low:+.2f} to {100 * row.high:+.2f})" in text


def test_each_chart_has_its_place_and_its_rows(text):
    data = embedded(text)
    places = {attributes.get("id") for _, attributes in Tags(text).tags}
    assert len(data["charts"]) > 25
    for chart in data["charts"]:
        assert chart["id"] in places
        columns = unpacked(data["tables"][chart["table"]])
        assert set(chart["choose"]) <= set(columns) and set(chart["where"]) <= set(columns)
        for column, value in chart["where"].items():
            assert value in columns[column]


def test_the_same_folder_gives_the_same_bytes(run, text, monkeypatch):
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 30)  # quicker
    assert page.write(run).read_text(encoding="utf-8") == text
    folder.write(run)
    first = [path.read_bytes() for path in sorted((run / "plots").iterdir())]
    folder.write(run)
    assert first == [path.read_bytes() for path in sorted((run / "plots").iterdir())]
    assert [path.name for path in sorted((run / "plots").iterdir())] == [
        "codebooks.png", "layer_curves.png", "layer_map.png", "table.tex", "training.png",
    ]  # fmt: skip
    assert not list(run.glob(".report*"))


def test_a_codec_without_a_run_and_a_probe_alone(tmp_path):
    rows = list(word_pairs(np.random.default_rng(0), 3, 2, splits=("all",), slices=("audio",)))
    store(tmp_path, Results(Context(run="lyra", codec="lyra", revision="r", corpus="librispeech"), rows))
    text = folder.write(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<section id="([^"]+)">', text) == ["headlines", "words", "map", "provenance"]
    shown = "".join(Tags(text).text)
    assert not re.search(r"epoch -?\d|step -?\d", shown) and "no training" in shown and "Manifest" not in shown
    assert len({chart["table"] for chart in embedded(text)["charts"]}) == 2


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [score(probe="units", metric="bits_nominal", value=600.0)],
        [pairs("near_homophone", -0.1, layer="latent", slice="audio", distance="cosine", layer_mode="cumulative")],
        [score(probe="articulation", metric="pwcca", layer="1", value=0.4, chance=float("nan"))],
    ],
)
def test_almost_nothing_still_makes_a_page(tmp_path, rows):
    store(tmp_path, Results(Context(run="r", codec="c", revision="r"), rows))
    assert "</html>" in folder.write(tmp_path).read_text(encoding="utf-8")


def test_another_probe_gets_a_section_of_its_own(tmp_path):
    rows = [score(probe="fluency", metric="rate", layer=str(k), value=0.4, low=0.3, high=0.5, chance=0.1) for k in (1, 2)]
    store(tmp_path, Results(Context(run="r", codec="c", revision="r"), rows))
    assert "<h2>fluency</h2>" in page.write(tmp_path).read_text(encoding="utf-8")


def test_no_scores_is_a_request_error(tmp_path):
    with pytest.raises(RequestError, match="no scores.parquet"):
        page.write(tmp_path)


def test_broken_neighbours_do_not_stop_the_page(run, tmp_path):
    there = tmp_path / "run"
    shutil.copytree(run, there, ignore=shutil.ignore_patterns("plots"))
    (there / "manifest.json").write_text("{not json", encoding="utf-8")
    (there / "metrics.csv").write_text((run / "metrics.csv").read_text()[:-9] + "\n7,", encoding="utf-8")
    text = page.write(there).read_text(encoding="utf-8")
    assert "not readable" in text and 'id="training"' in text


def test_hostile_strings_are_escaped(tmp_path):
    there = tmp_path / "x"
    rows = [pairs(HOSTILE, -0.1, layer="1", slice=HOSTILE, distance="euclidean", layer_mode="cumulative"),
            pairs("near_homophone", -0.1, layer="1", slice=HOSTILE, distance="euclidean", layer_mode="cumulative"),
            score(metric="mean", setting=HOSTILE, layer="1", slice="audio", distance="euclidean", layer_mode="cumulative"),
            score(probe=HOSTILE, metric=HOSTILE, setting=HOSTILE, layer="1"),
            score(probe="units", metric=HOSTILE, layer=HOSTILE)]  # fmt: skip
    for corpus in (HOSTILE, "b"):
        store(there, Results(Context(run=HOSTILE, codec=HOSTILE, revision=HOSTILE, corpus=corpus, epoch=1, step=1), rows))
    facts = {HOSTILE: HOSTILE, "undefined": [{"probe": HOSTILE, "what": HOSTILE, "reason": HOSTILE}], "skipped": [[HOSTILE, HOSTILE]]}
    (there / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    (there / "config.yaml").write_text(HOSTILE, encoding="utf-8")
    (there / "metrics.csv").write_text(f'epoch,step,name,value\n0,1,"{HOSTILE.replace(chr(34), chr(34) * 2)}",1\n', encoding="utf-8")
    (there / "listening").mkdir()
    (there / "listening" / "<img src=x onerror=alert(1)>.original.wav").write_bytes(b"RIFF")
    entry = {"id": HOSTILE, "original": "<img src=x onerror=alert(1)>.original.wav", "decoded": {HOSTILE: "../../../etc/passwd"}}
    (there / "listening" / "index.json").write_text(json.dumps({"utterances": [entry]}), encoding="utf-8")
    text = folder.write(there).read_text(encoding="utf-8")
    parsed = Tags(text)
    assert not [attributes for tag, attributes in parsed.tags if tag == "img" or "onerror" in attributes]
    assert sum(tag == "script" for tag, _ in parsed.tags) == 3
    assert "alert(2)" in "".join(parsed.text), "the text itself is shown"
    assert HOSTILE in embedded(text)["tables"]["curves"]["corpus"]["levels"], "and the data of the charts is whole"
    table = (there / "plots" / "table.tex").read_text(encoding="utf-8")
    assert r"\&" in table


def test_audio_is_inlined_until_the_page_grows_too_large(run, text, tmp_path, monkeypatch):
    sources = [attributes["src"] for tag, attributes in Tags(text).tags if tag == "audio"]
    assert len(sources) == 2 * 3, "original and k codebooks of two utterances: k04 is the last of four"
    first = base64.b64decode(sources[0].removeprefix("data:audio/flac;base64,"))
    assert first == (run / "listening" / "1-reader-one.original.flac").read_bytes()
    monkeypatch.setattr("laminal.report.listening.MOST_BYTES", len(first) * 4)
    assert "they are in listening/: reader-two" in page.render(run, read_table(run / "scores.parquet"))


def test_long_runs_are_thinned_with_both_ends(tmp_path):
    steps = [Context(run="r", codec="c", revision="r", epoch=e, step=e, corpus="s") for e in range(40)]
    row = pairs("synonym", -0.1, layer="1", slice="audio", distance="euclidean", layer_mode="cumulative")
    scores = pd.concat([Results(context, [row]).score_table() for context in steps], ignore_index=True)
    kept = frames.thinned(checkpoints(scores))
    assert len(kept) == frames.MOST_CHECKPOINTS and (kept[0].step, kept[-1].step) == (0, 39)
    rows = [{"epoch": "0", "step": str(i), "name": "train/mel", "value": str(float(i))} for i in range(1000)]
    curve = frames.training(rows)
    assert len(curve) <= frames.MOST_POINTS and curve["value"].mean() == pytest.approx(499.5, rel=0.01)


def test_columns_unpack_to_what_was_packed():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.choice(["x", "y"], 50), "b": ["u"] * 30 + ["v"] * 20, "c": rng.normal(size=50)})
    packed = frames.columns(table)
    assert "runs" in packed["b"] and len(packed["b"]["runs"]) == 4
    back = pd.DataFrame(unpacked(json.loads(json.dumps(packed))))
    assert back["a"].tolist() == table["a"].tolist() and back["b"].tolist() == table["b"].tolist()
    np.testing.assert_allclose(back["c"], table["c"], rtol=6e-5)
    assert frames.shortened(float("nan")) is None and frames.shortened(3.0) == 3


def test_the_usual_choice_is_the_one_that_is_talked_about():
    rows = []
    for slice in ("features", "audio"):
        for distance in ("cosine", "euclidean"):
            value = -0.5 if (slice, distance) == ("audio", "euclidean") else -0.1
            rows.append(pairs("near_homophone", value, layer="1", slice=slice, distance=distance, layer_mode="cumulative"))
    point = checkpoints(Results(Context(run="r", codec="c", revision="r"), rows).score_table())[0]
    assert point.find("word_pairs", "over_random", "near_homophone", "1").value == -0.5
    assert point.find("word_pairs", "over_random", "near_homophone", "1", slice="features").distance == "euclidean"
    assert point.find("word_pairs", "over_random", "synonym", "1") is None


def test_the_latex_table_escapes_and_balances(run):
    scores = read_table(run / "scores.parquet")
    made = latex.table(checkpoints(scores)[-1], r"a_b&c%{}\x")
    assert r"a\_b\&c\%\{\}\textbackslash{}x" in made
    body = made[made.index(r"\toprule") : made.index(r"\bottomrule")]
    counts = {line.count("&") for line in body.splitlines() if line.endswith(r"\\")}
    assert counts == {3 + 3}, "three settings and three unit measures beside the layer"
    assert len(SETTINGS) == 5


def test_the_latex_table_of_an_encoder_has_layers_and_no_codebooks():
    rows = [score(probe="units", metric="abx_across", layer=str(k), value=0.2, low=0.1, high=0.3, chance=0.5) for k in (1, 2)]
    books = score(probe="units", metric="codebooks", value=0.0)
    for kept, head in (([*rows, books], "layer & ABX error"), (rows, "codebooks & ABX error")):
        made = latex.table(checkpoints(Results(Context(run="r", codec="c", revision="r"), kept).score_table())[-1], "r")
        assert head in made
