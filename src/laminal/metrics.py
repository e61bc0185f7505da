"""Training numbers: into metrics.csv and to the sinks, every few generator steps; the file survives a kill and a resume."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning
from torch import Tensor

from laminal.atomic import write_text
from laminal.results import Results
from laminal.task import TokenizerTask

HEADER = ("epoch", "step", "name", "value")


@runtime_checkable
class Sink(Protocol):
    """Where numbers are shown besides the run folder: W&B, TensorBoard. A sink never raises: it warns once and goes quiet."""

    def scalars(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Show training numbers of generator step `step`."""

    def probe(self, results: Results) -> None:
        """Show the scores of one checkpoint."""

    def close(self) -> None:
        """Send what is left; called once, at the end or at a failure."""


class Metrics(lightning.Callback):
    """Write (epoch, generator step, name, value) rows; values are averaged over the steps since the last row."""

    def __init__(self, path: Path, every_steps: int, sinks: Sequence[Sink] = ()):
        self.path = path
        self.every_steps = every_steps
        self.sinks = sinks
        self._sums: dict[str, list[Tensor]] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the rows up to the step that this training starts from."""
        if trainer.is_global_zero:
            start = _step(pl_module)
            kept = [row for row in read(self.path) if int(row["step"]) <= start]
            text = io.StringIO()
            writer = csv.DictWriter(text, HEADER, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
            write_text(self.path, text.getvalue())

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, *_: Any) -> None:
        """Collect the raw terms of one step (tensors: no device synchronisation until they are written)."""
        for name, value in outputs.items():
            self._sums.setdefault(name, []).append(value.detach())
        if _step(pl_module) % self.every_steps == 0:
            self._write(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the validation terms."""
        if not trainer.sanity_checking:
            self._sums |= {name: [value] for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            self._write(trainer, pl_module)

    def _write(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {name: sum(float(v.float().mean()) for v in many) / len(many) for name, many in self._sums.items()}
        self._sums = {}
        if not trainer.is_global_zero or not values:
            return
        step, epoch = _step(pl_module), trainer.current_epoch
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows((epoch, step, name, f"{value:.7g}") for name, value in values.items())
        except OSError as error:
            trainer.print(f"metrics.csv could not be written ({error}); the training goes on without it")
        for sink in self.sinks:
            sink.scalars(step, epoch, values)


def read(path: Path) -> list[dict[str, str]]:
    """Read the rows of metrics.csv; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if all(row.get(name) not in (None, "") for name in HEADER) and row["step"].isdigit()]


def _step(module: lightning.LightningModule) -> int:
    assert isinstance(module, TokenizerTask)
    return module.generator_step
