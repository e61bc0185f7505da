"""Which checkpoints a run keeps, that each is the probed one, that they reach the disk whole, and that it goes on from any of them."""

import os
import signal

import lightning
import pytest
import torch

from laminal import experiment, training
from laminal.callback import ProbeCallback
from laminal.checkpoints import Checkpoints
from laminal.codecs.load import load_checkpoint, load_codec
from laminal.errors import RequestError
from laminal.nn.tokenizer import Tokenizer
from laminal.results import Score, read_table
from laminal.task import TokenizerTask
from oracle_training import differences, metrics, settings, train, weights

MONITOR = "probe/made_up/quality/L01"


class MadeUp:
    """A probe whose quality of each step is given; None: it raises."""

    name, version = "made_up", 1

    def __init__(self, values):
        self.values, self.calls = values, 0

    def run(self, codec):
        value = self.values[self.calls]
        self.calls += 1
        if value is None:
            raise RuntimeError("this probing failed")
        yield Score(
            probe="made_up", metric="quality", value=value, low=value, high=value, n=1, clusters=1, chance=0.0, higher_is_better=True,
            unit="", layer="1", layer_mode="cumulative",
        )  # fmt: skip


def steps(folder) -> list[int]:
    return sorted(int(path.stem.removeprefix("step=")) for path in folder.glob("step=*.ckpt"))


def at(path) -> int:
    return torch.load(path, weights_only=True)["laminal"]["generator_step"]


SHORT = ("trainer.steps_per_epoch=1", "data.validation_crops=1", "losses.adversarial.weight=0", "losses.feature_matching.weight=0")


@pytest.mark.parametrize(
    ("values", "keep", "words", "kept", "best"),
    [
        ([9.0, 3.0, 5.0], 2, ["probing.every_epochs=3"], [1, 4], 1),  # 1, 3 and 4 are probed: 2 must not be ranked by 1's score
        ([None, 2.0, None, 2.0], 1, ["probing.every_epochs=1"], [2], 2),
        ([None, None], 1, ["probing.every_epochs=3", "checkpoint.every_epochs=9", "trainer.epochs=2"], [], None),
    ],
)
def test_the_best_probed_checkpoints_stay(tiny_corpus, tmp_path, monkeypatch, caplog, values, keep, words, kept, best):
    monkeypatch.setattr(experiment, "probes", lambda *_: {"made_up": MadeUp(values)})
    folder = tmp_path / "run"
    made = settings(
        tiny_corpus, *SHORT, "trainer.epochs=4", f"checkpoint.monitor={MONITOR}", f"checkpoint.keep={keep}", "checkpoint.mode=max", *words
    )
    folder.mkdir()
    (folder / ".last.ckpt.1-0badcafe.ckpt").touch()  # as a kill leaves it
    train(made, folder)
    assert not list(folder.glob(".*.ckpt"))
    assert steps(folder) == kept and at(folder / "last.ckpt") == made.trainer.epochs
    assert set(kept) <= set(read_table(folder / "scores.parquet").step) if kept else "is written" in caplog.text
    assert ("has no value at step" in caplog.text) == (None in values)
    assert (folder / "tokenizer-best").exists() == (best is not None)
    if best is not None:
        wav = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
        exported, held = load_codec(str(folder / "tokenizer-best")), load_checkpoint(folder / f"step={best:06d}.ckpt").codec
        assert torch.equal(exported.encode(wav), held.encode(wav)) and exported.revision == held.revision


class Saving:
    """As much of a trainer as Checkpoints needs; which files there are."""

    __class__ = lightning.Trainer
    is_global_zero = True

    def __init__(self):
        self.strategy, self.log = self, []

    def save_checkpoint(self, path, weights_only):
        assert not weights_only, "all of the state"
        path.touch()
        self.log.append(path.name)

    def remove_checkpoint(self, path):
        path.unlink()
        self.log.append(f"-{path.name}")


class Probed:
    """As much of ProbeCallback."""

    __class__ = ProbeCallback  # for the type checks at run time
    probed_step, metrics = -1, {}


