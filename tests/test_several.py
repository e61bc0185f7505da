"""Several codecs side by side, against, reproduce: one table, one page, nothing measured twice, whose argument is whose."""

import json
import sys
from pathlib import Path

import pytest

from laminal import codec_choice, commands, config
from laminal.errors import RequestError
from laminal.report import published
from laminal.results import read_table
from oracle_report import embedded, unpacked
from oracle_several import CODECS, SMALL, tree

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> list[str]:
    return ["corpus=folder", f"corpus.root={tree(tmp_path_factory.mktemp('speech'))}", *SMALL]


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("codecs") / "mine.py"
    file.write_text(CODECS)
    sys.path.insert(0, str(Path(__file__).parent))
    return str(file)


@pytest.fixture(scope="module")
def together(speech, mine, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "both"
    own = {"codec": f"{mine}:Narrow,{mine}:Wide", "out": str(out)}
    assert commands.probe(own, (), speech) == 0
    return own, out


def test_one_table_holds_every_codec_on_the_same_items(together):
    _, out = together
    scores, items = read_table(out / "scores.parquet"), read_table(out / "items.parquet")
    assert set(scores.run) == {"mine-Narrow", "mine-Wide"} and scores.corpus_sha256.nunique() == 1
    layers = {run: set(rows.layer) - {"", "latent"} for run, rows in scores.groupby("run")}
    assert layers == {"mine-Narrow": {"1", "2", "3"}, "mine-Wide": {"1", "2", "3", "4", "5"}}
    first = items[items.layer == "1"]
    pairs = [rows[["setting", "split", "a", "b"]].reset_index(drop=True) for _, rows in first.groupby("run", observed=True)]
    assert len(pairs) == 2 and pairs[0].equals(pairs[1])


def test_differences_are_paired_by_layer_and_all_with_all(together):
    _, out = together
    found = read_table(out / "comparison.parquet")
    assert set(found.layer) == {"latent", "1", "2", "3", "last"}
    assert set(found.run_a) == {"mine-Wide"} and set(found.run_b) == {"mine-Narrow"}
    scores = read_table(out / "scores.parquet").set_index(["run", "metric", "setting", "layer", "distance"]).value
    for row in found[(found.probe == "word_pairs")].itertuples():
        depth = {"mine-Wide": "5", "mine-Narrow": "3"}
        for run, value in ((row.run_a, row.a), (row.run_b, row.b)):
            layer = depth[run] if row.layer == "last" else row.layer
            assert value == pytest.approx(scores[run, "over_random", row.setting, layer, "euclidean"])
            assert value == pytest.approx(scores[run, "over_random", row.setting, layer, "scaled"])  # the unit cancels
    assert ((found.p > 0) & (found.p <= 1)).all() and (found.low <= found.difference).all() and (found.difference <= found.high).all()


def test_one_page_draws_all_curves(together):
    _, out = together
    text = (out / "report.html").read_text()
    data = unpacked(embedded(text)["tables"]["codecs"])
    scores = read_table(out / "scores.parquet")
    assert set(data["run"]) == {"mine-Narrow", "mine-Wide"} and set(data["kind"]) == {"codebooks", "kbit/s", "share of layers, %"}
    last = [i for i, (run, layer) in enumerate(zip(data["run"], data["layer"])) if (run, layer) == ("mine-Wide", "5")]
    assert {(data["kind"][i], data["x"][i]) for i in last} == {("codebooks", 5), ("kbit/s", 0.5), ("share of layers, %", 100)}
    wanted = scores[(scores.metric == "over_random") & scores.layer.str.isdigit()].value * 100
    shown = {v for v, m, k in zip(data["value"], data["metric"], data["kind"]) if (m, k) == ("over_random", "codebooks")}
    assert shown == {float(f"{value:.5g}") for value in wanted}
    assert "no unit" in text and "paired by item" in text and (out / "plots" / "comparison.png").stat().st_size > 10_000


def test_what_is_stored_is_not_measured_again_unless_asked(together, speech, mine, monkeypatch, capsys):
    own, out = together
    before = read_table(out / "scores.parquet")
    monkeypatch.setattr("laminal.probing.run_probes", lambda *_: pytest.fail("a probe ran"))
    commands.probe(own, (), speech)
    assert read_table(out / "scores.parquet").equals(before)
    with pytest.raises(pytest.fail.Exception):
        commands.probe(own | {"again": True}, (), speech)
    with pytest.raises(pytest.fail.Exception):  # other arguments, other weights
        commands.probe(own, (), [*speech, "codec.mine-Wide.scale=2.0"])
    with pytest.raises(pytest.fail.Exception):  # other sizes
        commands.probe(own, (), [*speech, "probes.word_pairs.randoms=2"])


def test_a_new_codec_is_laid_beside_the_known_ones(together, speech, mine, capsys):
    own, out = together
    commands.probe(own | {"codec": f"{mine}:Narrow,{mine}:Wide,{mine}:Counting"}, (), speech)
    assert set(read_table(out / "scores.parquet").run) == {"mine-Narrow", "mine-Wide", "mine-Counting"}
    assert set(read_table(out / "comparison.parquet").run_a) == {"mine-Wide", "mine-Counting"}


def test_a_codec_that_breaks_the_contract_is_refused_in_one_line(speech, mine, tmp_path):
    with pytest.raises(RequestError, match="breaks the rule 'layers sum'"):
        commands.probe({"codec": f"{mine}:Narrow,{mine}:Broken", "out": str(tmp_path)}, (), speech)


def test_against_takes_codecs_on_either_side(speech, mine, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    own = {"codec": f"{mine}:Narrow", "against": f"{mine}:Wide", "out": str(tmp_path / "out")}
    assert commands.against(own, (), speech) == 0
    folder = tmp_path / "out" / "mine-Narrow-against-mine-Wide"
    found = read_table(folder / "comparison.parquet")
    assert set(found.run_a) == {"mine-Narrow"} and "last" in set(found.layer) and (folder / "report.html").is_file()
    assert "mine-Narrow against mine-Wide" in capsys.readouterr().out
    monkeypatch.setattr("laminal.probing.run_probes", lambda *_: pytest.fail("a probe ran"))
    commands.against(own, (), speech)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["encodec", "dac"], ["encodec", "dac"]),
        (["a/mine.py:Codec"], ["mine"]),
        (["a/mine.py:One", "a/mine.py:Two"], ["mine-One", "mine-Two"]),
        (["runs/a/tokenizer", "runs/b/tokenizer"], ["a-tokenizer", "b-tokenizer"]),
        (["checkpoints/demo/tokenizer"], ["demo-tokenizer"]),
        (["encodec", "encodec", "encodec"], ["encodec", "encodec-2", "encodec-3"]),
        (["facebook/encodec_24khz", "./v1.5"], ["encodec_24khz", "v1"]),
    ],
)
def test_labels_are_short_and_different(names, labels):
    assert codec_choice.labels_of(names) == labels


