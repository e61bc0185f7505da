"""What the task probes learn from: frames of whole utterances in every layer, each codebook alone, log-mel (floor), a teacher (ceiling)."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from laminal.cache import CodesCache
from laminal.codecs.base import Codec
from laminal.codecs.log_mel import LogMel
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import Split
from laminal.encoded import utterance_frames
from laminal.errors import DataError, RequestError
from laminal.measures.cca import fold_of_groups
from laminal.teachers.base import FrameTeacher, SpeakerTeacher
from laminal.words import frame_spans

LOG_MEL, TEACHER = "log_mel", "teacher"
RATE = 16_000  # Hz, of log-mel
MOST_BOOKS = 8  # codebooks that are all looked at; of more, those of powers of two
MODES = ("single", "cumulative")
HALF = 2**-8
TINY = 1e-6  # deviation over the mean below which a dimension counts as constant
EDGE = 1e-6  # frames: beyond the rounding of an edge, in which `frame_spans` counts a centre as inside
NOT_FINITE = "its features are not finite; mend the codec"
TEACHER_SECONDS = 25.0  # most audio in one call of a frame teacher: Whisper hears 30 s


@dataclass(frozen=True, slots=True)
class Column:
    """One set of features: a layer of the codec (setting ""), log-mel or the teacher."""

    setting: str
    layer: str = ""
    mode: str = ""


Frames = dict[Column, Float[np.ndarray, "n d"]]


@runtime_checkable
class Source(Protocol):
    """Gives the frames of an utterance, in all its columns."""

    rate: float  # frames per second

    def frames(self, utterance: Utterance) -> Frames:
        """Frame k is centred at (k + 0.5) / rate s; raises DataError where the audio is bad."""

    def also(self, column: Column) -> tuple[Column, ...]:
        """Columns that the numbers of `column` are numbers of."""


def chosen_books(asked: Sequence[int] | None, codebooks: int) -> list[int]:
    """Give the codebooks to look at; None: all of up to 8, of more the first, second, fourth .. and the last."""
    if asked is not None:
        return sorted({book for book in asked if book <= codebooks})
    if codebooks <= MOST_BOOKS:
        return list(range(1, codebooks + 1))
    return sorted({2**power for power in range(codebooks.bit_length()) if 2**power <= codebooks} | {codebooks})


class CodecFrames:
    """Layers of a codec: 1..k summed (`cumulative`), codebook k alone (`single`), the latent; of an encoder without codes its layers."""

    def __init__(self, codec: Codec, corpus: Corpus, books: Sequence[int] | None, modes: Sequence[str], cache: CodesCache | None):
        """`books`: see `chosen_books`. Layers of encoders without codes are not kept in the cache: they are as large as audio."""
        self.codec, self.corpus, self.cache = codec, corpus, cache if codec.codebooks else None
        self.rate = codec.frame_rate
        self.books, self.modes, self._asked = chosen_books(books, codec.codebooks), tuple(modes), books
        if codec.codebooks and not self.books:
            raise RequestError(f"codebooks {list(books or ())}: {codec.name} has {codec.codebooks}; give some of these, or null")

    def frames(self, utterance: Utterance) -> Frames:
        """Give every column."""
        held = utterance_frames(self.codec, self.corpus, utterance, ((0.0, utterance.seconds),), self.cache).layers
        names = self._names(list(held))
        found = {Column("", name, "cumulative"): held[name] for name in names if name == "latent" or "cumulative" in self.modes}
        if self.codec.codebooks and "single" in self.modes:
            for name in names:
                if name.isdigit() and Column("", name, "cumulative") not in (found if name == "1" else ()):
                    before = held.get(str(int(name) - 1)) if name != "1" else None
                    found[Column("", name, "single")] = held[name] if before is None else held[name] - before
        return found

    def also(self, column: Column) -> tuple[Column, ...]:
        """Codebook 1 alone is codebook 1 accumulated: it is measured once."""
        both = self.codec.codebooks and "single" in self.modes and column == Column("", "1", "cumulative")
        return (column, Column("", "1", "single")) if both else (column,)

    def fill(self, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of the corpus into the cache, where there is one."""
        number, processes = share
        if self.cache is not None:
            for index in range(number, len(self.corpus), processes):
                with suppress(DataError):  # who asks for its frames names it
                    self.frames(self.corpus[index])

    def _names(self, layers: list[str]) -> list[str]:
        if self.codec.codebooks:
            return [name for name in ("latent", *map(str, self.books)) if name in layers]
        numbers = [int(name) for name in layers if name.isdigit()]
        kept = numbers if self._asked is None and len(numbers) <= MOST_BOOKS + 1 else chosen_books(self._asked, max(numbers, default=0))
        return [name for name in layers if not name.isdigit() or int(name) in kept]


