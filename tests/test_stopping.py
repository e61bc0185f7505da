"""Early stopping: which values it counts, when it ends a run, what it says, and that a resume keeps what it has seen."""

import json
import shutil

import lightning
import pytest
import torch

from laminal import experiment, training
from laminal.callback import ProbeCallback
from laminal.errors import RequestError
from laminal.results import Score
from laminal.stopping import Stopping
from oracle_training import differences, metrics, settings, train, weights

MONITOR = "probe/made_up/quality/L01"


class Probed:
    """As much of ProbeCallback."""

    __class__ = ProbeCallback  # for the type checks at run time

    def __init__(self, up):
        self.directions = {MONITOR: up}


class Fit:
    """As much of a trainer."""

    __class__ = lightning.Trainer
    is_global_zero, should_stop = True, False


@pytest.mark.parametrize(
    ("values", "up", "mode", "patience", "ends", "best"),
    [
        ([3, 2, 1], True, None, 2, 3, 3),  # higher is better: two checkpoints without
        ([3, 2, 1], False, None, 2, None, 1),
        ([3, 2, 1], True, "min", 2, None, 1),  # what is asked for goes before the score's own direction
        ([1, 2, 2, 2], True, None, 2, 4, 2),  # an equal one is not better
        ([1, 0, 2, 1, 0], True, None, 2, 5, 2),  # a better one begins anew
        ([1, None, float("nan"), 0], True, None, 1, 4, 1),  # those without a value are not counted
        ([1, 0], True, None, 1, 2, 1),
    ],
)
def test_when_it_ends(values, up, mode, patience, ends, best):
    made, trainer, ended = Stopping(Probed(up), MONITOR, patience, mode), Fit(), None
    for step, value in enumerate(values, start=1):
        made.look(trainer, step, None if value is None else float(value))
        made.look(trainer, step, None if value is None else float(value))  # two hooks of one step
        state, made = made.state_dict(), Stopping(Probed(up), MONITOR, patience, mode)  # a resume after every step
        made.load_state_dict(state)
        if trainer.should_stop and ended is None:
            ended = step
    assert ended == ends and made.best == best
    assert (made.why() is None) == (made.facts() is None) == (ends is None)
    if ends is not None:
        assert made.why().startswith(f"stopped at step {ends}: {MONITOR} has not been better than {best} (step {values.index(best) + 1})")


def test_the_memory_of_another_monitor_is_not_taken_up():
    made = Stopping(Probed(True), MONITOR, 1, None)
    made.load_state_dict({"monitor": "val/mel", "mode": None, "best": 1.0, "best_step": 4, "seen_step": 8, "waited": 9})
    assert made.best is None and not made.over


def test_a_score_without_a_direction_asks_for_one():
    with pytest.raises(RequestError, match="neither direction is better in itself; give stopping.mode=min or max"):
        Stopping(Probed(None), MONITOR, 1, None).look(Fit(), 1, 1.0)
    Stopping(Probed(None), MONITOR, 1, "min").look(Fit(), 1, 1.0)


class MadeUp:
    """A probe whose quality is a function of how often it was asked."""

    def __init__(self, values):
        self.values, self.calls = values, 0

    def run(self, codec):
        value = self.values[self.calls]
        self.calls += 1
        yield Score(
            probe="made_up", metric="quality", value=value, low=value, high=value, n=1, clusters=1, chance=0.0, higher_is_better=True,
            unit="", layer="1", layer_mode="cumulative",
        )  # fmt: skip


SHORT = ("data.validation_crops=1", "losses.adversarial.weight=0", "losses.feature_matching.weight=0")


def made_up(monkeypatch, *values):
    monkeypatch.setattr(experiment, "probes", lambda *_: {"made_up": MadeUp([float(value) for value in values])})


def at(path):
    return torch.load(path, weights_only=True)["laminal"]["generator_step"]