def test_arguments_say_whose_they_are(mine):
    both = [f"{mine}:Wide", "encodec"]
    found = codec_choice.choices(both, {"mine": {"scale": 2.0}, "encodec": {"path": "x/y"}})
    assert [dict(each.arguments) for each in found] == [{"scale": 2.0}, {"path": "x/y"}] and found[0].load().revision == "wide 2.0"
    assert dict(codec_choice.choices(["encodec"], {"path": "x/y"})[0].arguments) == {"path": "x/y"}
    assert dict(codec_choice.choices(["encodec"], {"encodec": {"path": "x/y"}})[0].arguments) == {"path": "x/y"}
    with pytest.raises(RequestError, match=r"codec\.path: there are 2 codecs; say whose it is, as codec\.mine\.path"):
        codec_choice.choices(both, {"path": "x/y"})
    with pytest.raises(RequestError, match="did you mean encodec"):
        codec_choice.choices(["encodek", f"{mine}:Wide"], {})
    with pytest.raises(RequestError, match="does not exist"):
        codec_choice.choices(["./none.py:Wide", "encodec"], {})
    with pytest.raises(RequestError, match="scael"):
        codec_choice.choices([f"{mine}:Wide"], {"scael": 1})[0].load()


# reproduce


def test_published_curves_are_those_of_the_fixture():
    fixture = json.loads((ROOT / "tests" / "fixtures" / "seed001_reference_curves.json").read_text())["fig2"]
    table = published.table(published.curves("seed001"))
    assert set(table.codec) == set(fixture)
    for codec, given in fixture.items():
        for setting, name in (("near_homophone", "homophone"), ("synonym", "synonym")):
            found = table[(table.codec == codec) & (table.setting == setting)].sort_values("k").value
            assert found.to_list() == pytest.approx([100 * each for each in given[f"{name}_minus_random_over_random"]], abs=2e-3)


