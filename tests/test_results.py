from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from laminal.errors import RequestError
from laminal.results import COLUMNS, ITEM_COLUMNS, Context, Items, Results, Score, forget_after, layer_order, read_table, store


def results(step: int, value: float = 1.0, corpus: str = "c") -> Results:
    counts = {"n": 3, "clusters": 2, "chance": 0.5, "higher_is_better": None, "unit": ""}
    score = Score(probe="p", metric="m", layer="1", value=value, low=0.0, high=2.0, **counts)
    sides = {"a": ["u:0-1", "v:1-2"], "b": ["w:0-1", "x:1-2"], "cluster": ["a|b", "c|d"]}
    block = Items(probe="p", metric="m", layer="1", value=np.array([value, 2]), **sides)
    return Results(Context(run="r", codec="k", revision="1", step=step, corpus=corpus), [score], [block])


def test_a_second_write_of_a_step_replaces_the_first_and_keeps_the_others(tmp_path):
    for step, value in ((1, 1.0), (2, 2.0), (1, 5.0)):
        store(tmp_path, results(step, value))
    store(tmp_path, results(1, 7.0, corpus="d"))
    scores, items = read_table(tmp_path / "scores.parquet"), read_table(tmp_path / "items.parquet")
    assert list(scores.columns) == list(COLUMNS) and list(items.columns) == list(ITEM_COLUMNS)
    assert sorted(zip(scores.step, scores.corpus, scores.value)) == [(1, "c", 5.0), (1, "d", 7.0), (2, "c", 2.0)]
    assert len(items) == 6 and items[(items.step == 1) & (items.corpus == "c")].value.tolist() == [5.0, 2.0]
    assert items.a.tolist()[:2] == ["u:0-1", "v:1-2"]


def test_forgetting_later_steps(tmp_path):
    for step in (1, 2, 3):
        store(tmp_path, results(step))
    forget_after(tmp_path, 2)
    assert read_table(tmp_path / "scores.parquet").step.tolist() == [1, 2]
    assert set(read_table(tmp_path / "items.parquet").step) == {1, 2}


def test_two_scores_with_one_key_are_refused():
    doubled = results(1)
    doubled.scores.append(doubled.scores[0])
    with pytest.raises(RequestError, match="share the key"):
        doubled.score_table()


def test_a_truncated_table_is_named(tmp_path):
    store(tmp_path, results(1))
    path = tmp_path / "scores.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RequestError, match=r"scores\.parquet is not a readable"):
        read_table(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    store(tmp_path, results(1))
    before = (tmp_path / "scores.parquet").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(OSError, match="No space"):
        store(tmp_path, results(2))
    assert (tmp_path / "scores.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.parquet", "scores.parquet"]


def test_layers_sort_by_number_after_latent():
    assert layer_order(["10", "2", "latent", "1"]) == ["latent", "1", "2", "10"]


def test_scores_read_back_with_missing_direction(tmp_path):
    store(tmp_path, results(1))
    assert pd.isna(read_table(tmp_path / "scores.parquet").higher_is_better[0])


def test_probing_one_probe_again_leaves_the_others(tmp_path):
    whole = results(1)
    whole.scores.append(Score(**{**asdict(whole.scores[0]), "probe": "q", "value": 3.0}))
    store(tmp_path, whole)
    store(tmp_path, results(1, 9.0))
    scores = read_table(tmp_path / "scores.parquet")
    assert dict(zip(scores.probe, scores.value)) == {"p": 9.0, "q": 3.0}


def test_the_same_weights_under_another_name_replace_their_rows_and_other_weights_do_not(tmp_path):
    for run, weights, value in (("old", "w" * 64, 1.0), ("renamed", "w" * 64, 2.0), ("renamed", "x" * 64, 3.0)):
        made = results(1, value)
        made.context = replace(made.context, run=run, ckpt_sha256=weights)
        store(tmp_path, made)
    scores = read_table(tmp_path / "scores.parquet")
    assert sorted(zip(scores.run, scores.value)) == [("renamed", 2.0), ("renamed", 3.0)]


def test_items_written_before_seeds_and_weights_are_read(tmp_path):
    store(tmp_path, results(1))
    old = pq.read_table(tmp_path / "items.parquet").drop_columns(["seed", "weight"])
    pq.write_table(old, tmp_path / "items.parquet")
    store(tmp_path, results(2))
    items = read_table(tmp_path / "items.parquet")
    assert items.seed.tolist() == [0] * 4 and items.weight.tolist() == [1.0] * 4 and items.step.tolist() == [1, 1, 2, 2]
