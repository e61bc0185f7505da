"""What a speaker teacher knows: equal error rate over pairs of recordings, with intervals over speakers."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from teacher_augment import equaliser
from teacher_phones import RATE, Estimate, interval
from torch import Tensor

from laminal import compat
from laminal.corpora.base import Corpus


def mean_mfcc(wav: Float[Tensor, "1 t"]) -> Float[Tensor, "d"]:
    """Mean over time of 20 cepstra (40 mels, 25 ms every 10 ms), the first, the level, left out: the baseline."""
    maker = compat.torchaudio().transforms.MFCC(RATE, 20, melkwargs={"n_fft": 400, "hop_length": 160, "n_mels": 40})
    return maker(wav)[0, 1:].mean(1)


def standardised(vectors: Float[Tensor, "u d"]) -> Float[Tensor, "u d"]:
    """Each dimension z-scored over the recordings, as acoustic_align does with its teacher."""
    return (vectors - vectors.mean(0)) / vectors.std(0).clamp(min=1e-8)


def utterances(corpus: Corpus, most: int) -> tuple[list[Tensor], np.ndarray]:
    """Whole recordings, at most `most` a speaker, and who speaks."""
    taken: dict[str, int] = {}
    wavs, speakers = [], []
    for utterance in corpus:
        taken[utterance.speaker] = taken.get(utterance.speaker, 0) + 1
        if taken[utterance.speaker] <= most:
            wavs.append(corpus.wav(utterance, RATE))
            speakers.append(utterance.speaker)
    return wavs, np.array(speakers)


def halves(wavs: list[Tensor], speakers: np.ndarray) -> tuple[list[Tensor], np.ndarray]:
    """First and second half of every recording: the channel is the same in both."""
    cut = [half for wav in wavs for half in (wav[: len(wav) // 2], wav[len(wav) // 2 :])]
    return cut, np.repeat(speakers, 2)


def recoloured(wavs: list[Tensor], seed: int) -> list[Tensor]:
    """Put every recording through an equaliser of its own (5 dB at ten knots): the channel then tells nothing of the speaker."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for wav in wavs:
        spectrum = torch.fft.rfft(wav)
        found.append(torch.fft.irfft(spectrum * equaliser(1, len(spectrum), 5.0, generator)[0], len(wav)))
    return found


@dataclass(frozen=True)
class Trials:
    """All pairs of recordings with weights that let every speaker, and every pair of speakers, count once."""

    a: np.ndarray
    b: np.ndarray
    same: np.ndarray
    weight: np.ndarray
    which: np.ndarray  # speaker index of each recording
    speakers: int
    targets: int  # speakers with more than one recording

    @classmethod
    def of(cls, speaker: np.ndarray) -> "Trials":
        """Pair all recordings of `speaker` (u,)."""
        names, which = np.unique(speaker, return_inverse=True)
        count = np.bincount(which)
        a, b = np.triu_indices(len(speaker), 1)
        same = which[a] == which[b]
        pairs = count * (count - 1) / 2
        weight = np.where(same, 1 / np.maximum(pairs[which[a]], 1), 1 / (count[which[a]] * count[which[b]]))
        return cls(a, b, same, weight, which, len(names), int((count > 1).sum()))


def error_rate(same: np.ndarray, weight: np.ndarray) -> float:
    """Equal error rate of trials sorted by rising score; weights scale the trials."""
    miss = np.cumsum(np.where(same, weight, 0.0))
    passed = np.cumsum(np.where(same, 0.0, weight))
    miss, false = miss / miss[-1], 1 - passed / passed[-1]
    at = int(np.argmax(miss >= false))

    return float((miss[at] + false[at]) / 2)


def speaker_errors(
    vectors: dict[str, Float[Tensor, "u d"]], speaker: np.ndarray, draws: int = 500
) -> dict[str, tuple[Estimate, np.ndarray]]:
    """Equal error rate by cosine of each set of vectors, with its bootstrap draws over speakers (the same ones for every set)."""
    trials = Trials.of(speaker)
    rng = np.random.default_rng(0)
    times = rng.multinomial(trials.speakers, np.full(trials.speakers, 1 / trials.speakers), draws)
    has_targets = np.array([(time[trials.which[trials.a[trials.same]]]).sum() > 0 for time in times])
    found = {}
    for name, vector in vectors.items():
        unit = torch.nn.functional.normalize(vector.double(), dim=1)
        order = np.argsort((unit @ unit.T).numpy()[trials.a, trials.b], kind="stable")
        same, weight = trials.same[order], trials.weight[order]
        first, second = trials.which[trials.a][order], trials.which[trials.b][order]
        each = [error_rate(same, weight * time[first] * np.where(same, 1, time[second])) for time in times[has_targets]]
        found[name] = (interval(each, error_rate(same, weight)), np.array(each))
    return found
