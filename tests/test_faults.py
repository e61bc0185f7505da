"""What can go wrong while a training runs: a full disk, SIGTERM in the middle of probing, a loss that is not finite, a second process."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from laminal import experiment, runfolder
from laminal.codecs.load import load_checkpoint
from laminal.probes.run import run_probes
from laminal.results import Context, read_table
from oracle_training import differences, metrics, settings, train, weights

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import sys, time, torch
from pathlib import Path
from omegaconf import OmegaConf
from laminal import training
from laminal.nn.ranks import world
torch.set_num_threads(1)
"""
TRAIN = "task = training.train(OmegaConf.load(sys.argv[1]), Path(sys.argv[2]), False, [])\n"


def start(folder: Path, made, script: str) -> subprocess.Popen:
    """Train in a process of its own."""
    folder.mkdir()
    runfolder.write_config(folder, made)
    program = folder.with_suffix(".py")
    program.write_text(SCRIPT + script)
    command = [sys.executable, str(program), str(folder / "config.yaml"), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tiny_corpus, tmp_path):
    made = settings(tiny_corpus, "probing.every_epochs=null")
    train(made, tmp_path / "whole")
    folder = tmp_path / "full"
    train(settings(tiny_corpus, "probing.every_epochs=null", "trainer.epochs=1"), folder)
    runfolder.write_config(folder, made)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size, before = (folder / "last.ckpt").stat().st_size, (folder / "last.ckpt").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))  # a checkpoint does not fit any more, all else does
    try:
        with pytest.raises(OSError, match="File too large"):
            train(made, folder, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / "last.ckpt").read_bytes() == before and not (folder / "step=000008.ckpt").exists()


def test_a_full_disk_while_scores_are_written_does_not_end_the_training(tiny_corpus, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("laminal.callback.store", full)
    train(settings(tiny_corpus), tmp_path / "run")
    assert (tmp_path / "run" / "step=000008.ckpt").is_file() and not (tmp_path / "run" / "scores.parquet").exists()
    assert "could not be written" in caplog.text and "No space left" in caplog.text and "probe.py" in caplog.text


@pytest.mark.slow
def test_sigterm_while_probing_ends_in_a_checkpoint_to_go_on_from(tiny_corpus, tmp_path):
    made = settings(tiny_corpus, "trainer.epochs=3", "trainer.steps_per_epoch=10", "probing.every_epochs=1")
    train(made, tmp_path / "whole")
    folder, marker = tmp_path / "stopped", tmp_path / "probing"
    slow = f"""
import laminal.callback as callback
probes = callback.run_probes
def slowly(*arguments, **named):
    Path({str(marker)!r}).touch()
    time.sleep(4)
    return probes(*arguments, **named)
callback.run_probes = slowly
"""
    running = start(folder, made, slow + TRAIN)
    until = time.monotonic() + 300
    while time.monotonic() < until and running.poll() is None and not marker.exists():
        time.sleep(0.05)
    assert marker.exists(), running.stderr.read().decode()[-2000:]
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 143 and b"stopped by SIGTERM at step" in said
    assert torch.load(folder / "last.ckpt", weights_only=True)["laminal"]["generator_step"] in (10, 11)
    assert set(read_table(folder / "scores.parquet").step) == {10}
    train(made, folder, resume=True)
    assert differences(weights(tmp_path / "whole" / "last.ckpt"), weights(folder / "last.ckpt")) == []
    assert metrics(tmp_path / "whole").equals(metrics(folder))


def test_a_loss_that_is_not_finite_ends_with_a_line_that_names_it(tiny_corpus, tmp_path):
    words = ["--config", "plain_rvq", "optimizer.lr=1e30", "optimizer.warmup_steps=0", "optimizer.clip=0", f"out={tmp_path}", "run=nan"]
    small = [word for word in SMALL if not word.startswith("optimizer")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", *words, "corpus=folder", f"corpus.root={tiny_corpus}", *small]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert len(said) == 1 and "losses must be finite" in said[0] and "lower the learning rate" in said[0]


SMALL = [
    "split.speakers=0.34", "trainer.epochs=1", "trainer.steps_per_epoch=8", "tokenizer.filters=4", "tokenizer.dim=16",
    "tokenizer.codebooks=2", "tokenizer.codebook_size=16", "tokenizer.quantizer.kmeans_frames=64", "data.seconds=0.5", "data.batch=2",
    "data.pairs=0", "data.validation_crops=2", "log.logger=csv", "losses.adversarial.weight=0", "losses.feature_matching.weight=0",
    "losses.mel.longest=9", "probing.every_epochs=null",
]  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_one_tokenizer(tiny_corpus, tmp_path):
    made = settings(tiny_corpus, "trainer.devices=2", "trainer.accelerator=cpu", "trainer.steps_per_epoch=6")
    told = """
import hashlib
state = task.tokenizer.state_dict()
digests = {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in sorted(state.items()) if hasattr(value, "numpy")}
Path(f"{sys.argv[2]}.rank{world()[0]}").write_text(repr(digests))
"""
    folder = tmp_path / "two"
    running = start(folder, made, TRAIN + told)
    _, said = running.communicate(timeout=500)
    assert running.returncode == 0, said.decode()[-3000:]
    ranks = [Path(f"{folder}.rank{rank}").read_text() for rank in range(2)]
    assert ranks[0] == ranks[1] and "quantizer.embed" in ranks[0]
    loaded = load_checkpoint(folder)
    corpus = experiment.corpus(made)
    probes = experiment.probes(made.probes, corpus, experiment.split(made, corpus))
    stored = read_table(folder / "scores.parquet").query("step == 12")
    context = Context(run=folder.name, codec="laminal", revision=loaded.codec.revision, epoch=1, step=12, corpus=corpus.name)
    alone = run_probes(loaded.codec, probes, context).score_table()
    columns = ["probe", "setting", "metric", "layer", "split", "value", "low", "high"]
    assert len(alone) and stored[columns].reset_index(drop=True).equals(alone[columns])
