"""Codes kept on disk, so that audio is encoded once: shards named by what went into them, written whole, checked when read."""

import hashlib
import os
import re
import time
import warnings
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from laminal.atomic import replacing
from laminal.errors import DataError, RequestError
from laminal.usual_folder import usual_folder

FORMAT = "laminal codes 1"
ENCODED = "2"  # changes when utterances are encoded otherwise, were it by a last bit: 2 is on one thread
LIMIT = "20GB"  # of the cache that probe.py uses when nothing else is said
ROOM = 0.1  # share of the limit that is made free when it is reached
ABANDONED = 86_400.0  # seconds after which the unfinished file of a killed process is removed
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, slots=True)
class Shard:
    """Words in a fixed order: their codes one after the other, and what cannot be looked up from codes, already pooled over frames.

    `lengths` counts the frames of each word (0: no codes); `direct` holds the layers that are kept as they are ("latent", or all layers
    of an encoder without codes); `empty` marks words without a frame centre, which took the nearest frame. `bad` numbers the utterances of
    the request that could not be read, with reasons: their words are not here.
    """

    codes: Integer[np.ndarray, "q n"]
    lengths: Integer[np.ndarray, " w"]
    direct: Float[np.ndarray, "w direct d"]
    names: tuple[str, ...]  # of the direct layers
    empty: Bool[np.ndarray, " w"]
    bad: tuple[tuple[int, str], ...] = ()


@dataclass(slots=True)
class CodesCache:
    """Arrays in a folder, one .npz a key (zip checks every byte by CRC-32; nothing is unpickled); counts hits and misses.

    Any number of processes may use a folder at once: files appear whole, and what one removes another only misses. Above `limit` bytes the
    files used least recently go, by their time of modification, which every hit renews.
    """

    folder: Path
    limit: int | None = None
    hits: int = 0
    misses: int = 0
    corrupt: list[str] = field(default_factory=list)  # files found broken and made anew
    _warned: bool = False
    _written: int = 0  # bytes, by this object
    _measured: int = -1  # `_written` when the folder was measured

    def get(self, key: str) -> Shard | None:
        """Give the shard of `key`; None where there is none or it is broken (then it is noted and removed)."""
        held = self.fetch(key, ("codes", "lengths", "direct", "names", "empty", "bad", "reasons"))
        if held is None:
            return None
        bad = tuple((int(place), str(reason)) for place, reason in zip(held["bad"], held["reasons"]))
        return Shard(held["codes"], held["lengths"], held["direct"], tuple(map(str, held["names"])), held["empty"], bad)

    def put(self, key: str, shard: Shard) -> None:
        """Store `shard`; where the disk refuses, warn once and go on without."""
        named = {"names": shard.names, "reasons": [reason for _, reason in shard.bad]}
        texts = {name: np.array(each, dtype=np.str_) for name, each in named.items()}
        bad = np.array([place for place, _ in shard.bad], dtype=np.int64)
        self.store(key, codes=shard.codes, lengths=shard.lengths, direct=shard.direct, empty=shard.empty, bad=bad, **texts)

    def fetch(self, key: str, names: tuple[str, ...]) -> dict[str, np.ndarray] | None:
        """Give the arrays `names` of `key`; None where there are none or they are broken (then that is noted and they are removed)."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["format"]) != FORMAT or str(held["key"]) != key:
                    raise ValueError("another entry under this name")
                found = {name: held[name] for name in names}
        except (FileNotFoundError, NotADirectoryError):
            self.misses += 1
            return None
        except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, OSError, EOFError, TypeError, SyntaxError) as error:
            warnings.warn(f"cache: {path} is broken ({error}) and is made anew", stacklevel=3)
            self.corrupt.append(path.name)
            self.misses += 1
            with suppress(OSError):
                path.unlink()
            return None
        self.hits += 1
        with suppress(OSError):  # another process may have removed it, or the folder is read-only
            os.utime(path)
        return found

    def holds(self, key: str) -> bool:
        """Whether there is an entry under `key`, broken or not."""
        return self._path(key).is_file()

    def store(self, key: str, **arrays: np.ndarray) -> None:
        """Store `arrays`; where the disk refuses, warn once and go on without."""
        try:
            path = self._path(key)
            with replacing(path) as temporary:
                np.savez(temporary, **{"format": np.array(FORMAT), "key": np.array(key)} | arrays)  # type: ignore[arg-type]
            self._bound(path.stat().st_size)
        except OSError as error:
            self._warn(f"{self.folder} cannot be written ({error}); free space or say cache=off")

    def _bound(self, written: int) -> None:
        """Measure the folder at the first file and whenever a part of the limit was written since; make room where it is full."""
        if self.limit is None:
            return
        self._written += written
        if self._measured >= 0 and self._written - self._measured < self.limit * ROOM / 2:
            return
        self._measured = self._written
        found, now = [], time.time()
        for path in self.folder.glob("??/*.npz"):
            with suppress(OSError):
                about = path.stat()
                if not path.name.startswith("."):
                    found.append((about.st_mtime_ns, path.name, about.st_size, path))
                elif now - about.st_mtime > ABANDONED:
                    path.unlink()
        total = sum(size for *_, size, _ in found)
        if total <= self.limit:
            return
        for _, _, size, path in sorted(found):
            if total <= self.limit * (1 - ROOM):
                break
            with suppress(OSError):
                path.unlink()
            total -= size
        if self._written > self.limit:
            self._warn(f"this run writes more than the limit of {self.limit:,} bytes: the next one will encode again; raise cache.limit")

    def _warn(self, text: str) -> None:
        if not self._warned:
            warnings.warn(f"cache: {text}", stacklevel=4)
        self._warned = True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"


def open_cache(where: Any, limit: Any = None) -> CodesCache | None:
    """Open the cache in folder `where`; None, False (YAML's off) and "off" mean no cache. `limit`: as "20GB", or bytes; None for none."""
    return None if where in (None, False, "") or str(where) == "off" else CodesCache(Path(str(where)).expanduser(), parsed_size(limit))


def usual_cache(where: Any = None, limit: Any = None) -> CodesCache | None:
    """Open probe.py's cache: `where`, else $LAMINAL_CODES (a folder or off), else $LAMINAL_CACHE/codes, else ~/.cache/laminal/codes."""
    if where is None:
        where = os.environ.get("LAMINAL_CODES") or usual_folder("codes")
    return open_cache(where, LIMIT if limit is None else limit)


def parsed_size(text: Any) -> int | None:
    """Read a size in bytes, as 20GB, 500 MB or 1e9; None stays None. Raises RequestError on anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([KMGT]?B)?\s*", str(text), re.IGNORECASE)
    try:
        bytes_ = float(match[1]) * UNITS[(match[2] or "").upper()] if match else 0.0
    except ValueError:
        bytes_ = 0.0
    if bytes_ < 1:
        raise RequestError(f"cache.limit={text} is no size; write for example cache.limit=20GB")
    return int(bytes_)


def entry_key(codec: Any, what: str) -> str:
    """Name an entry by all it depends on: the codec (name, revision, rate) and `what`, a text that holds the hash of the audio."""
    return hashlib.sha256(f"{ENCODED}\t{codec.name}\t{codec.revision}\t{codec.sample_rate}\t{what}".encode()).hexdigest()


def smallest_integer(codebook_size: int) -> np.dtype:
    """Smallest unsigned integer type that holds the codes 0 .. codebook_size - 1."""
    return np.min_scalar_type(max(codebook_size - 1, 0))


def file_sha256(path: Path) -> str:
    """Hash the bytes of a file; raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: unreadable ({error.strerror}); fetch it again") from error