def test_a_run_ends_early_and_says_why(tiny_corpus, tmp_path, monkeypatch, capsys):
    words = ("trainer.steps_per_epoch=1", "trainer.epochs=6", "probing.every_epochs=1", "stopping.patience=2")
    made = settings(tiny_corpus, *SHORT, *words, f"stopping.monitor={MONITOR}")
    made_up(monkeypatch, 5, 9, 7, 8, 6, 6)
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr("laminal.report.folder.write", lambda each: each / "report.html")  # the words that follow are what is asked
    monkeypatch.setattr("laminal.report.sentences.table", lambda _: "")
    monkeypatch.setattr("laminal.report.sentences.summary", lambda _: [])
    assert training.run(made, folder, resume=False) == 0
    why = "stopped at step 4: probe/made_up/quality/L01 has not been better than 9 (step 2) for 2 checkpoints"
    assert why in capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["generator_steps"] == 4 and manifest["stopped"] == {
        "step": 4, "monitor": MONITOR, "best": 9.0, "best_step": 2, "waited": 2, "patience": 2, "why": why,
    }  # fmt: skip
    assert at(folder / "last.ckpt") == 4 and (folder / "tokenizer").is_dir()
    before = weights(folder / "last.ckpt")
    train(made, folder, resume=True)  # nothing to add
    assert at(folder / "last.ckpt") == 4 and differences(before, weights(folder / "last.ckpt")) == []
    made.stopping.patience = 3  # more patience: it goes on, and what was seen counts
    made_up(monkeypatch, 1, 1)
    train(made, folder, resume=True)
    assert at(folder / "last.ckpt") == 5 and json.loads((folder / "manifest.json").read_text())["stopped"]["best_step"] == 2


def test_a_kill_between_changes_nothing(tiny_corpus, tmp_path, monkeypatch):
    """Stopped at step 5 inside an epoch, with and without a stop at step 3: weights, losses and reason are the same."""
    words = ("trainer.steps_per_epoch=4", "trainer.epochs=3", "probing.every_epochs=null", "probing.every_steps=1")
    made = settings(tiny_corpus, *SHORT, *words, f"stopping.monitor={MONITOR}")
    made_up(monkeypatch, 5, 9, 7, 8, 6, 0, 0)
    train(made, tmp_path / "whole")
    assert at(tmp_path / "whole" / "last.ckpt") == 5
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "step=000003.ckpt").replace(tmp_path / "cut" / "last.ckpt")
    made_up(monkeypatch, 8, 6, 0, 0)
    train(made, tmp_path / "cut", resume=True)
    assert differences(weights(tmp_path / "whole" / "last.ckpt"), weights(tmp_path / "cut" / "last.ckpt")) == []
    rows = [metrics(tmp_path / name) for name in ("whole", "cut")]
    assert rows[0].equals(rows[1])
    told = [json.loads((tmp_path / name / "manifest.json").read_text())["stopped"] for name in ("whole", "cut")]
    assert told[0] == told[1] and told[0]["step"] == 5


def test_a_term_of_the_validation_counts_every_epoch(tiny_corpus, tmp_path):
    """Where nothing learns the second validation is no better than the first."""
    still = ("optimizer.lr=1e-12", "optimizer.warmup_steps=0", "tokenizer.quantizer.decay=1.0", "tokenizer.quantizer.dead=0.0")
    words = ("trainer.steps_per_epoch=1", "trainer.epochs=4", "probing.every_epochs=null", "stopping.monitor=val/mel")
    train(settings(tiny_corpus, *SHORT, *words, "stopping.patience=1", *still), tmp_path)
    values = metrics(tmp_path)
    values = values[values.name == "val/mel"].sort_values("step").value.tolist()
    assert len(values) == 2 and values[0] == values[1]


def test_a_run_without_it_is_the_run_before_there_was_one(tiny_corpus, tmp_path):
    made = settings(tiny_corpus, *SHORT, "trainer.steps_per_epoch=1", "trainer.epochs=1", "probing.every_epochs=null")
    older = made.copy()
    del older["stopping"]
    for name, each in (("now", made), ("older", older)):
        train(each, tmp_path / name)
    assert differences(weights(tmp_path / "now" / "last.ckpt"), weights(tmp_path / "older" / "last.ckpt")) == []
    assert "stopped" not in json.loads((tmp_path / "now" / "manifest.json").read_text())
