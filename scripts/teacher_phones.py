"""What a frame teacher knows: phone accuracy of a linear classifier per layer, with intervals over speakers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.corpora.base import Corpus, Utterance

RATE, HOP = 16000, 320
DRAWS = 1000
Features = Callable[[Float[Tensor, "1 t"]], dict[str, Float[Tensor, "n d"]]]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval (bootstrap over speakers)."""

    value: float
    low: float
    high: float

    @property
    def row(self) -> list[float]:
        """Value, low, high."""
        return [self.value, self.low, self.high]

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(draws: Sequence[float], value: float) -> Estimate:
    """Percentile interval of bootstrap `draws` around `value`."""
    low, high = np.percentile(np.asarray(draws), [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def log_mel(wav: Float[Tensor, "1 t"]) -> Float[Tensor, "n d"]:
    """80 log-mels of 25 ms windows, frame t centred at sample 320 t + 160: the baseline of the phone probe."""
    from laminal.nn.whisper_mel import LogMel

    mel = LogMel(80)(torch.nn.functional.pad(wav[:, 160:], (0, 320)))
    return mel[0, :, ::2].T[: wav.shape[1] // HOP]


def phone_frames(utterance: Utterance, frames: int, index: dict[str, int]) -> np.ndarray:
    """Phone index of each frame at its centre; -1 where there is none."""
    labels = np.full(frames, -1)
    centres = (np.arange(frames) * HOP + HOP / 2) / RATE
    for phone in utterance.phones:
        labels[(centres >= phone.start) & (centres < phone.end)] = index[phone.label]
    return labels


@dataclass(frozen=True)
class Frames:
    """Features of all labelled frames of a corpus, by layer, with phones and speakers."""

    layers: dict[str, Float[Tensor, "n d"]]
    phones: Int[Tensor, "n"]
    speaker: np.ndarray


def collect(corpus: Corpus, features: Features) -> Frames:
    """Run `features` over every utterance; keep the frames that lie in a phone."""
    names = sorted({phone.label for u in corpus for phone in u.phones})
    index = {name: i for i, name in enumerate(names)}
    layers: dict[str, list[Tensor]] = {}
    phones, speakers = [], []
    for utterance in corpus:
        with torch.no_grad():
            found = features(corpus.wav(utterance, RATE)[None])
        labels = phone_frames(utterance, min(len(value) for value in found.values()), index)
        kept = labels >= 0
        for name, value in found.items():
            layers.setdefault(name, []).append(value[: len(labels)][torch.from_numpy(kept)])
        phones.append(labels[kept])
        speakers.append(np.full(int(kept.sum()), corpus.speakers.index(utterance.speaker)))
    return Frames({k: torch.cat(v) for k, v in layers.items()}, torch.from_numpy(np.concatenate(phones)), np.concatenate(speakers))


def classify(x: Float[Tensor, "n d"], y: Int[Tensor, "n"], train: Tensor, weight_decay: float = 1e-4) -> Int[Tensor, "n"]:
    """Predict every row by a multinomial logistic regression fitted to the rows `train` (L-BFGS, from zero, standardised inputs)."""
    mean, std = x[train].mean(0), x[train].std(0).clamp(min=1e-6)
    x = (x - mean) / std
    classes = int(y.max()) + 1
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    seen, target = x[train], y[train]
    solver = torch.optim.LBFGS([weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(seen @ weight + bias, target) + weight_decay * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    with torch.no_grad():
        return (x @ weight + bias).argmax(1)


def phone_accuracy(frames: Frames, folds: int = 5, every: int = 1) -> dict[str, np.ndarray]:
    """Right (1) or wrong (0) for every frame of every layer, each predicted by a classifier that never saw its speaker.

    every: fit to every n-th training frame only.
    """
    speakers = np.unique(frames.speaker)
    fold = np.random.default_rng(0).permutation(len(speakers)) % folds
    of_frame = fold[np.searchsorted(speakers, frames.speaker)]
    right = {}
    for name, x in frames.layers.items():
        hits = np.zeros(len(frames.phones))
        for held in range(folds):
            train = torch.from_numpy(np.flatnonzero(of_frame != held)[::every])
            test = of_frame == held
            hits[test] = (classify(x.float(), frames.phones, train) == frames.phones).numpy()[test]
        right[name] = hits
    return right


def resampled(speaker: np.ndarray, values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Bootstrap means of `values` (n,) over speakers: (DRAWS,); one seed gives paired draws."""
    names, which = np.unique(speaker, return_inverse=True)
    total, count = np.bincount(which, values), np.bincount(which)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    return (times @ total) / (times @ count)


def accuracy_table(frames: Frames, right: dict[str, np.ndarray], against: str) -> dict[str, tuple[Estimate, Estimate]]:
    """Accuracy of each layer, and its paired difference from the layer `against`."""
    draws = {name: resampled(frames.speaker, hits) for name, hits in right.items()}
    return {
        name: (
            interval(draws[name], float(hits.mean())),
            interval(draws[name] - draws[against], float(hits.mean() - right[against].mean())),
        )
        for name, hits in right.items()
    }
