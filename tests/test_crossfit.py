"""Cross-fitting: two halves pooled are as the whole, spaces of different scale do not matter, and the command says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from laminal import commands
from laminal.compare import paired
from laminal.crossfit import pooled, refuse_other_splits
from laminal.errors import RequestError
from laminal.results import Context, Items, Results
from oracle_several import CODECS
from oracle_training import settings, train

WORDS = [f"w{number}" for number in range(30)]


def run(shift: float, fold: int | None, seed: int = 0, scale: float = 1.0) -> Results:
    """Core synonyms `shift` closer than random and STOI 0.5 + shift, of one half of the pairs and speakers or of all."""
    fixed, own = np.random.default_rng(1), np.random.default_rng([2, seed])
    kept = np.arange(80) % 2 == fold if fold is not None else np.ones(80, dtype=bool)
    blocks = []
    for setting, level in (("synonym_core", 1 - shift), ("random_for_synonym_core", 1.0)):
        pairs = ["|".join(sorted(fixed.choice(WORDS, 2, replace=False))) for _ in range(80)]
        value = scale * (level + fixed.normal(0, 0.05, 80) + own.normal(0, 0.01, 80))
        rows = np.flatnonzero(kept)
        blocks.append(Items(
            probe="word_pairs", metric="distance", setting=setting, layer="1", layer_mode="cumulative", slice="audio", distance="euclidean",
            a=[f"u{i}:0-1" for i in rows], b=[f"v{i}:0-1" for i in rows], cluster=[pairs[i] for i in rows], value=value[rows],
        ))  # fmt: skip
    stoi = 0.5 + shift + fixed.normal(0, 0.1, 80)
    rows = np.flatnonzero(kept)
    blocks.append(Items(
        probe="reconstruction", metric="stoi", layer="1", layer_mode="cumulative", a=[f"u{i}" for i in rows],
        cluster=[f"s{i % 8}" for i in rows], value=stoi[rows], weight=np.ones(len(rows)) if fold else None,
    ))  # fmt: skip
    context = Context(run="r", codec="k", revision="1", corpus="c", corpus_sha256="c")
    return Results(context, items=blocks)


def halves(shift, seed=0, scales=(1.0, 1.0)):
    return pooled([run(shift, fold, seed, scale) for fold, scale in enumerate(scales)], ["zero", "one"])


def told(found):
    return {(each.probe, each.metric): each for each in found}


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1.0, 20.0)])
def test_halves_pooled_are_as_the_whole(scales):
    """Each run's space has a scale of its own; that of the second is twenty times the first's."""
    whole = told(paired([run(0.1, None)], [run(0.02, None)]))
    found = told(paired(halves(0.1, scales=scales), halves(0.02)))
    assert found.keys() == whole.keys() and len(found) == 2
    for key, each in found.items():
        assert each.n == whole[key].n and each.clusters == whole[key].clusters
        assert each.difference == pytest.approx(whole[key].difference, abs=3e-3)
        assert each.low == pytest.approx(whole[key].low, abs=6e-3) and each.high == pytest.approx(whole[key].high, abs=6e-3)


def test_seeds_stay_seeds():
    runs = [run(0.1, fold, seed) for fold in (1, 0) for seed in (0, 1, 2)]
    seeds = pooled(runs, ["one"] * 3 + ["zero"] * 3)
    assert len(seeds) == 3
    values = [np.sort(each.items[2].value) for each in seeds]
    assert all(np.allclose(value, np.sort(run(0.1, None).items[2].value), rtol=0, atol=0) for value in values)
    assert pooled(runs[:3], ["one"] * 3) == runs[:3]
    with pytest.raises(RequestError, match="of 1 and 2 runs: give every fold the same number of seeds"):
        pooled(runs[:3], ["zero", "one", "one"])


def test_word_pairs_without_their_random_pairs_are_left_out():
    bare = [
        replace(each, items=[block for block in each.items if not block.setting.startswith("random")]) for each in (run(0, 0), run(0, 1))
    ]
    assert [block.probe for block in pooled(bare, ["zero", "one"])[0].items] == ["reconstruction"]


def test_what_both_folds_test_counts_once():
    """On a corpus that neither was trained on both test everything."""
    both = pooled([run(0.1, None, scale=1.0), run(0.3, None, scale=9.0)], ["zero", "one"])
    found = told(paired(both, pooled([run(0.1, None), run(0.1, None)], ["zero", "one"])))
    assert found["reconstruction", "stoi"].n == 80 and found["reconstruction", "stoi"].difference == pytest.approx(0.1)
    assert found["word_pairs", "over_random"].n == told(paired([run(0.1, None)], [run(0.1, None)]))["word_pairs", "over_random"].n
    assert found["word_pairs", "over_random"].difference == pytest.approx(-0.1, abs=0.02)


def test_a_fold_that_one_side_lacks_is_refused_and_what_one_fold_lacks_is_named():
    with pytest.raises(RequestError, match="A has runs of 2 splits and B of 1, 1 of them the same"):
        refuse_other_splits(["zero", "one"], ["zero"])
    refuse_other_splits(["zero", "zero"], ["zero"])
    refuse_other_splits(["of spoken"], ["of librispeech"])  # two recipes on two corpora, probed on a third
    lacking = replace(run(0, 1), items=[block for block in run(0, 1).items if block.probe == "word_pairs"])
    (whole,) = pooled([run(0, 0), lacking], ["zero", "one"])
    assert [(each.probe, each.what) for each in whole.undefined] == [("reconstruction", "stoi all")]
    assert {block.probe for block in whole.items} == {"word_pairs"}


def test_two_folds_of_two_recipes_are_compared_on_all_of_a_corpus(tiny_corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("laminal.report.folder.write", lambda folder: folder / "report.html")
    names = {}
    for recipe, rate in (("a", 1e-3), ("b", 1e-4)):
        for fold in (0, 1):
            folder = tmp_path / f"{recipe}{fold}"
            train(settings(tiny_corpus, f"split.fold={fold}", f"optimizer.lr={rate}", "trainer.epochs=1"), folder)
            names.setdefault(recipe, []).append(str(folder))
    own = {"ckpt": ",".join(names["a"]), "against": ",".join(names["b"]), "probe": "units", "out": str(tmp_path / "out")}
    capsys.readouterr()
    assert commands.against(own, (), []) == 0
    assert "Cross-fitted: the items of 2 splits are pooled" in capsys.readouterr().out
    rows = pd.read_parquet(next((tmp_path / "out").rglob("comparison.parquet")))
    accuracy = rows[rows.metric == "phone_gain"]
    assert len(accuracy) == 2 and (accuracy.clusters == 6).all() and (accuracy.seeds_a == 1).all()  # all six speakers, one run a side
    alone = own | {"ckpt": names["a"][0], "against": names["b"][0], "out": str(tmp_path / "alone")}
    assert commands.against(alone, (), []) == 0 and "Cross-fitted" not in capsys.readouterr().out
    rows = pd.read_parquet(next((tmp_path / "alone").rglob("comparison.parquet")))
    assert (rows[rows.metric == "phone_gain"].clusters == 3).all()
    with pytest.raises(RequestError, match="give both sides a run of every fold"):
        commands.against(own | {"against": names["b"][0]}, (), [])
    (tmp_path / "mine.py").write_text(CODECS)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    for _ in range(2):  # each fold's scores of the codec stay where they are
        assert commands.against(own | {"against": "mine.py:Narrow"}, (), []) == 0
    assert "largest difference" not in capsys.readouterr().out and len(list(Path("results/mine").glob("split-*/scores.parquet"))) == 2
