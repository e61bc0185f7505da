"""What teachers cost a training: its steps with stored features of whole recordings, and with teachers beside them, over those with none.

One thread; processor time of generator steps and their batches, taken in turn, medians; no discriminators, which would hide it.
The teachers are the package's small ones; of published networks the steps with stored features cost the same, and the others many times as
much.
"""

import statistics
import tempfile
import time
from itertools import islice

import torch

from laminal import config, experiment
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.precomputed import recorded
from laminal.task import FIT_BATCHES
from laminal.training import Data, task_of

STEPS = 60


class Training:
    """A training that takes one step when it is asked to."""

    def __init__(self, recipe: str, precomputed: str, corpus: Corpus, split: Split) -> None:
        settings = experiment.resolved(config.load([recipe], [f"data.precomputed={precomputed}"]))
        data = Data(settings, corpus, split)
        self.task = task_of(settings)
        data.recorded = recorded(settings, self.task, corpus.subset(split.train_speakers))
        self.crops, self.optimizer = data.crops(), self.task.configure_optimizers()[0]
        start = data.start_up()
        self.task.objective.fit(list(islice(start, FIT_BATCHES)), self.task.tokenizer.sample_rate)
        self.task.tokenizer.initialise((batch.wav, batch.mask) for batch in start)
        for number in range(STEPS):
            self.crops[number]  # recordings are decoded, and heard, once

    def step(self, number: int) -> float:
        """Processor time of one step."""
        begun = time.process_time()
        batch = self.crops[number]
        out = self.task.tokenizer(batch.wav, batch.mask)
        self.task.objective.generator(out, batch, number).total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - begun


def run() -> list[dict]:
    torch.set_num_threads(1)
    settings = experiment.resolved(config.load(["plain_rvq"]))
    corpus = experiment.corpus(settings)
    split = experiment.split(settings, corpus)
    with tempfile.TemporaryDirectory() as folder:
        recipes = {"none": ("plain_rvq", "null"), "stored": ("hubert_ecapa", folder), "beside": ("hubert_ecapa", "null")}
        trainings = {name: Training(*given, corpus, split) for name, given in recipes.items()}
        times = [{name: each.step(number) for name, each in trainings.items()} for number in range(STEPS)]
    seconds = {name: statistics.median(each[name] for each in times) for name in trainings}
    rows = (("stored", "teachers' features stored", "<= 1.1"), ("beside", "teachers' features made in the step", None))
    return [
        {
            "what": f"training step, {said} / no teachers", "ours_s": seconds[name], "reference_s": seconds["none"],
            "ratio": seconds[name] / seconds["none"], "target": target,
        }
        for name, said, target in rows
    ]  # fmt: skip