class LogMelFrames:
    """Log-mel of 80 bands every 10 ms: the floor, what the audio gives to whoever has learnt nothing."""

    rate = 100.0

    def __init__(self, corpus: Corpus):
        self.corpus = corpus
        self._mel = LogMel(RATE, RATE // 100, RATE // 40, 80)

    def frames(self, utterance: Utterance) -> Frames:
        """Give the one column."""
        return {Column(LOG_MEL): self._mel.layers(self.corpus.wav(utterance, RATE)[None])["1"][0].numpy()}

    def also(self, column: Column) -> tuple[Column, ...]:
        """Give the column."""
        return (column,)


class TeacherFrames:
    """Frames of a teacher: the ceiling, what a network that has learnt from much speech makes of the same audio."""

    def __init__(self, teacher: FrameTeacher, corpus: Corpus):
        self.teacher, self.corpus, self.rate = teacher, corpus, teacher.frame_rate

    def frames(self, utterance: Utterance) -> Frames:
        """Give the one column; audio over 25 s is heard in equal parts."""
        wav = self.corpus.wav(utterance, self.teacher.sample_rate)
        hop = round(self.teacher.sample_rate / self.rate)
        whole = torch.nn.functional.pad(wav, (0, -len(wav) % hop))  # the last frame counts, as a codec's does
        parts = -(-len(whole) // round(TEACHER_SECONDS * self.teacher.sample_rate))
        size = -(-len(whole) // (hop * parts)) * hop
        with torch.no_grad():
            heard = torch.cat([self.teacher.frames(part[None])[0].float().cpu() for part in whole.split(size)])
        return {Column(TEACHER): heard.numpy()}

    def also(self, column: Column) -> tuple[Column, ...]:
        """Give the column."""
        return (column,)


def floor_and_ceiling(corpus: Corpus, teacher: FrameTeacher | None) -> list[Source]:
    """Give what every codec is held against: log-mel, and a teacher where one is named."""
    return [LogMelFrames(corpus), *([TeacherFrames(teacher, corpus)] if teacher is not None else [])]


def voice_of(teacher: SpeakerTeacher, corpus: Corpus, utterance: Utterance, start: float, end: float) -> Float[np.ndarray, " d"]:
    """Embed seconds [start, end) of an utterance by a speaker teacher."""
    wav = corpus.crop(utterance, start, end - start, teacher.sample_rate)
    with torch.no_grad():
        return teacher.embed(wav[None])[0].double().cpu().numpy()


def pooled(frames: Float[np.ndarray, "n d"], rate: float, start: float, end: float) -> Float[np.ndarray, " e"]:
    """Mean and, behind it, standard deviation over the frames in [start, end) s, in float64.

    A frame centred on the end belongs to what follows: at 6.25 Hz frame 12 is centred at 2 s, and two stretches that meet there would
    both hold it.
    """
    first, stop, _ = frame_spans(np.array([start]), np.array([end - EDGE / rate]), rate, len(frames))
    part = frames[first[0] : stop[0]].astype(np.float64)
    return np.concatenate([part.mean(0), part.std(0)])


def halved(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Give values in half precision, half the memory, where that moves none by more than HALF of their deviation; else as they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype(np.float16)
        exact = np.abs(half - values).max(initial=0.0) <= HALF * values.std(0).max(initial=0.0)
    return half if exact else values


@dataclass(frozen=True, slots=True)
class Level:
    """Mean and deviation of each dimension over many frames; a dimension that does not vary becomes 0."""

    mean: Float[np.ndarray, " d"]
    spread: Float[np.ndarray, " d"]

    @classmethod
    def of(cls, parts: Iterable[Float[np.ndarray, "_ d"]]) -> "Level":
        """Take them of all frames of all parts."""
        count, total, squares = 0, np.zeros(1), np.zeros(1)
        for part in parts:
            wide = part.astype(np.float64)
            count, total, squares = count + len(wide), total + wide.sum(0), squares + np.square(wide).sum(0)
        mean = total / count
        return cls(mean, np.sqrt(np.maximum(squares / count - np.square(mean), 0)))

    def __call__(self, frames: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """Standardise frames."""
        varies = self.spread > TINY * np.maximum(1.0, np.abs(self.mean))
        return np.where(varies, (frames - self.mean) / np.where(varies, self.spread, 1.0), 0.0).astype(np.float32)


def folds_of(speakers: Sequence[str], folds: int) -> Int[np.ndarray, " u"]:
    """Give the fold of each item: whole speakers, about as many items in each, the last folds with the most speakers."""
    names, row, sizes = np.unique(np.asarray(speakers, dtype=str), return_inverse=True, return_counts=True)
    return fold_of_groups(names.tolist(), sizes.tolist(), folds)[row]


def unheard(corpus: Corpus, split: Split | None) -> Corpus:
    """Give the speakers that the tokenizer has not heard: read-outs are trained on some of them and tested on the others."""
    if split is None:
        return corpus
    return corpus.subset(split.test_speakers or frozenset(corpus.speakers) - split.train_speakers)


def column_order(columns: Iterable[Column]) -> list[Column]:
    """Sort columns: the latent first, then each codebook alone, then accumulated ones, by number."""
    return sorted(
        columns,
        key=lambda each: (
            each.setting,
            each.layer != "latent",
            each.mode != "single",
            int(each.layer or 0) if each.layer.isdigit() else -1,
        ),
    )


def check_modes(probe: str, modes: Sequence[str]) -> None:
    """Raise RequestError for a mode that no task has."""
    if not modes or set(modes) - set(MODES):
        raise RequestError(f"{probe}.modes={list(modes)}: give some of {', '.join(MODES)}")
