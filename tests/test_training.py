"""Whole trainings on a tiny corpus: what a run leaves, exactness with and without probes, and after a kill."""

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from laminal import experiment, runfolder, training
from laminal.results import KEY, Score, read_table
from oracle_training import differences, metrics, settings, train, weights


@pytest.fixture(scope="session")
def whole_run(tiny_corpus, tmp_path_factory):
    """A finished run, probed at both epochs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    made = settings(tiny_corpus)
    train(made, folder)
    return made, folder


def test_a_run_leaves_what_the_design_says(whole_run):
    _, folder = whole_run
    there = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "manifest.json", "last.ckpt", "step=000004.ckpt", "step=000008.ckpt", "tokenizer", "split.json"} <= there
    scores = read_table(folder / "scores.parquet")
    assert set(scores.step) == {4, 8} and {"word_pairs", "units"} <= set(scores.probe)
    assert not scores.duplicated([*KEY, "step"]).any()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["generator_steps"] == 8 and len(manifest["corpus_sha256"]) == 64 and manifest["versions"]["torch"]
    assert set(metrics(folder).step) == set(range(1, 9))


def test_probes_leave_no_trace_in_the_training(whole_run, tiny_corpus, tmp_path):
    _, folder = whole_run
    train(settings(tiny_corpus, "probing.every_epochs=null"), tmp_path / "bare")
    assert not (tmp_path / "bare" / "scores.parquet").exists()
    assert differences(weights(folder / "last.ckpt"), weights(tmp_path / "bare" / "last.ckpt")) == []
    assert metrics(folder).equals(metrics(tmp_path / "bare"))


class Leaky:
    """A probe that breaks the rules in one of the ways that probes do."""

    name, version = "leaky", 1

    def __init__(self, corpus, split, how: str):
        self.how = how

    def run(self, codec):
        match self.how:
            case "torch":
                torch.rand(1)
            case "numpy":
                np.random.rand()
            case "python":
                random.random()
            case "raise":
                raise RuntimeError("this probe always fails")
        yield Score(probe="leaky", metric="m", value=1.0, low=1.0, high=1.0, n=1, clusters=1, chance=0.0, higher_is_better=None, unit="")


@pytest.mark.parametrize("how", ["torch", "numpy", "python", "none"])
def test_a_leaky_probe_is_told_of_and_leaves_no_trace(whole_run, tiny_corpus, tmp_path, monkeypatch, caplog, how):
    _, folder = whole_run
    monkeypatch.setattr(experiment, "probes", lambda *_: {"leaky": Leaky(None, None, how)})
    train(settings(tiny_corpus), tmp_path / how)
    assert ("probes leaky drew from a global random generator at step 4" in caplog.text) is (how != "none")
    assert differences(weights(folder / "last.ckpt"), weights(tmp_path / how / "last.ckpt")) == []


@pytest.mark.parametrize("how", ["torch", "numpy", "python"])
def test_the_comparison_of_checkpoints_sees_every_generator(whole_run, tiny_corpus, tmp_path, monkeypatch, how):
    """What the callback puts back would else be found: a comparison that cannot fail would prove nothing."""
    _, folder = whole_run
    monkeypatch.setattr(experiment, "probes", lambda *_: {"leaky": Leaky(None, None, how)})
    monkeypatch.setattr("laminal.callback.set_rng", lambda _: None)
    train(settings(tiny_corpus), tmp_path / how)
    found = differences(weights(folder / "last.ckpt"), weights(tmp_path / how / "last.ckpt"))
    assert found and all(where.startswith(f"/laminal/rng/{how}") for where in found if "/rng/" in where)


def test_a_probe_that_raises_is_reported_and_the_training_goes_on(whole_run, tiny_corpus, tmp_path, monkeypatch, caplog):
    _, folder = whole_run
    monkeypatch.setattr(experiment, "probes", lambda *_: {"leaky": Leaky(None, None, "raise")})
    train(settings(tiny_corpus), tmp_path / "raises")
    assert "this probe always fails" in caplog.text
    assert differences(weights(folder / "last.ckpt"), weights(tmp_path / "raises" / "last.ckpt")) == []


def test_stored_scores_are_those_of_the_checkpoint(whole_run):
    from laminal import probing

    made, folder = whole_run
    stored = read_table(folder / "scores.parquet")
    for step in (4, 8):
        target = probing.checkpoint_target(folder / f"step={step:06d}.ckpt", None)
        setup, split = probing.checkpoint_config(folder / f"step={step:06d}.ckpt", (), [])
        difference = probing.stored_difference(folder, probing.run_probes(
            target.codec, probing.ground(setup, None, split, None).probes,
            copy.replace(target.context, corpus=stored.corpus[0]) if hasattr(copy, "replace") else _with_corpus(target.context, stored),
        ))  # fmt: skip
        assert difference is not None and difference.rows == (stored.step == step).sum() and difference.largest == 0
        assert difference.others == 0


def _with_corpus(context, stored):
    from dataclasses import replace

    return replace(context, corpus=stored.corpus[0], corpus_sha256=stored.corpus_sha256[0])


def test_the_export_gives_the_codes_of_the_checkpoint(whole_run):
    from laminal.codecs.load import load_codec

    _, folder = whole_run
    wav = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_codec(str(folder)).encode(wav), load_codec(str(folder / "tokenizer")).encode(wav))


def test_going_on_after_one_epoch_is_the_run_without_a_stop(whole_run, tiny_corpus, tmp_path):
    """A run stopped after its first checkpoint and resumed: weights, optimizers, RNG, losses and scores, bit for bit."""
    made, folder = whole_run
    cut = tmp_path / "cut"
    train(made, cut)
    for name in ("step=000008.ckpt", "last.ckpt"):
        (cut / name).unlink()
    (cut / "step=000004.ckpt").rename(cut / "last.ckpt")  # as if killed in the second epoch, its scores already written
    train(made, cut, resume=True)
    assert differences(weights(folder / "last.ckpt"), weights(cut / "last.ckpt")) == []
    assert metrics(folder).equals(metrics(cut))
    columns = [*KEY, "step", "value", "low", "high"]
    assert read_table(folder / "scores.parquet")[columns].equals(read_table(cut / "scores.parquet")[columns])


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_killed_and_resumed_is_the_run_without_a_stop(tiny_corpus, tmp_path, sent):
    made = settings(tiny_corpus, "trainer.epochs=3", "trainer.steps_per_epoch=40", "probing.every_epochs=null")
    train(made, tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    runfolder.write_config(folder, made)
    script = "import sys; from pathlib import Path; from omegaconf import OmegaConf; from laminal import training\n"
    script += "training.train(OmegaConf.load(sys.argv[1]), Path(sys.argv[2]), False, [])"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "import torch; torch.set_num_threads(1)\n" + script, str(folder / "config.yaml"), str(folder)]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 300
    while time.monotonic() < until and running.poll() is None:
        steps = [int(row["step"]) for row in training_metrics(folder)]
        if steps and max(steps) >= 50:  # past the first checkpoint, inside the second epoch
            break
        time.sleep(0.05)
    assert running.poll() is None, running.stderr.read().decode()[-2000:]
    running.send_signal(sent)
    running.wait(timeout=120)
    held = torch.load(folder / "last.ckpt", weights_only=True)["laminal"]["generator_step"]
    assert held == 40 if sent == signal.SIGKILL else held >= 50
    train(made, folder, resume=True)
    assert differences(weights(tmp_path / "whole" / "last.ckpt"), weights(folder / "last.ckpt")) == []
    assert metrics(tmp_path / "whole").equals(metrics(folder))


def training_metrics(folder: Path):
    from laminal.metrics import read

    return read(folder / "metrics.csv")


def test_accumulation_equals_one_large_batch_in_steps(tiny_corpus, tmp_path):
    task = train(settings(tiny_corpus, "trainer.accumulate=2", "probing.every_epochs=null"), tmp_path / "accumulated")
    assert task.generator_step == 8
    held = torch.load(tmp_path / "accumulated" / "last.ckpt", weights_only=True)
    assert held["optimizer_states"][0]["state"][0]["step"] == 8


def test_a_busy_folder_is_refused_and_a_free_one_is_not(tmp_path):
    lock = runfolder.Lock(tmp_path)
    with pytest.raises(runfolder.RequestError, match="in use by another process"):
        runfolder.Lock(tmp_path)
    lock.release()
    runfolder.Lock(tmp_path).release()


def test_a_resume_adds_to_the_manifest(whole_run, tmp_path):
    """The first start stays, each later one is a row; wall times add up."""
    made, folder = whole_run
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    before = json.loads((cut / "manifest.json").read_text())
    assert "resumes" not in before and {each["step"] for each in before["wall_time"]["probes"]} == {4, 8}
    shutil.copy(cut / "step=000004.ckpt", cut / "last.ckpt")
    for number in (1, 2):
        train(made, cut, resume=True)
        now = json.loads((cut / "manifest.json").read_text())
        assert [each["from_step"] for each in now["resumes"]] == [4, 8][:number]
        assert all(each["argv"] and each["versions"]["torch"] and each["started"] >= before["started"] for each in now["resumes"])
    same = ("argv", "git", "versions", "started", "corpus", "corpus_facts", "pair_lists_sha256", "seed", "config_sha256")
    assert {name: now[name] for name in same} == {name: before[name] for name in same}
    assert now["wall_time"]["fit_s"] > before["wall_time"]["fit_s"] and now["wall_time"]["start_s"] > before["wall_time"]["start_s"]
    assert [each["step"] for each in now["wall_time"]["probes"]] == [4, 8, 8]


def test_the_semantic_losses_go_on_exactly(tiny_corpus, tmp_path):
    """All losses of semantic_rvq with crops drawn by word pair: teachers' statistics, heads and discriminators are in the checkpoint."""
    made = settings(
        tiny_corpus, "data.pairs=0.75", "data.batch=4", "trainer.steps_per_epoch=2", "probing.every_epochs=null",
        "losses.acoustic_align.start=1", "log.gradient_norms_every=1", name="semantic_rvq",
    )  # fmt: skip
    train(made, tmp_path)
    whole, losses = weights(tmp_path / "last.ckpt"), metrics(tmp_path)
    names = {f"train/{name}" for name in made.losses}
    assert names <= set(losses.name) and not losses.value.isna().any()
    assert (losses[losses.name == "train/synonym_contrast"].value > 0).any()  # pairs were there to be contrasted
    shutil.copy(tmp_path / "step=000002.ckpt", tmp_path / "last.ckpt")
    train(made, tmp_path, resume=True)
    assert differences(whole, weights(tmp_path / "last.ckpt")) == [] and metrics(tmp_path).equals(losses)


def test_a_training_without_probes_ends_without_a_report(tiny_corpus, tmp_path, capsys):
    made = settings(tiny_corpus, "probing.every_epochs=null", "trainer.epochs=1", "trainer.steps_per_epoch=2")
    assert training.run(made, tmp_path / "bare", resume=False) == 0
    said = capsys.readouterr().out
    assert "no probe was asked for" in said and said.rstrip().endswith(str(tmp_path / "bare"))
    assert not (tmp_path / "bare" / "report.html").exists() and (tmp_path / "bare" / "last.ckpt").is_file()
