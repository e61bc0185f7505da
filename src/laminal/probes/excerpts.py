"""Fixed stretches of speech from the test speakers: the same at every checkpoint, few distinct lengths."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import Split
from laminal.errors import DataError

LEAD = 0.1  # seconds before the first word
STEP = 0.5  # seconds: shorter recordings are cut to a multiple of it, so that lengths repeat; below it they are not used


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Seconds [start, start + seconds) of an utterance."""

    utterance: Utterance
    start: float
    seconds: float

    @property
    def name(self) -> str:
        """`utterance:start-end`, enough to find the audio again."""
        return f"{self.utterance.id}:{self.start:.4f}-{self.start + self.seconds:.4f}"

    def samples(self, sample_rate: int) -> int:
        """Count samples at a rate."""
        return round(self.seconds * sample_rate)

    def wav(self, corpus: Corpus, sample_rate: int) -> Float[Tensor, " t"]:
        """Audio of `samples(sample_rate)` samples; raises DataError where the file is bad or shorter than the corpus says."""
        found = corpus.crop(self.utterance, self.start, self.seconds, sample_rate)
        wanted = self.samples(sample_rate)
        if len(found) < wanted - sample_rate // 100:
            raise DataError(f"{self.utterance.path}: {len(found) / sample_rate:.2f} s of {self.seconds:g} s are there; fetch it again")
        return torch.nn.functional.pad(found, (0, max(0, wanted - len(found))))[:wanted]

    @property
    def words(self) -> tuple[str, float] | None:
        """What is said: the words wholly inside, and the second in the excerpt where they have ended; None without aligned words."""
        end = self.start + self.seconds
        inside = [word for word in self.utterance.words if word.end <= end]
        if not inside:
            return None
        after = [word.start for word in self.utterance.words if word.end > end]
        return " ".join(word.label for word in inside), min([inside[-1].end + LEAD, end, *after]) - self.start


def excerpts(corpus: Corpus, split: Split | None, count: int, seconds: float) -> tuple[Excerpt, ...]:
    """Take `count` excerpts of `seconds` s, from each test speaker in turn (every speaker without a split), in the order of the corpus.

    Each starts LEAD before its first word, or as late as its length allows. Where too few recordings are that long, shorter ones serve.
    """
    for shortest in (seconds, STEP):
        found = _in_turn(corpus, split, count, shortest)
        if len(found) >= count:
            break
    return tuple(_excerpt(corpus[index], seconds) for index in found)


def _in_turn(corpus: Corpus, split: Split | None, count: int, shortest: float) -> list[int]:
    turns: list[tuple[int, str, int]] = []
    place: dict[str, int] = {}
    for index, speaker in _long_enough(corpus, split, shortest):
        turns.append((place.setdefault(speaker, 0), speaker, index))
        place[speaker] += 1
    return sorted(index for _, _, index in sorted(turns)[:count])


def _long_enough(corpus: Corpus, split: Split | None, shortest: float) -> Iterator[tuple[int, str]]:
    for index, utterance in enumerate(corpus):
        if utterance.seconds >= shortest and (split is None or utterance.speaker in split.test_speakers):
            yield index, utterance.speaker


def _excerpt(utterance: Utterance, seconds: float) -> Excerpt:
    length = seconds if utterance.seconds >= seconds else utterance.seconds // STEP * STEP
    first = utterance.words[0].start - LEAD if utterance.words else 0.0
    start = min(max(0.0, first), utterance.seconds - length)
    return Excerpt(utterance, int(start * 100) / 100, length)