class At:
    """As much of a task."""

    __class__ = TokenizerTask

    def __init__(self, step):
        self.generator_step = step


@pytest.mark.parametrize(
    ("mode", "keep", "values", "kept", "best"),
    [
        ("max", 1, [3, 9, 5], [2], 2),
        ("min", 1, [3, 9, 5], [1], 1),
        ("max", 2, [3, 9, 5, 9], [2, 4], 2),
        ("max", 1, [4, 4, 4], [1], 1),
        ("min", 2, [float("nan"), 2, None, 1, 3], [2, 4], 4),
        ("min", -1, [1, None, 2], [1, 3], 1),
    ],
)
def test_ranking(tmp_path, mode, keep, values, kept, best):
    trainer = Saving()
    made = Checkpoints(tmp_path, Probed(), 1, "probe/x", mode, keep)
    for step, value in enumerate(values, start=1):
        made.save(trainer, At(step), {} if value is None else {"probe/x": float(value)})
        if step == 2:  # a resume takes the ranking up
            state, made = made.state_dict(), Checkpoints(tmp_path, Probed(), 1, "probe/x", mode, keep)
            made.load_state_dict(state)
    assert steps(tmp_path) == kept and made.best_checkpoint() == tmp_path / f"step={best:06d}.ckpt"
    assert trainer.log.count("last.ckpt") == len(values)
    gone = [number for number, name in enumerate(trainer.log) if name.startswith("-")]
    assert all(trainer.log[number - 1] == "last.ckpt" for number in gone)  # it goes when last.ckpt knows of it no more
    (tmp_path / f"step={best:06d}.ckpt").unlink()
    assert made.best_checkpoint() != tmp_path / f"step={best:06d}.ckpt"


def test_probing_by_steps_leaves_a_checkpoint_at_each_and_no_trace_and_each_can_be_gone_on_from(tiny_corpus, tmp_path):
    """Weights, optimizers, every random generator, losses: as without probes, and as after a kill between two steps of an epoch."""
    words = ("probing.every_epochs=null", "checkpoint.every_epochs=9", "probes.word_pairs=null", "trainer.steps_per_epoch=2")
    made = settings(tiny_corpus, *words, "probing.every_steps=3")
    train(made, tmp_path / "probed")
    assert steps(tmp_path / "probed") == [3, 4] == sorted(set(read_table(tmp_path / "probed" / "scores.parquet").step))
    assert all(at(path) == int(path.stem[5:]) for path in (tmp_path / "probed").glob("step=*.ckpt"))
    train(settings(tiny_corpus, *words), tmp_path / "bare")
    whole = weights(tmp_path / "probed" / "last.ckpt")
    assert differences(whole, weights(tmp_path / "bare" / "last.ckpt")) == []
    assert metrics(tmp_path / "probed").equals(metrics(tmp_path / "bare"))
    scores = read_table(tmp_path / "probed" / "scores.parquet").drop(columns="run")
    (tmp_path / "probed" / "step=000003.ckpt").replace(tmp_path / "probed" / "last.ckpt")
    train(made, tmp_path / "probed", resume=True)
    assert differences(whole, weights(tmp_path / "probed" / "last.ckpt")) == []
    assert metrics(tmp_path / "probed").equals(metrics(tmp_path / "bare"))
    assert read_table(tmp_path / "probed" / "scores.parquet").drop(columns="run").equals(scores)


class Stop(lightning.Callback):
    """SIGTERM to this process at the n-th time of a hook."""

    def __init__(self, hook: str, times: int):
        self.left = times
        setattr(self, hook, self.count)

    def count(self, *_):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def without_a_stop(tiny_corpus, tmp_path_factory):
    """Runs of two epochs of two steps, two batches of validation and a probing at the end of each, by batches of a step."""
    words = ("trainer.steps_per_epoch=2", "data.validation_crops=4", "probing.every_epochs=1", "probes.word_pairs=null")
    made = {number: settings(tiny_corpus, *words, f"trainer.accumulate={number}", "losses.adversarial.start=1") for number in (1, 2)}
    folders = {number: tmp_path_factory.mktemp("whole") / str(number) for number in made}
    for number, folder in folders.items():
        train(made[number], folder)
    return made, folders


