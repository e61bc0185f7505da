"""A corpus: utterances with words, phones and speakers, and their audio."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch

from laminal import audio


@dataclass(frozen=True, slots=True)
class Interval:
    """A labelled stretch of time, in seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording: words in lower case, phones as ARPAbet without stress; silences are left out of both."""

    id: str
    path: Path
    speaker: str
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]
    text: str
    seconds: float


class Packed(Sequence[Utterance]):
    """Utterances whose intervals lie in flat arrays, 20 bytes each, and become objects when asked for.

    As objects, the 4.7 million intervals of 100 h of aligned speech would take about 1 GB, in every data worker.
    """

    def __init__(self, utterances: Iterable[Utterance]):
        """Take in `utterances` one by one: the source may be a generator."""
        self.ids: list[str] = []
        self.speakers: list[str] = []
        self._paths: list[str] = []
        self.texts: list[str] = []
        vocabulary: dict[str, int] = {}
        seconds, start, end = array("d"), array("d"), array("d")
        label, words, phones = array("i"), array("q", [0]), array("q")
        for utterance in utterances:
            self.ids.append(utterance.id)
            self.speakers.append(utterance.speaker)
            self._paths.append(str(utterance.path))
            self.texts.append(utterance.text)
            seconds.append(utterance.seconds)
            for interval in (*utterance.words, *utterance.phones):
                label.append(vocabulary.setdefault(interval.label, len(vocabulary)))
                start.append(interval.start)
                end.append(interval.end)
            phones.append(words[-1] + len(utterance.words))
            words.append(len(label))
        self._vocabulary = list(vocabulary)
        self.seconds = np.frombuffer(seconds, np.float64) if seconds else np.zeros(0)
        self._label, self._start, self._end = (np.array(column) for column in (label, start, end))
        self._first, self._middle = np.array(words), np.array(phones, np.int64)
        self.word_counts, self.phone_counts = self._middle - self._first[:-1], self._first[1:] - self._middle  # by utterance

    def __len__(self) -> int:
        """Count utterances."""
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Utterance, ...]: ...
    def __getitem__(self, index: int | slice) -> Utterance | tuple[Utterance, ...]:
        """Make utterance `index` (or a tuple of them, of a slice)."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        at = range(len(self))[index]  # negative indices, and IndexError
        first, middle, last = int(self._first[at]), int(self._middle[at]), int(self._first[at + 1])
        return Utterance(
            self.ids[at], Path(self._paths[at]), self.speakers[at], self._intervals(first, middle), self._intervals(middle, last),
            self.texts[at], float(self.seconds[at]),
        )  # fmt: skip

    def _intervals(self, first: int, last: int) -> tuple[Interval, ...]:
        columns = (column[first:last].tolist() for column in (self._label, self._start, self._end))
        return tuple(Interval(self._vocabulary[label], start, end) for label, start, end in zip(*columns, strict=True))

    def __eq__(self, other: object) -> bool:
        """Hold the same utterances in the same order."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Corpus:
    """Utterances in a fixed order (by id), and what was skipped with its reason; `name` goes into every score."""

    name: str
    utterances: Sequence[Utterance]
    skipped: tuple[tuple[str, str], ...] = ()  # (file, reason)
    facts: dict[str, object] = field(default_factory=dict)  # licence, source, alignment coverage: into the manifest

    def __len__(self) -> int:
        """Count utterances."""
        return len(self.utterances)

    def __getitem__(self, index: int) -> Utterance:
        """Give utterance `index`."""
        return self.utterances[index]

    def __iter__(self) -> Iterator[Utterance]:
        """Go through the utterances in order."""
        return iter(self.utterances)

    def wav(self, utterance: Utterance, sample_rate: int) -> torch.Tensor:
        """Whole audio of `utterance` at `sample_rate` Hz, (t,) float32."""
        return torch.from_numpy(audio.read(utterance.path, sample_rate))

    def crop(self, utterance: Utterance, start: float, seconds: float, sample_rate: int) -> torch.Tensor:
        """Audio from `start` s for at most `seconds` s, (t,) float32; shorter where the recording ends."""
        return torch.from_numpy(audio.read(utterance.path, sample_rate, start, seconds))

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """Speakers, sorted."""
        packed = self.utterances
        return tuple(sorted(set(packed.speakers if isinstance(packed, Packed) else (utterance.speaker for utterance in packed))))

    @cached_property
    def sha256(self) -> str:
        """Hash of what the utterances say: ids, speakers, lengths, words and phones with their times (not of paths)."""
        digest = hashlib.sha256()
        for utterance in self.utterances:
            digest.update(f"{utterance.id}\t{utterance.speaker}\t{utterance.seconds:.4f}\n".encode())
            for tier in (utterance.words, utterance.phones):
                digest.update("".join(f"{i.label} {i.start:.4f} {i.end:.4f};" for i in tier).encode())
        return digest.hexdigest()

    def subset(self, speakers: frozenset[str]) -> "Corpus":
        """Only the utterances of `speakers`, in the same order."""
        kept = (utterance for utterance in self.utterances if utterance.speaker in speakers)
        return Corpus(self.name, Packed(kept) if isinstance(self.utterances, Packed) else tuple(kept), self.skipped, self.facts)
