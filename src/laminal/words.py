"""The words of a corpus that probes use, and the frames of a codec that each of them holds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from laminal.corpora.base import Corpus
from laminal.lexicon import pronounce

SHORTEST, LONGEST = 0.1, 1.5  # seconds
EDGE = 1e-9  # frames; a centre on the edge of a word lies inside, whatever the rounding of the edge's decimal


@dataclass(frozen=True, slots=True)
class Token:
    """One spoken word; times in seconds within its utterance."""

    word: str
    utterance_id: str
    speaker: str
    start: float
    end: float

    @property
    def name(self) -> str:
        """`utterance:start-end`, enough to find the audio again."""
        return f"{self.utterance_id}:{self.start:.4f}-{self.end:.4f}"


def tokens(corpus: Corpus) -> tuple[Token, ...]:
    """Words of `corpus` that probes use: alphabetic, in the CMU dictionary, 0.1 to 1.5 s long."""
    known = pronounce.words()
    return tuple(
        Token(word.label, utterance.id, utterance.speaker, word.start, word.end)
        for utterance in corpus
        for word in utterance.words
        if SHORTEST - EDGE <= word.end - word.start <= LONGEST + EDGE and word.label.isalpha() and word.label in known
    )


def frame_spans(
    start: Float[np.ndarray, " w"], end: Float[np.ndarray, " w"], rate: float, count: int
) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, " w"], Bool[np.ndarray, " w"]]:
    """First frame, frame after the last, and whether it was empty, of each word [start, end] (seconds) among `count` frames.

    Frame k is centred at (k + 0.5) / rate; a word holds the frames whose centre lies in it, edges included. A word without one takes the
    frame whose centre is nearest to its middle. Words past the last frame take the last one and count as empty.
    """
    first = np.maximum(np.ceil(start * rate - 0.5 - EDGE), 0).astype(np.int64)
    stop = np.minimum(np.floor(end * rate - 0.5 + EDGE) + 1, count).astype(np.int64)
    nearest = np.clip(np.floor((start + end) / 2 * rate), 0, count - 1).astype(np.int64)
    empty = first >= stop
    return np.where(empty, nearest, first), np.where(empty, nearest + 1, stop), empty
