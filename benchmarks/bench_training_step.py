"""The training step as train.py runs it (Lightning, logging, gradient norms, batches) against a bare loop of the same nets.

One thread; processor time of steps 10 .. 59 of the default experiment with its discriminators on; the bare loop runs before and after.
"""

import tempfile
import time
from pathlib import Path

import lightning
import torch

from laminal import config, experiment
from laminal.metrics import Metrics
from laminal.training import Data, SaveOnTerm, task_of

WARM, STEPS = 10, 60


class Clock(lightning.Callback):
    """Processor time from the end of step WARM to the end of the last."""

    seconds = 0.0

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        step = trainer.lightning_module.generator_step
        if step == WARM:
            self.seconds = -time.process_time()
        if step == STEPS:
            self.seconds += time.process_time()


def bare(settings, corpus, split) -> float:
    """Hand-written: forward, losses, backward, clip, step; then the discriminators."""
    data = Data(settings, corpus, split)
    task = task_of(settings)
    objective, tokenizer, batches = task.objective, task.tokenizer, data.crops()
    start = data.start_up()
    objective.fit([next(start) for _ in range(32)], tokenizer.sample_rate)
    tokenizer.initialise((batch.wav, batch.mask) for batch in start)
    generator = [p for p in tokenizer.parameters() if p.requires_grad] + objective.head_parameters()
    judges = objective.discriminator_parameters()
    adam = torch.optim.AdamW(generator, lr=5e-4, betas=(0.8, 0.99), weight_decay=0.0)
    other = torch.optim.AdamW(judges, lr=2e-4, betas=(0.8, 0.99), weight_decay=0.0)
    begun = 0.0
    for step in range(STEPS):
        if step == WARM:
            begun = time.process_time()
        batch = batches[step]
        out = tokenizer(batch.wav, batch.mask)
        for p in judges:
            p.requires_grad_(False)
        features = objective.critic.features(out, batch)
        total = sum(objective.weights[name] * loss(out, batch, features) for name, loss in objective.losses.items())
        total.backward()
        torch.nn.utils.clip_grad_norm_(generator, 5.0)
        adam.step()
        adam.zero_grad()
        for p in judges:
            p.requires_grad_(True)
        objective.critic.discriminator(out, batch).backward()
        torch.nn.utils.clip_grad_norm_(judges, 5.0)
        other.step()
        other.zero_grad()
    return time.process_time() - begun


def framed(settings, corpus, split) -> float:
    """The same under Lightning."""
    data = Data(settings, corpus, split)
    task = task_of(settings, data.start_up)
    task.norms_until, clock = settings.log.gradient_norms_until, Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, num_sanity_val_steps=0, limit_val_batches=0, default_root_dir=folder,
            enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
            callbacks=[Metrics(Path(folder) / "metrics.csv", settings.log.every_steps, []), SaveOnTerm(Path(folder)), clock],
        )  # fmt: skip
        trainer.fit(task, datamodule=data)
    return clock.seconds


def run() -> list[dict]:
    torch.set_num_threads(1)
    late = ["losses.adversarial.start=0", "losses.feature_matching.start=0"]
    settings = experiment.resolved(config.load(["semantic_rvq"], [f"trainer.steps_per_epoch={STEPS}", "trainer.epochs=1", *late]))
    corpus = experiment.corpus(settings)
    split = experiment.split(settings, corpus)
    before = bare(settings, corpus, split)
    ours = framed(settings, corpus, split)
    reference = (before + bare(settings, corpus, split)) / 2
    what = f"training step / bare loop, {STEPS - WARM} steps"
    return [{"what": what, "ours_s": ours, "reference_s": reference, "ratio": ours / reference, "target": "<= 1.05"}]
