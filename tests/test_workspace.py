"""The W&B workspace, built offline: what it holds, and that it is laid out once."""

import pytest

from laminal import workspace
from laminal.results import Score

LAYERS = ("latent", "1", "2", "10")
TRAINING = ["codebooks/usage/L01", "codebooks/usage/L02", "train/mel", "val/mel"]


def score(probe, metric, setting="", layer="", **changes):
    return Score(
        probe=probe, metric=metric, setting=setting, layer=layer, value=1.0, low=0.0, high=2.0, n=3, clusters=2, chance=0.5,
        higher_is_better=None, unit="", **changes,
    )  # fmt: skip


USUAL = {"slice": "audio", "distance": "euclidean", "layer_mode": "cumulative"}
SCORES = [
    *(score("word_pairs", "mean", setting, layer, **USUAL | {"distance": distance})
      for setting in ("synonym", "random_for_synonym") for layer in reversed(LAYERS) for distance in ("cosine", "euclidean")),
    *(score("word_pairs", "over_random", "synonym", layer, **USUAL, split=split) for layer in LAYERS for split in ("all", "new_word")),
    *(score("units", "perplexity", layer=layer, layer_mode="single") for layer in LAYERS[1:]),
    score("units", "bits_entropy"),
]  # fmt: skip


@pytest.fixture
def made():
    pytest.importorskip("wandb_workspaces")
    return workspace.layout("me", "laminal", SCORES, TRAINING)


def test_a_section_per_probe_and_one_for_the_training(made):
    assert [section.name for section in made.sections] == ["word_pairs", "units", "training"]
    assert [section.panel_settings.x_axis for section in made.sections] == ["probe/epoch", "probe/epoch", "train/step"]
    assert [section.is_open for section in made.sections] == [True, True, False]


def test_layer_curves_by_epoch_with_the_usual_choices_in_the_order_of_layers(made):
    pairs, units, training = ({panel.title: panel for panel in section.panels} for section in made.sections)
    assert list(pairs) == ["synonym: over_random", "synonym: mean"]  # random pairs are in the other metrics
    assert pairs["synonym: mean"].y == [f"probe/word_pairs/synonym/mean/{layer}" for layer in ("latent", "L01", "L02", "L10")]
    assert units["perplexity"].y == [f"probe/units/perplexity/{layer}" for layer in ("L01", "L02", "L10")]
    assert units["bits_entropy"].y == ["probe/units/bits_entropy"]
    assert {panel.x for panel in [*pairs.values(), *units.values()]} == {"probe/epoch"}
    assert {title: panel.y for title, panel in training.items()} == {
        "codebooks/usage": TRAINING[:2], "train/mel": ["train/mel"], "val/mel": ["val/mel"],
    }  # fmt: skip
    assert {panel.x for panel in training.values()} == {"train/step"}


def test_what_would_be_sent_holds_every_curve(made):
    sent = made._to_model().model_dump_json(by_alias=True)
    for name in ("probe/word_pairs/synonym/over_random/L10", "probe/units/perplexity/L02", "codebooks/usage/L01", "probe/epoch"):
        assert name in sent, name
    assert "new_word" not in sent and "cosine" not in sent


def test_it_is_laid_out_once_for_a_project(tmp_path, monkeypatch):
    saved = []

    class Made:
        url = "https://example.org"

        def save(self):
            saved.append("save")

    monkeypatch.setattr(workspace, "layout", lambda *args: Made())
    for run, project in (("first", "a"), ("second", "a"), ("first", "b")):
        workspace.once(tmp_path / run, "me", project, SCORES, TRAINING)
    assert len(saved) == 2


def test_a_failed_upload_is_tried_again_by_the_next_run(tmp_path, monkeypatch):
    class Made:
        def save(self):
            raise OSError("no such host")

    monkeypatch.setattr(workspace, "layout", lambda *args: Made())
    for _ in range(2):
        with pytest.raises(OSError, match="no such host"):
            workspace.once(tmp_path / "run", "me", "a", SCORES, TRAINING)
