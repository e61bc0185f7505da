"""Recordings of any length to codes: in pieces where the codec says what a frame depends on, whole where it does not."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int

from laminal import audio
from laminal.codecs.base import Codec

PIECE = 60.0  # seconds
TRIED = 2.0  # seconds of a piece in the trial


@dataclass(slots=True)
class Encoder:
    """Encodes files with `codec`, one at a time.

    A codec whose frame k depends on no audio but the samples [k hop - before, (k + 1) hop + after) may say so by an attribute
    `chunk_context = (before, after)`. Recordings above PIECE seconds are then encoded in pieces with that much around them, after a trial
    that the codes stay the same; memory is flat. Every other codec (one with an LSTM, for example) gets whole recordings.
    """

    codec: Codec
    context: tuple[int, int] | None = None
    _tried: bool = False

    def __post_init__(self) -> None:
        """Take the context that the codec gives, where its frames are a whole number of samples."""
        given = getattr(self.codec, "chunk_context", None)
        if given is not None and self.codec.frame_rate * self.hop == self.codec.sample_rate:
            self.context = (-(-int(given[0]) // self.hop), -(-int(given[1]) // self.hop))  # in frames

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return round(self.codec.sample_rate / self.codec.frame_rate)

    def __call__(self, path: Path) -> tuple[Int[np.ndarray, "q n"], int]:
        """Codes of a file and its length in samples at the codec's rate; raises DataError where it cannot be read."""
        if self.context is not None and audio.info(path).seconds > PIECE:
            self._try(path)
        if self.context is None or audio.info(path).seconds <= PIECE:
            wav = audio.read(path, self.codec.sample_rate)
            return self.encode(wav), len(wav)
        counted = _Counted(audio.stream(path, self.codec.sample_rate))
        parts = list(pieces(counted, self.encode, self.hop, self.context, round(PIECE * self.codec.frame_rate)))
        return np.concatenate(parts, 1), counted.samples

    def encode(self, wav: Float32[np.ndarray, " t"]) -> Int[np.ndarray, "q n"]:
        """Encode audio in one call of the codec."""
        with torch.no_grad():
            codes = self.codec.encode(torch.from_numpy(wav)[None].to(getattr(self.codec, "device", "cpu")))
        return codes[0].cpu().numpy()

    def _try(self, path: Path) -> None:
        """Hold pieces of the first long recording against its beginning as a whole; where codes differ, all is encoded whole."""
        if self._tried or self.context is None:
            return
        self._tried = True
        frames = round(TRIED * self.codec.frame_rate)
        wav = audio.read(path, self.codec.sample_rate, 0.0, 3 * TRIED + 2 * sum(self.context) / self.codec.frame_rate)
        cut = np.concatenate(list(pieces(iter([wav]), self.encode, self.hop, self.context, frames)), 1)
        if not np.array_equal(cut, self.encode(wav)):
            warnings.warn(f"{self.codec.name}: pieces give other codes than the whole; recordings are encoded whole", stacklevel=2)
            self.context = None


def pieces(
    blocks: Iterator[np.ndarray],
    encode: Callable[[np.ndarray], Int[np.ndarray, "q n"]],
    hop: int,
    context: tuple[int, int],
    frames: int,
) -> Iterator[Int[np.ndarray, "q m"]]:
    """Codes of a stream of audio, `frames` at a time, each piece encoded with `context` frames before and after it."""
    before, after = context
    held, first, piece, ended = np.zeros(0, np.float32), 0, 0, False  # `held` begins at frame `first`; the piece at frame `piece`
    while True:
        stop = (piece + frames + after - first) * hop
        while not ended and len(held) <= stop:
            block = next(blocks, None)
            ended = block is None
            held = held if block is None else np.concatenate([held, block])
        last = ended and len(held) <= stop
        codes = encode(held if last else held[:stop])[:, piece - first :]
        yield codes if last else codes[:, :frames]
        if last:
            return
        piece += frames
        dropped = max(0, piece - before - first)
        held, first = held[dropped * hop :], first + dropped


@dataclass(slots=True)
class _Counted:
    """Counts the samples that pass."""

    blocks: Iterator[np.ndarray]
    samples: int = 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> np.ndarray:
        block = next(self.blocks)
        self.samples += len(block)
        return block
