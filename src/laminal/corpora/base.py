"""A corpus: utterances with words, phones and speakers, and their audio."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    @property
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
        kept = tuple(utterance for utterance in self.utterances if utterance.speaker in speakers)
        return Corpus(self.name, kept, self.skipped, self.facts)
