"""Audio files: anything libsndfile reads, any rate, mono or not, as mono float32."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from laminal.atomic import replacing
from laminal.errors import DataError

SUFFIXES = frozenset({".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"})
FLOAT_SUBTYPES = frozenset({"FLOAT", "DOUBLE"})  # the only ones that can hold NaN or infinity
BLOCK = 1 << 18  # frames read at once while looking for NaN: memory stays flat in the length of a file
_CUT = re.compile(r"^ ?(?:data|SSND| Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's log of WAV, AIFF, AU
STREAMED = 0x7FFF_0000  # a WAV written to a pipe gives about this length, or more, in its header: it says nothing


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header says: rate in Hz, length in frames (samples per channel), channels."""

    sample_rate: int
    frames: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file that holds samples; every failure inside the block of libsndfile's becomes a DataError."""
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.frames < 1:
                raise DataError(f"{path}: empty audio (0 samples); remove it or record it again")
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        if path.is_file() and path.stat().st_size == 0:
            raise DataError(f"{path}: empty audio (0 bytes); fetch it again") from error
        raise DataError(f"{path}: unreadable audio ({error}); it may be truncated or no audio: fetch it again, as FLAC or WAV") from error


def info(path: Path) -> AudioInfo:
    """Read the header of `path`; raises DataError where it cannot be read or holds no sample."""
    with _opened(path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels)


def check(path: Path) -> AudioInfo:
    """Read the header of `path` and what can be wrong behind it without decoding it all: its end, and NaN in float formats.

    Raises DataError on unreadable, empty, truncated or non-finite audio.
    """
    with _opened(path) as file:
        header = AudioInfo(file.samplerate, file.frames, file.channels)
        declared = _CUT.search(file.extra_info)
        if declared and int(declared[1]) < STREAMED:
            raise DataError(f"{path}: truncated: {declared[2]} of the {declared[1]} bytes its header says are there; fetch it again")
        if file.subtype in FLOAT_SUBTYPES:
            for block in file.blocks(BLOCK, dtype="float32"):
                _finite(path, block)
            file.seek(0)
        file.seek(header.frames - 1)  # a truncated FLAC or OGG has no last sample
        if len(file.read(1, dtype="float32", always_2d=True)) == 0:
            raise DataError(f"{path}: truncated: its header says {header.frames} samples and the last is not there; fetch it again")
    return header


def read(path: Path, sample_rate: int, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Read seconds [start, start + duration) of `path`, channels averaged, at `sample_rate` Hz.

    Only the part asked for is decoded. Returns (t,) float32; raises DataError on unreadable, empty, truncated or non-finite audio.
    """
    with _opened(path) as file:
        source = file.samplerate
        first = round(start * source)
        if first < 0 or first >= file.frames:
            raise DataError(f"{path}: start {start:.3f} s lies outside its {file.frames / source:.3f} s; check the alignment")
        rest = file.frames - first
        count = rest if duration is None else min(rest, max(1, round(duration * source)))
        file.seek(first)
        samples = file.read(count, dtype="float32", always_2d=True)
    if len(samples) < count:
        raise DataError(f"{path}: truncated: {len(samples)} of {count} samples from {start:.3f} s are there; fetch it again")
    _finite(path, samples)
    return resample(samples.mean(axis=1), source, sample_rate)


def stream(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Read `path` piece by piece: the samples of `read`, bit for bit, in pieces of some seconds.

    Yields (t,) float32 at `sample_rate` Hz; raises DataError on unreadable, empty, truncated or non-finite audio.
    """
    with _opened(path) as file:
        left, resampler = file.frames, soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32")
        while left:
            samples = file.read(min(left, BLOCK), dtype="float32", always_2d=True)
            if not len(samples):
                raise DataError(f"{path}: truncated: {left} of {file.frames} samples are missing; fetch it again")
            _finite(path, samples)
            left -= len(samples)
            wav = np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)
            yield wav if file.samplerate == sample_rate else resampler.resample_chunk(wav, last=not left)


def _finite(path: Path, samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: NaN or infinite samples; convert it again from its source")


def resample(wav: np.ndarray, source: int, target: int) -> np.ndarray:
    """Resample (t,) from `source` to `target` Hz by soxr (high quality); returns float32."""
    if source == target:
        return np.ascontiguousarray(wav, dtype=np.float32)
    return soxr.resample(wav.astype(np.float32), source, target)


def write(path: Path, wav: np.ndarray, sample_rate: int, comment: str = "") -> None:
    """Write (t,) as 16-bit audio in the format that the suffix names, with a comment in its header; samples beyond +-1 are clipped."""
    with replacing(path) as temporary, soundfile.SoundFile(str(temporary), "w", sample_rate, 1, "PCM_16") as file:
        if comment:
            file.comment = comment
        file.write(np.clip(wav, -1.0, 1.0))


def comment(path: Path) -> str:
    """Read the comment in the header of a file that is whole; "" where there is none, or no such file."""
    try:
        check(path)
        with _opened(path) as file:
            return str(file.comment)
    except DataError:
        return ""
