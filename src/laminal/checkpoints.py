"""Checkpoints of a training: which are written, which stay, how they reach the disk whole, and which one a run goes on from."""

import io
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from laminal.atomic import replacing
from laminal.callback import ProbeCallback
from laminal.codecs.load import load_tokenizer
from laminal.errors import RequestError
from laminal.nn.export import export
from laminal.task import TokenizerTask

log = logging.getLogger("laminal")


class AtomicFiles(TorchCheckpointIO):
    """Write a checkpoint beside its target and rename it: Lightning's own goes through $TMPDIR, and copies where that is another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; raises OSError where the disk is full, and what was there before stays."""
        content = io.BytesIO()  # in memory first: torch's own writer says of a full disk neither that nor where
        torch.save(checkpoint, content)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


class Checkpoints(Checkpoint):
    """Write step=N.ckpt and last.ckpt at every `every_epochs`-th epoch, at every probed step and at the end.

    With `monitor`, a score of `probes` (`probe/...`) or a validation term (`val/...`), step=N.ckpt is kept for the `keep` best of the steps
    that have a value (all of them with -1); a step without one, not probed or with a probe that failed, has last.ckpt alone.
    """

    def __init__(self, folder: Path, probes: ProbeCallback, every_epochs: int, monitor: str | None, mode: str, keep: int):
        self.folder, self.probes, self.every_epochs = folder, probes, every_epochs
        self.monitor, self.mode, self.keep = monitor, mode, keep
        self.best: dict[str, float] = {}  # value of `monitor` by name of the file: a run folder may be moved
        self._saved = -1

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remove what a kill left half written."""
        if trainer.is_global_zero:
            for left in self.folder.glob(".*.ckpt.*.ckpt"):
                left.unlink(missing_ok=True)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Save a step that was probed inside an epoch."""
        assert isinstance(pl_module, TokenizerTask)
        if self.probes.probed_step == pl_module.generator_step:
            self.save(trainer, pl_module, self.probes.metrics)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save by epochs, and what was probed after the validation."""
        assert isinstance(pl_module, TokenizerTask)
        if trainer.sanity_checking:
            return
        epoch = trainer.current_epoch + 1
        probed = self.probes.probed_step == pl_module.generator_step
        if probed or epoch % self.every_epochs == 0 or epoch == trainer.max_epochs:
            values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            self.save(trainer, pl_module, values | (self.probes.metrics if probed else {}))

    def save(self, trainer: lightning.Trainer, task: TokenizerTask, values: dict[str, float]) -> None:
        """Write the checkpoint of this step once; what is no longer among the best goes when last.ckpt is there."""
        if self._saved == task.generator_step:
            return
        self._saved = task.generator_step
        name, gone = f"step={task.generator_step:06d}.ckpt", None
        if self.monitor is not None:
            value = values.get(self.monitor, math.nan)
            if math.isfinite(value):
                gone = self._ranked(name, value)
            elif self.probes.probed_step == task.generator_step and self.monitor.startswith("probe/") and trainer.is_global_zero:
                log.warning("%s has no value at step %d (undefined, or its probe failed): not ranked", self.monitor, self._saved)
        if self.monitor is None or name in self.best:
            trainer.save_checkpoint(self.folder / name, weights_only=False)
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)  # all of the state
        if gone is not None and gone != name:  # after last.ckpt, which knows of it no more: a kill in between leaves one too many
            trainer.strategy.remove_checkpoint(self.folder / gone)

    def _ranked(self, name: str, value: float) -> str | None:
        """Take `name` among the best; returns what falls out, the newest of equals."""
        self.best[name] = value
        if self.keep < 0 or len(self.best) <= self.keep:
            return None
        worst = (max if self.mode == "min" else min)(reversed(self.best), key=self.best.__getitem__)
        del self.best[worst]
        return worst

    def best_checkpoint(self) -> Path | None:
        """Give the best of the checkpoints that are there, the oldest of equals."""
        there = [name for name in self.best if (self.folder / name).is_file()]
        return self.folder / (min if self.mode == "min" else max)(there, key=self.best.__getitem__) if there else None

    def export_best(self) -> dict[str, Any] | None:
        """Write tokenizer-best/ from the best checkpoint by `monitor`; returns what it is, for the manifest."""
        if self.monitor is None:
            return None
        path = self.best_checkpoint()
        if path is None:
            log.warning("checkpoint.monitor=%s had a value at no checkpoint: no tokenizer-best/ is written", self.monitor)
            return None
        if (tokenizer := load_tokenizer(path)).exported:
            export(tokenizer, self.folder / "tokenizer-best")
        return {"checkpoint": path.name, "monitor": self.monitor, "mode": self.mode, "value": self.best[path.name]}

    def state_dict(self) -> dict[str, Any]:
        """Keep the ranking, for a resume."""
        return {"monitor": self.monitor, "mode": self.mode, "best": dict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the ranking of the same monitor."""
        if (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode):
            self.best = dict(state_dict["best"])


class SaveOnTerm(lightning.Callback):
    """On SIGTERM save last.ckpt at the end of the batch, or after the validation that follows it; Lightning then leaves.

    Lightning would leave between two batches of the validation, and a resume never makes up for the rest: there the signal is put off.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.came = False

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Look whether the signal has come; after the last batch of an epoch the validation is still to do."""
        assert isinstance(pl_module, TokenizerTask)
        if trainer.received_sigterm and pl_module.batches % int(trainer.num_training_batches):
            trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)  # all of the state

    def on_validation_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Put the signal off."""
        self.came = self.came or trainer.received_sigterm
        trainer._signal_connector.received_sigterm = False

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Give it back."""
        if self.came or trainer.received_sigterm:
            self.came, trainer._signal_connector.received_sigterm = False, True
            trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)  # all of the state


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run goes on from."""

    path: Path
    step: int


def last_checkpoint(folder: Path) -> Start:
    """Find last.ckpt of a run; raises RequestError where there is none, or not one to go on from."""
    path = folder / "last.ckpt"
    if not path.is_file():
        raise RequestError(f"resume={folder}: no last.ckpt there (no checkpoint was written yet); start again without resume=")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise RequestError(f"{path} is not a readable checkpoint ({type(error).__name__}); copy a step=*.ckpt over it") from error
    if not isinstance(held, dict) or "optimizer_states" not in held or "rng" not in held.get("laminal", {}):
        raise RequestError(f"{path} holds no state to go on from: it is another program's, or the demo's, which can only be probed")
    return Start(path, int(held["laminal"]["generator_step"]))
