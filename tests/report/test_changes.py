"""Paired changes since the first checkpoint: against a slow bootstrap over speakers, and only where the same items were kept."""

import numpy as np
import pytest

from laminal.errors import RequestError
from laminal.report import sentences
from laminal.report.changes import scores_of
from laminal.report.selection import checkpoints
from laminal.results import Context, Items, Results, store
from oracle_report import score

SPEAKERS, EACH = 6, 5


def _step(folder, step, values, utterances=None, corpus="spoken"):
    """Store STOI of one checkpoint: the mean, with an interval so wide that two of them always meet."""
    names = utterances or [f"u{i}" for i in range(SPEAKERS * EACH)]
    given = {"probe": "reconstruction", "metric": "stoi", "layer": "8", "layer_mode": "cumulative"}
    items = Items(**given, a=names, value=values, cluster=[f"s{i // EACH}" for i in range(len(names))])
    row = score(**given, value=values.mean(), low=values.mean() - 0.3, high=values.mean() + 0.3, higher_is_better=True, unit="")
    context = Context(run="r", codec="laminal", revision="", epoch=step // 10 - 1, step=step, corpus=corpus, corpus_sha256="c")
    store(folder, Results(context, [row], [items]))


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    first = np.repeat(rng.uniform(0.3, 0.9, SPEAKERS), EACH) + rng.normal(0, 0.02, SPEAKERS * EACH)
    return first, first + 0.05 + rng.normal(0, 0.03, SPEAKERS * EACH)


def test_the_interval_is_that_of_the_differences(tmp_path, values):
    first, last = values
    _step(tmp_path, 10, first)
    _step(tmp_path, 20, (first + last) / 2)
    _step(tmp_path, 30, last)
    found = scores_of(tmp_path).set_index("step")
    assert found.loc[[10, 20], ["change_low", "change_high"]].isna().all(axis=None)
    each = (last - first).reshape(SPEAKERS, EACH).mean(1)
    half = 2.5706 * each.std(ddof=1) / np.sqrt(SPEAKERS)  # t of 5 degrees of freedom, from a table
    assert found.loc[30, "change_low"] == pytest.approx(each.mean() - half, abs=0.12 * half)
    assert found.loc[30, "change_high"] == pytest.approx(each.mean() + half, abs=0.12 * half)
    assert found.loc[30, "change_low"] > 0
    moved = f"STOI {first.mean():.3g} to {last.mean():.3g}."
    said = sentences.summary(scores_of(tmp_path))
    assert said == [f"Speech rebuilt from 8 codebooks, epoch 0 to epoch 2: better beyond the interval: {moved}"]


def test_without_the_same_items_two_intervals_have_to_do(tmp_path, values):
    first, last = values
    _step(tmp_path, 10, first)
    _step(tmp_path, 30, last, [f"v{i}" for i in range(SPEAKERS * EACH)])
    assert checkpoints(scores_of(tmp_path))[-1].find("reconstruction", "stoi", layer="8").change is None
    assert "no difference beyond the interval: STOI" in sentences.summary(scores_of(tmp_path))[0]
    (tmp_path / "items.parquet").unlink()
    assert scores_of(tmp_path)["change_low"].isna().all()


def test_corpora_are_kept_apart(tmp_path, values):
    first, last = values
    for step, one, other in ((10, first, last), (30, last, first)):
        _step(tmp_path, step, one)
        _step(tmp_path, step, other, corpus="librispeech")
    found = scores_of(tmp_path).query("step == 30").set_index("corpus")
    assert found.loc["spoken", "change_low"] > 0 > found.loc["librispeech", "change_high"]
    with pytest.raises(RequestError, match="no scores.parquet"):
        scores_of(tmp_path / "empty")
