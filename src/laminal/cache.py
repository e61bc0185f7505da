"""Codes kept on disk, so that audio is encoded once: shards named by what went into them, written whole, checked when read."""

import hashlib
import warnings
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from laminal.atomic import replacing
from laminal.errors import DataError

FORMAT = "laminal codes 1"


@dataclass(frozen=True, slots=True)
class Shard:
    """Words in a fixed order: their codes one after the other, and what cannot be looked up from codes, already pooled over frames.

    `lengths` counts the frames of each word (0: no codes); `direct` holds the layers that are kept as they are ("latent", or all layers
    of an encoder without codes); `empty` marks words without a frame centre, which took the nearest frame.
    """

    codes: Integer[np.ndarray, "q n"]
    lengths: Integer[np.ndarray, " w"]
    direct: Float[np.ndarray, "w direct d"]
    names: tuple[str, ...]  # of the direct layers
    empty: Bool[np.ndarray, " w"]


@dataclass(slots=True)
class CodesCache:
    """Shards in a folder, one .npz each (zip checks every byte by CRC-32; nothing is unpickled); counts hits and misses."""

    folder: Path
    hits: int = 0
    misses: int = 0
    corrupt: list[str] = field(default_factory=list)  # shards found broken and made anew
    _warned: bool = False

    def get(self, key: str) -> Shard | None:
        """Give the shard of `key`; None where there is none or it is broken (then it is noted and removed)."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["format"]) != FORMAT or str(held["key"]) != key:
                    raise ValueError("another shard under this name")
                shard = Shard(held["codes"], held["lengths"], held["direct"], tuple(map(str, held["names"])), held["empty"])
        except (FileNotFoundError, NotADirectoryError):
            self.misses += 1
            return None
        except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, OSError, EOFError, TypeError, SyntaxError) as error:
            warnings.warn(f"cache: {path} is broken ({error}) and is made anew", stacklevel=2)
            self.corrupt.append(path.name)
            self.misses += 1
            with suppress(OSError):
                path.unlink()
            return None
        self.hits += 1
        return shard

    def put(self, key: str, shard: Shard) -> None:
        """Store `shard`; where the disk refuses, warn once and go on without."""
        try:
            with replacing(self._path(key)) as temporary:
                np.savez(
                    temporary,
                    format=np.array(FORMAT),
                    key=np.array(key),
                    codes=shard.codes,
                    lengths=shard.lengths,
                    direct=shard.direct,
                    names=np.array(shard.names, dtype=np.str_),
                    empty=shard.empty,
                )
        except OSError as error:
            if not self._warned:
                warnings.warn(f"cache: {self.folder} cannot be written ({error}); free space or say cache=off", stacklevel=2)
            self._warned = True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"


def open_cache(where: str | Path | None) -> CodesCache | None:
    """Open the cache in folder `where`; None and "off" mean no cache."""
    return None if where is None or str(where) in ("off", "") else CodesCache(Path(where))


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
