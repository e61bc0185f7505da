"""What a training would cost, measured on a few steps of it: shapes, memory, time per step; nothing is written."""

import resource
import time

import torch
from omegaconf import DictConfig

from laminal.corpora.crops import Batch
from laminal.task import TokenizerTask
from laminal.training import parts

STEPS = 4  # the first warms up


def describe(config: DictConfig) -> str:
    """Take some steps of the experiment and say what the whole of it needs."""
    made = parts(config)
    corpus, data, task = made.corpus, made.data, made.task
    recorded, data.recorded = data.recorded, {}  # nothing is written: teachers are beside these steps
    crops = data.crops()
    seconds = [step(task, crops[number]) for number in range(STEPS)]
    out = task.tokenizer(crops[0].wav, crops[0].mask)
    each = sorted(seconds[1:])[len(seconds[1:]) // 2]
    steps = config.trainer.epochs * config.trainer.steps_per_epoch * config.trainer.accumulate
    tokenizer = task.tokenizer
    bits = tokenizer.frame_rate * out.codes.shape[1] * (config.tokenizer.codebook_size - 1).bit_length()
    hours = sum(utterance.seconds for utterance in corpus) / 3600
    lines = [
        f"corpus       {corpus.name}, {hours:.2f} h, {len(data.split.train_speakers)} speakers to train",
        f"batch        {tuple(crops[0].wav.shape)} samples at {tokenizer.sample_rate} Hz, {len(crops[0].span_word)} word spans",
        f"latent       {tuple(out.latent.shape)}, codes {tuple(out.codes.shape)}: {tokenizer.frame_rate:g} Hz, {bits / 1000:g} kbit/s",
        f"parameters   tokenizer {count(tokenizer)}, loss heads {count_of(task.objective.head_parameters())}, "
        f"discriminators {count_of(task.objective.discriminator_parameters())}",
        f"losses       {', '.join(f'{name} x {weight:g}' for name, weight in task.objective.weights.items())}",
        f"time         {each:.3f} s a step here ({torch.get_num_threads()} threads), {steps} steps: {each * steps / 60:.0f} min",
        f"memory       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most so far",
    ]
    if recorded:
        lines.append(f"teachers     {len(recorded)} hear every training recording once, before the first step; here they heard the crops")
    return "\n".join(lines)


def step(task: TokenizerTask, batch: Batch) -> float:
    """Time one generator and one discriminator backward pass, in seconds; no weight is changed."""
    begun = time.perf_counter()
    task.train()
    out = task.tokenizer(batch.wav, batch.mask)
    if not task.objective.ready:
        task.objective.fit([batch], task.tokenizer.sample_rate)
    task.objective.generator(out, batch).total.backward()
    if task.objective.critic is not None:
        task.objective.discriminator(out, batch).backward()
    task.zero_grad(set_to_none=True)
    return time.perf_counter() - begun


def count(module: torch.nn.Module) -> str:
    """Parameters of a module, in millions."""
    return count_of(list(module.parameters()))


def count_of(parameters: list[torch.nn.Parameter]) -> str:
    """Parameters of a list, in millions."""
    return f"{sum(p.numel() for p in parameters) / 1e6:.2f} M"
