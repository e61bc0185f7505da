"""Audio files: anything libsndfile reads, any rate, mono or not, as mono float32."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from laminal.atomic import replacing
from laminal.errors import DataError


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


def info(path: Path) -> AudioInfo:
    """Read the header of `path`; raises DataError where it cannot be read or holds no sample."""
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path}: unreadable audio ({error}); libsndfile must read it: convert it to FLAC or WAV") from error
    if header.frames < 1:
        raise DataError(f"{path}: empty audio (0 samples); remove it or record it again")
    return AudioInfo(header.samplerate, header.frames, header.channels)


def read(path: Path, sample_rate: int, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Read seconds [start, start + duration) of `path`, channels averaged, at `sample_rate` Hz.

    Only the part asked for is decoded. Returns (t,) float32; raises DataError on unreadable, empty or non-finite audio.
    """
    header = info(path)
    first = round(start * header.sample_rate)
    count = header.frames - first if duration is None else round(duration * header.sample_rate)
    if first < 0 or first >= header.frames:
        raise DataError(f"{path}: start {start:.3f} s lies outside its {header.seconds:.3f} s; check the alignment")
    try:
        with soundfile.SoundFile(str(path)) as file:
            file.seek(first)
            samples = file.read(min(count, header.frames - first), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path}: unreadable audio ({error}); it may be truncated: fetch it again") from error
    if len(samples) == 0:
        raise DataError(f"{path}: no sample in [{start:.3f}, +{duration}] s; it may be truncated: fetch it again")
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise DataError(f"{path}: NaN or infinite samples; convert it again from its source")
    return resample(mono, header.sample_rate, sample_rate)


def resample(wav: np.ndarray, source: int, target: int) -> np.ndarray:
    """Resample (t,) from `source` to `target` Hz by soxr (high quality); returns float32."""
    if source == target:
        return np.ascontiguousarray(wav, dtype=np.float32)
    return soxr.resample(wav.astype(np.float32), source, target)


def write(path: Path, wav: np.ndarray, sample_rate: int) -> None:
    """Write (t,) as 16-bit audio in the format that the suffix names; samples beyond +-1 are clipped."""
    with replacing(path) as temporary:
        soundfile.write(str(temporary), np.clip(wav, -1.0, 1.0), sample_rate, subtype="PCM_16")