@pytest.mark.parametrize(
    ("hook", "times", "accumulate"),
    [("on_train_batch_start", 1, 1), ("on_train_batch_start", 2, 1), ("on_validation_batch_start", 1, 1), ("on_train_batch_start", 5, 2)],
    ids=["inside an epoch", "in its last batch", "in the validation", "between two batches of a step"],
)
def test_sigterm_anywhere_goes_on_exactly(without_a_stop, tmp_path, monkeypatch, hook, times, accumulate):
    made, whole = without_a_stop[0][accumulate], without_a_stop[1][accumulate]
    real = training.trainer_of
    with monkeypatch.context() as patched:
        patched.setattr(training, "trainer_of", lambda config, folder, callbacks: real(config, folder, [Stop(hook, times), *callbacks]))
        with pytest.raises(SystemExit) as left:
            train(made, tmp_path / "stopped")
    assert left.value.code == 143
    train(made, tmp_path / "stopped", resume=True)
    assert differences(weights(whole / "last.ckpt"), weights(tmp_path / "stopped" / "last.ckpt")) == []
    assert metrics(whole).equals(metrics(tmp_path / "stopped"))
    tables = [read_table(folder / "scores.parquet").drop(columns="run") for folder in (whole, tmp_path / "stopped")]
    assert tables[0].equals(tables[1])


def test_checkpoints_are_written_in_their_own_folder_alone(tiny_corpus, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setattr("tempfile.tempdir", None)
    touched = []
    real = os.rename, os.replace, os.open
    monkeypatch.setattr(os, "open", lambda path, *rest, **named: touched.append(str(path)) or real[2](path, *rest, **named))
    made = settings(tiny_corpus, *SHORT, "probing.every_epochs=null", "trainer.epochs=1")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.move", lambda *_: pytest.fail("a move across file systems is a copy: it can be cut short"))
        train(made, tmp_path / "run")
    assert not list(elsewhere.iterdir()) and not [path for path in touched if path.startswith(str(elsewhere))]
    assert (tmp_path / "run" / "last.ckpt").is_file() and not list((tmp_path / "run").glob(".*ckpt*"))


def recipe(**changed):
    small = {
        "sample_rate": 16000, "ratios": [8, 5, 4, 2], "filters": 2, "dim": 8, "codebooks": 2, "codebook_size": 16, "lstm_layers": 1,
        "residual_layers": 1, "causal": True, "norm": "weight_norm", "dropout": 0.0, "seed": 0,
    }  # fmt: skip
    return small | changed


@pytest.mark.parametrize("changed", [{"filters": 4}, {"codebooks": 1}, {"codebook_size": 32}, {"nonsense": 1}])
def test_a_checkpoint_that_does_not_fit_its_own_description_is_named(tmp_path, changed):
    state = {f"tokenizer.{name}": value for name, value in Tokenizer(**recipe()).state_dict().items()}
    held = {"state_dict": state, "epoch": 0, "laminal": {"generator_step": 1, "tokenizer": recipe()}}
    torch.save(held, tmp_path / "good.ckpt")
    assert load_checkpoint(tmp_path / "good.ckpt").step == 1
    held["laminal"]["tokenizer"] = recipe(**changed)
    torch.save(held, tmp_path / "other.ckpt")
    with pytest.raises(RequestError, match=r"other\.ckpt does not fit its own description"):
        load_checkpoint(tmp_path / "other.ckpt")


def test_a_run_does_not_go_on_from_the_checkpoint_of_another_tokenizer(tiny_corpus, tmp_path):
    made = settings(tiny_corpus, *SHORT, "probing.every_epochs=null", "trainer.epochs=1")
    train(made, tmp_path)
    made.tokenizer.filters = 2
    with pytest.raises(RequestError, match="another tokenizer .filters: 4 there, 2 in config.yaml"):
        train(made, tmp_path, resume=True)