@pytest.fixture(scope="module")
def reproduced(speech, mine, tmp_path_factory):
    """The study's configuration with a codec in EnCodec's place; the others cannot be had."""
    folder = tmp_path_factory.mktemp("reproduce")
    text = (ROOT / "configs" / "reproduce_seed001.yaml").read_text()
    assert "codecs: [encodec, dac, mimi, mimo]" in text and "published: seed001" in text and "style: choi" in text
    (folder / "encodec.py").write_text(CODECS)
    small = text.replace("[encodec, dac, mimi, mimo]", f"['{folder}/encodec.py:Narrow', nowhere]").replace("maximum: 4000", "maximum: 300")
    (folder / "small.yaml").write_text(small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laminal.probes.choi_sampling.SEEDS", (0, 1))
        patch.setattr("laminal.probes.word_pairs.SEEDS", (0, 1))
        corpus = [word for word in speech if word.startswith("corpus")]
        assert commands.probe({"codec": f"{mine}:Wide", "out": str(folder / "out")}, (str(folder / "small.yaml"),), corpus) == 0
    return folder / "out"


def test_reproduction_lays_ours_over_theirs_with_the_defects(reproduced):
    text = (reproduced / "report.html").read_text()
    data = unpacked(embedded(text)["tables"]["published"])
    sources = {(codec, source) for codec, source in zip(data["codec"], data["source"])}
    ours = {("encodec", published.OURS["audio"]), ("encodec", published.OURS["features"])}
    assert ours | {(codec, "published") for codec in ("encodec", "dac", "mimi", "mimo")} <= sources
    assert ("mine", published.OURS["audio"]) in sources
    scores = read_table(reproduced / "scores.parquet")
    rows = scores[(scores.run == "encodec") & (scores.metric == "over_random") & (scores.setting == "synonym") & (scores.layer == "2")]
    rows = rows[(rows.slice == "features") & (rows.distance == "euclidean")]
    assert set(rows.seed) == {0, 1}
    wanted = [("encodec", "synonym", published.OURS["features"], "2")]
    keys = list(zip(data["codec"], data["setting"], data["source"], data["layer"]))
    assert data["value"][keys.index(wanted[0])] == pytest.approx(100 * rows.value.mean(), rel=1e-4)
    assert "44 % of the pairs are asymmetric" in text and "before their output projections" in text


def test_reproduction_says_which_codecs_are_missing(reproduced):
    missing = json.loads((reproduced / "manifest.json").read_text())["missing_codecs"]
    assert set(missing) == {"nowhere"} and "no configuration" in missing["nowhere"]
    text = (reproduced / "report.html").read_text()
    assert "nowhere is missing" in text and "Not measured here: dac, mimi, mimo." in text


def test_the_reproduction_asks_for_the_corpus_first():
    with pytest.raises(RequestError, match="root"):
        commands.probe({}, ("reproduce_seed001",), [])
    made = config.load(["reproduce_seed001"], ["corpus.root=x"])
    assert made.probes.word_pairs.slices == ["audio", "features"]
