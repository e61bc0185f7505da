"""The audio of a corpus for random access: decoded once and kept as int16 up to a budget, beyond it only the crop."""

import mmap
import multiprocessing
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from laminal.corpora.base import Corpus
from laminal.errors import DataError

SLACK = 0.01  # s by which a recording may fall short of its stated length


class Waveforms:
    """The audio of a corpus at one rate; whole recordings stay in memory as int16 up to a budget, shared with forked processes.

    Which ones are kept depends on the budget and the order alone, never on what was asked before; of the others only the crop is decoded.
    """

    def __init__(self, corpus: Corpus, lengths: Sequence[float], sample_rate: int, cache_bytes: int) -> None:
        self._corpus, self._rate, self._lengths = corpus, sample_rate, lengths
        room = np.ceil(np.asarray(lengths) * sample_rate).astype(np.int64) + 1
        ends = np.cumsum(room)
        self._kept = int(np.searchsorted(2 * ends, cache_bytes, side="right"))
        self._offset = np.concatenate(([0], ends[: self._kept]))
        self._allocate()

    def crop(self, index: int, start: int, count: int) -> Float32[np.ndarray, " t"]:
        """Give samples [start, start + count) of recording `index`, fewer where it ends; raises DataError where it is unreadable."""
        wav = self._cached(index, start, count) if index < self._kept else self._decoded(index, start, count)
        expected = min(count, int(self._lengths[index] * self._rate) - start)
        if len(wav) < expected - SLACK * self._rate:
            path = self._corpus[index].path
            raise DataError(f"{path}: {len(wav)} samples from {start} on, {expected} expected; it may be truncated: fetch it again")
        return wav

    def _decoded(self, index: int, start: int, count: int) -> Float32[np.ndarray, " t"]:
        return self._corpus.crop(self._corpus[index], start / self._rate, count / self._rate, self._rate).numpy()[:count]

    def _cached(self, index: int, start: int, count: int) -> Float32[np.ndarray, " t"]:
        first, last = int(self._offset[index]), int(self._offset[index + 1])
        with self._lock:  # another process may be writing this recording
            held = int(self._held[index])
        if held == 0:
            whole = self._corpus.wav(self._corpus[index], self._rate).numpy()[: last - first]
            held = len(whole)
            with self._lock:
                self._samples[first : first + held] = np.clip(np.rint(whole * 32768), -32768, 32767)
                self._held[index] = held
        end = first + held
        return self._samples[min(first + start, end) : min(first + start + count, end)].astype(np.float32) / 32768

    def _allocate(self) -> None:
        # Anonymous shared pages: no limit of /dev/shm, and none is taken before it is written.
        self._samples = np.frombuffer(mmap.mmap(-1, 2 * max(int(self._offset[-1]), 1)), dtype=np.int16)
        self._held = np.frombuffer(mmap.mmap(-1, 8 * max(self._kept, 1)), dtype=np.int64)
        self._lock = multiprocessing.get_context("fork").Lock()

    def __getstate__(self) -> dict[str, object]:
        """Leave the shared pages behind: a spawned process has its own."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_samples", "_held", "_lock")}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore, with empty pages."""
        self.__dict__.update(state)
        self._allocate()
