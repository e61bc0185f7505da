"""Early stopping: a training ends where a score has not been better for some checkpoints."""

import logging
import math
from typing import Any

import lightning

from laminal.callback import ProbeCallback
from laminal.errors import RequestError
from laminal.task import TokenizerTask

log = logging.getLogger("laminal")


class Stopping(lightning.Callback):
    """Stop once `monitor`, a score of `probes` (`probe/...`) or a validation term (`val/...`), was no better for `patience` checkpoints.

    Only steps that have a value count: not those that were not probed, nor a probe that failed. `mode` None: the direction that the score
    itself gives; better is any value beyond the best so far, in that direction. It stands behind ProbeCallback and before Checkpoints, so
    that a checkpoint holds what its own scores said. Lightning's EarlyStopping knows neither a clock of generator steps nor values that
    come at some validations, or between two; it raises where there is none.
    """

    def __init__(self, probes: ProbeCallback, monitor: str, patience: int, mode: str | None):
        self.probes, self.monitor, self.patience, self.mode = probes, monitor, patience, mode
        self.best: float | None = None
        self.best_step, self.seen_step = -1, -1
        self.waited = 0  # checkpoints since the best one

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self.waited >= self.patience

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave at once where the run had stopped already: a resume adds nothing, unless its config.yaml was given more patience."""
        trainer.should_stop = trainer.should_stop or self.over

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Look at a step that was probed inside an epoch."""
        assert isinstance(pl_module, TokenizerTask)
        if self.monitor.startswith("probe/") and self.probes.probed_step == pl_module.generator_step:
            self.look(trainer, pl_module.generator_step, self.probes.metrics.get(self.monitor))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look at what was probed after the validation, or at the validation itself."""
        assert isinstance(pl_module, TokenizerTask)
        step = pl_module.generator_step
        if trainer.sanity_checking:
            return
        if self.monitor.startswith("val/"):
            value = trainer.callback_metrics.get(self.monitor)
            self.look(trainer, step, None if value is None else float(value))
        elif self.probes.probed_step == step:
            self.look(trainer, step, self.probes.metrics.get(self.monitor))

    def look(self, trainer: lightning.Trainer, step: int, value: float | None) -> None:
        """Take in the value of a step, once; every rank sees the same."""
        if self.seen_step == step:
            return
        self.seen_step = step
        if value is None or not math.isfinite(value):
            if trainer.is_global_zero:
                log.warning("%s has no value at step %d: early stopping does not count it", self.monitor, step)
            return
        upwards = self._upwards()  # asked at the first value, so that a score without a direction is refused there
        if self.best is None or (value > self.best if upwards else value < self.best):
            self.best, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1
        trainer.should_stop = trainer.should_stop or self.over

    def _upwards(self) -> bool:
        if self.mode is not None:
            return self.mode == "max"
        upwards = False if self.monitor.startswith("val/") else self.probes.directions.get(self.monitor)
        if upwards is None:
            raise RequestError(f"stopping.monitor={self.monitor}: neither direction is better in itself; give stopping.mode=min or max")
        return upwards

    def why(self) -> str | None:
        """Say why the training ended early; None where it did not."""
        if not self.over:
            return None
        return (
            f"stopped at step {self.seen_step}: {self.monitor} has not been better than {self.best:.4g} (step {self.best_step}) "
            f"for {self.waited} checkpoint{'' if self.waited == 1 else 's'}"
        )

    def facts(self) -> dict[str, Any] | None:
        """Give the same for the manifest."""
        if not self.over:
            return None
        facts = {"step": self.seen_step, "monitor": self.monitor, "best": self.best, "best_step": self.best_step, "waited": self.waited}
        return facts | {"patience": self.patience, "why": self.why()}

    def state_dict(self) -> dict[str, Any]:
        """Keep what was seen, for a resume."""
        return {
            "monitor": self.monitor, "mode": self.mode, "best": self.best, "best_step": self.best_step, "seen_step": self.seen_step,
            "waited": self.waited,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was seen of the same monitor."""
        if (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode):
            self.best, self.best_step = state_dict["best"], state_dict["best_step"]
            self.seen_step, self.waited = state_dict["seen_step"], state_dict["waited"]
