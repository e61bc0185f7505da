"""Speech in memory for training teachers: crops with exact phone labels per 20 ms frame, and random channels that hide the recording."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.corpora.base import Corpus

RATE = 16000  # Hz
HOP = 320  # samples: frame t is centred at 320 t + 160
SILENCE = "sil"


@dataclass(frozen=True)
class Bank:
    """All utterances as one int16 array, with their phones as label indices (0 is silence) and their speakers."""

    wav: np.ndarray  # (total,)
    offset: np.ndarray  # (utterances,) in samples
    length: np.ndarray  # (utterances,) in samples
    speaker: np.ndarray  # (utterances,) index
    starts: tuple[np.ndarray, ...]  # s
    ends: tuple[np.ndarray, ...]  # s
    phones: tuple[np.ndarray, ...]  # index into names
    names: tuple[str, ...]
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class Crops:
    """Crops of one length, with the phone of each frame and the speaker."""

    wav: Float[Tensor, "b t"]
    phones: Int[Tensor, "b n"]
    speaker: Int[Tensor, "b"]


def bank(corpus: Corpus) -> Bank:
    """Read every utterance of `corpus` at 16 kHz, at a common level (rms 0.08)."""
    names = (SILENCE, *sorted({phone.label for u in corpus for phone in u.phones}))
    index = {name: i for i, name in enumerate(names)}
    wavs = [_level(corpus.wav(u, RATE).numpy()) for u in corpus]
    length = np.array([len(w) for w in wavs])
    speakers = corpus.speakers
    return Bank(
        wav=np.concatenate(wavs),
        offset=np.concatenate([[0], np.cumsum(length)[:-1]]),
        length=length,
        speaker=np.array([speakers.index(u.speaker) for u in corpus]),
        starts=tuple(np.array([p.start for p in u.phones]) for u in corpus),
        ends=tuple(np.array([p.end for p in u.phones]) for u in corpus),
        phones=tuple(np.array([index[p.label] for p in u.phones], dtype=np.int64) for u in corpus),
        names=names,
        speakers=speakers,
    )


def _level(wav: np.ndarray) -> np.ndarray:
    scaled = wav / max(1e-4, float(np.sqrt(np.mean(wav**2)))) * 0.08
    return (np.clip(scaled, -1, 1) * 32767).astype(np.int16)


def frame_labels(bank: Bank, utterance: int, seconds: np.ndarray) -> np.ndarray:
    """Phone index at each time in `seconds`; silence between and outside phones."""
    starts = bank.starts[utterance]
    at = np.searchsorted(starts, seconds, side="right") - 1
    inside = (at >= 0) & (seconds < bank.ends[utterance][at])
    return np.where(inside, bank.phones[utterance][at], 0)


def draw(bank: Bank, utterances: np.ndarray, samples: int, speed: np.ndarray, rng: np.random.Generator) -> Crops:
    """Crop `samples` at a random place of each utterance, played `speed` times as fast (tempo, pitch and formants together)."""
    wavs = np.zeros((len(utterances), samples), dtype=np.float32)
    phones = np.zeros((len(utterances), samples // HOP), dtype=np.int64)
    centres = np.arange(samples // HOP) * HOP + HOP / 2
    for row, (utterance, factor) in enumerate(zip(utterances, speed)):
        source = round(samples * factor / 100) * 100  # a length with small factors: quick to transform
        first = int(rng.integers(0, max(1, bank.length[utterance] - source)))
        cut = bank.wav[bank.offset[utterance] + first : bank.offset[utterance] + min(first + source, bank.length[utterance])]
        wavs[row] = _stretch(cut.astype(np.float32) / 32768, source, samples)
        phones[row] = frame_labels(bank, int(utterance), (first + centres * source / samples) / RATE)
    return Crops(torch.from_numpy(wavs), torch.from_numpy(phones), torch.from_numpy(bank.speaker[utterances]))


def _stretch(cut: np.ndarray, source: int, samples: int) -> np.ndarray:
    """Resample `cut`, padded to `source`, to `samples` by its spectrum."""
    padded = torch.zeros(source)
    padded[: len(cut)] = torch.from_numpy(cut)
    if source == samples:
        return padded.numpy()
    spectrum = torch.fft.rfft(padded)
    kept = torch.zeros(samples // 2 + 1, dtype=spectrum.dtype)
    shared = min(len(kept), len(spectrum)) - 1
    kept[:shared] = spectrum[:shared]
    return (torch.fft.irfft(kept, samples) * (samples / source)).numpy()
