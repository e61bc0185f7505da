"""A small network that reads symbols off frames by CTC (Graves et al. 2006): trained in seconds, the same bytes from the same seed.

It holds a line between a linear probe, which cannot align, and a recogniser that would learn to hear by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

RATES = (25.0, 50.0)  # Hz at which the network may say a symbol: the slower one learns to align several times as fast
CROWDED = 0.02  # share of utterances with too many symbols for the slower rate, above which the faster one is taken
KERNEL, BLOCKS = 5, 2
RATE = 3e-3  # of learning, at its height
BATCH_SECONDS = 60.0  # of audio in one step, padding included
LOUDEST = 5.0  # of a gradient's norm
DROPPED = 0.1  # of the trunk's numbers, while it learns
BLANK = 0


@dataclass(frozen=True, slots=True)
class CtcSize:
    """How wide the network is, in how many steps of BATCH_SECONDS of audio it learns (whatever the corpus), and its symbols a second."""

    width: int
    steps: int
    rate: float


class Reader(nn.Module):
    """Frames (b, n, d) to log-probabilities of symbols and blank (b, m, s + 1)."""

    def __init__(self, dim: int, symbols: int, frame_rate: float, width: int, rate: float):
        super().__init__()
        self.stride, self.repeat = max(1, int(frame_rate / rate)), math.ceil(rate / frame_rate)
        reach = 2 * self.stride + 1
        self.enter = nn.Linear(dim, width)
        self.slow = nn.Conv1d(width, width, reach, self.stride, padding=self.stride)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(BLOCKS + 1))
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(BLOCKS))
        self.leave = nn.Linear(width, symbols + 1)

    def lengths(self, frames: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """How many symbols can be said over so many frames."""
        return (frames * self.repeat + self.stride - 1) // self.stride

    def forward(
        self, frames: Float[Tensor, "b n d"], count: Int[Tensor, " b"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b m s"]:
        """Read; `count` are the real frames of each row, and padding changes nothing; `generator` drops numbers (training)."""
        x = self.enter(frames) * _mask(count, frames.shape[1])
        x = x.repeat_interleave(self.repeat, 1).transpose(1, 2)  # (b, w, n)
        x = nn.functional.gelu(self.slow(x)).transpose(1, 2)
        mask = _mask(self.lengths(count), x.shape[1])
        for norm, block in zip(self.norms, self.blocks):
            inner = nn.functional.gelu(block((norm(x) * mask).transpose(1, 2))).transpose(1, 2)
            x = x + (inner if generator is None else _dropped(inner, generator))
        x = self.norms[-1](x)
        x = self.leave(x if generator is None else _dropped(x, generator))
        return x.log_softmax(2)


def _mask(count: Int[Tensor, " b"], frames: int) -> Float[Tensor, "b n 1"]:
    return (torch.arange(frames) < count[:, None]).float()[..., None]


def _dropped(x: Tensor, generator: torch.Generator) -> Tensor:
    return x * (torch.rand(x.shape, generator=generator) >= DROPPED) / (1 - DROPPED)


def symbol_rate(said: Sequence[tuple[Sequence[object], float]]) -> float:
    """Choose the rate for utterances of (symbols, seconds): CTC needs a frame for each, and one between two that are alike."""
    needed = [len(symbols) + sum(a == b for a, b in zip(symbols, symbols[1:])) > RATES[0] * seconds for symbols, seconds in said]
    return RATES[sum(needed) > CROWDED * len(needed)]


Item = tuple[Float[np.ndarray, "_ d"], Sequence[int]]  # frames and the numbers of their symbols, from 1


def train(items: Sequence[Item], symbols: int, frame_rate: float, size: CtcSize, seed: int) -> Reader:
    """Train a reader on `items`, standardised frames; no global random generator moves, and equal calls give equal weights."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):  # modules draw when they are made
            reader = Reader(items[0][0].shape[1], symbols, frame_rate, size.width, size.rate)
        _initialise(reader, generator)
        batches = _batches([item for item in items if item[1]], frame_rate)
        optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=0.01)
        left: list[int] = []
        for step in range(size.steps):
            left = left or torch.randperm(len(batches), generator=generator).tolist()
            for group in optimizer.param_groups:
                group["lr"] = RATE * _pace(step / size.steps)
            loss = _loss(reader, batches[left.pop()], generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(reader.parameters(), LOUDEST)
            optimizer.step()
        return reader.eval().requires_grad_(False)


@torch.no_grad()
def read(reader: Reader, frames: Sequence[Float[np.ndarray, "_ d"]]) -> list[list[int]]:
    """Read the likeliest symbols off each utterance, alone: repeats merged, blanks left out."""
    found = []
    for each in frames:
        best = reader(torch.from_numpy(each)[None], torch.tensor([len(each)]))[0].argmax(1)
        kept = torch.unique_consecutive(best)
        found.append([int(symbol) for symbol in kept if symbol != BLANK])
    return found


def _initialise(reader: Reader, generator: torch.Generator) -> None:
    for name, weight in reader.named_parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()), generator=generator)
        elif "norm" not in name:
            nn.init.zeros_(weight)


def _pace(done: float) -> float:
    """Rise over the first tenth, then half a cosine down to 0."""
    return done / 0.1 if done < 0.1 else 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


@dataclass(frozen=True, slots=True)
class _Batch:
    frames: Float[Tensor, "b n d"]
    count: Int[Tensor, " b"]
    symbols: Int[Tensor, " all"]
    lengths: Int[Tensor, " b"]


def _batches(items: Sequence[Item], frame_rate: float) -> list[_Batch]:
    """Utterances of like length together."""
    order = sorted(range(len(items)), key=lambda row: len(items[row][0]))
    groups: list[list[int]] = [[]]
    for row in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(items[row][0]) > BATCH_SECONDS * frame_rate:
            groups.append([])
        groups[-1].append(row)
    return [_batch([items[row] for row in group]) for group in groups if group]


def _batch(items: Sequence[Item]) -> _Batch:
    frames = nn.utils.rnn.pad_sequence([torch.from_numpy(frames) for frames, _ in items], batch_first=True)
    count = torch.tensor([len(frames) for frames, _ in items])
    symbols = torch.tensor([symbol for _, said in items for symbol in said])
    return _Batch(frames, count, symbols, torch.tensor([len(said) for _, said in items]))


def _loss(reader: Reader, batch: _Batch, generator: torch.Generator) -> Tensor:
    said = reader(batch.frames, batch.count, generator).transpose(0, 1)
    loss = nn.functional.ctc_loss(
        said, batch.symbols, reader.lengths(batch.count), batch.lengths, BLANK, reduction="none", zero_infinity=True
    )
    return loss.sum() / batch.lengths.sum()
