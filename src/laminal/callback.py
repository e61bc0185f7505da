"""Probes at checkpoints: the same `run_probes` as `probe.py`, before ModelCheckpoint, without touching the training."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning

from laminal.codecs.load import codec_of
from laminal.metrics import Sink
from laminal.probes.run import run_probes
from laminal.results import Context, Results, Undefined, forget_after, key, store
from laminal.task import TokenizerTask, get_rng, same_rng, set_rng

log = logging.getLogger("laminal")


class ProbeCallback(lightning.Callback):
    """Run `probes` on the live tokenizer: by epochs after the first, every `every_epochs`-th and the last, by steps every `every_steps`.

    With `optimizer.ema` it is the mean of the tokenizer's weights that is probed.
    Scores and items go into `folder` (scores.parquet, items.parquet), to the sinks, and as `probe/...` into `metrics`, by which checkpoints
    are ranked. The last epoch is probed wherever anything is. A probe that raises is reported and leaves the training alone, and so does
    one that draws from a global random generator: it is put back. With several processes rank 0 probes while the others wait, so that
    scores do not depend on their number.
    """

    def __init__(
        self,
        probes: Mapping[str, Any],
        folder: Path,
        run: str,
        corpus: str,
        corpus_sha256: str,
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        budget_s: float | None = None,
        sinks: Sequence[Sink] = (),
        after: Callable[[Results], None] | None = None,
    ):
        self.probes = probes
        self.folder = folder
        self.context = Context(run=run, codec="laminal", revision="", corpus=corpus, corpus_sha256=corpus_sha256)
        self.every_epochs, self.every_steps = every_epochs, every_steps
        self.budget_s = budget_s
        self.sinks = sinks
        self.after = after
        self.probed_step = -1
        self.metrics: dict[str, float] = {}  # scores of `probed_step`, the same on every rank
        self.directions: dict[str, bool | None] = {}  # whether higher is better, of each of them
        self.seconds: list[dict[str, Any]] = []  # wall time by probe and step: into the manifest
        self.undefined: list[dict[str, str]] = []  # scores of the last probing that could not be computed, with reasons

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Drop the scores of steps later than where this training starts from."""
        if trainer.is_global_zero:
            forget_after(self.folder, _task(pl_module).generator_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Probe by generator steps inside an epoch; its last step is probed after the validation."""
        task = _task(pl_module)
        inside = task.at_step_end and task.batches % int(trainer.num_training_batches)
        if inside and self._due_by_steps(task) and task.generator_step != self.probed_step:
            self.probe(trainer, task)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Probe by epochs, and by steps where an epoch ends with one; not in Lightning's sanity check."""
        if trainer.sanity_checking or not (self.every_epochs or self.every_steps):
            return
        task, epoch = _task(pl_module), trainer.current_epoch + 1
        by_epochs = bool(self.every_epochs) and (epoch % self.every_epochs == 0 or epoch == 1)  # type: ignore[operator]
        if (by_epochs or epoch == trainer.max_epochs or self._due_by_steps(task)) and task.generator_step != self.probed_step:
            self.probe(trainer, task)

    def _due_by_steps(self, task: TokenizerTask) -> bool:
        return bool(self.every_steps) and task.generator_step % self.every_steps == 0  # type: ignore[operator]

    def probe(self, trainer: lightning.Trainer, task: TokenizerTask) -> None:
        """Probe the tokenizer as it is now."""
        self.probed_step = task.generator_step
        found: tuple[dict[str, float], dict[str, bool | None]] = ({}, {})
        if trainer.is_global_zero:
            before = get_rng()
            try:
                results = self._probed(trainer, task, before)
                found = headline_metrics(results), directions(results)
            finally:
                set_rng(before)
        self.metrics, self.directions = trainer.strategy.broadcast(found)

    def _probed(self, trainer: lightning.Trainer, task: TokenizerTask, before: dict[str, Any]) -> Results:
        codec = codec_of(task.evaluated)
        context = replace(
            self.context, revision=codec.revision, ckpt_sha256=codec.revision, epoch=trainer.current_epoch, step=task.generator_step
        )
        results = run_probes(codec, self.probes, context, self.budget_s, tolerant=True)
        if not same_rng(before, get_rng()):
            log.warning(
                "one of the probes %s drew from a global random generator at step %d; it is put back, but a probe must draw from its own",
                ", ".join(self.probes), context.step,
            )  # fmt: skip
        self._report(results)
        return results

    def _report(self, results: Results) -> None:
        for name, reason in results.failures.items():
            log.warning("probe %s failed at step %d and was left out: %s", name, results.context.step, reason)
        self.seconds.append({"step": results.context.step, **results.seconds})
        failed = [Undefined(probe=name, what="all", reason=reason) for name, reason in results.failures.items()]
        self.undefined = [asdict(each) for each in (*results.undefined, *failed)]
        try:
            store(self.folder, results)
        except OSError as error:  # a full disk must not end the training: the checkpoint can be probed again later
            log.warning("scores of step %d could not be written (%s); free space, then run probe.py", results.context.step, error)
        except Exception as error:  # nor a probe that gives two scores of one key, or what is no number
            log.warning("scores of step %d were refused (%s: %s); mend the probe", results.context.step, type(error).__name__, error)
        if self.after is not None:
            self.after(results)  # before the sinks: they show what it writes
        for sink in self.sinks:
            sink.probe(results)


def headline_metrics(results: Results) -> dict[str, float]:
    """Name scores of the defaults (distance, slice, split, cumulative) as `probe/<probe>/<setting>/<metric>/L00`."""
    return {key(score): score.value for score in results.scores if "@" not in key(score)}


def directions(results: Results) -> dict[str, bool | None]:
    """Say of the same scores whether higher is better; None where neither direction is."""
    return {key(score): score.higher_is_better for score in results.scores if "@" not in key(score)}


def _task(module: lightning.LightningModule) -> TokenizerTask:
    assert isinstance(module, TokenizerTask)
    return module
