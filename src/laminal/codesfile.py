"""Codes of one recording as a file that anybody can read: .npz or .safetensors, the smallest integers, and what they are of."""

import hashlib
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from laminal.atomic import replacing
from laminal.errors import DataError

SUFFIXES = (".npz", ".safetensors")
BROKEN = (zipfile.BadZipFile, zlib.error, SafetensorError, ValueError, KeyError, TypeError, OSError, EOFError, SyntaxError)


@dataclass(frozen=True, slots=True)
class About:
    """What the codes of a file are of; `samples` counts the audio's samples at `sample_rate` (Hz), the codec's own rate."""

    codec: str
    revision: str
    sample_rate: int
    frame_rate: float  # Hz
    codebook_size: int
    samples: int
    audio: str  # path below the folder that was tokenised
    audio_sha256: str
    codes_sha256: str = ""  # of the array's bytes: found wrong, a file is made anew

    @property
    def seconds(self) -> float:
        """Length of the audio in seconds."""
        return self.samples / self.sample_rate


def digest(codes: Integer[np.ndarray, "q n"]) -> str:
    """Hash type, shape and bytes of codes."""
    plain = np.ascontiguousarray(codes, dtype=codes.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{codes.dtype.name} {codes.shape}\n".encode() + plain.tobytes()).hexdigest()


def write(path: Path, codes: Integer[np.ndarray, "q n"], about: About) -> None:
    """Write codes, in the type that they have, in the format that the suffix names; whole or not at all."""
    told = json.dumps(asdict(about) | {"codes_sha256": digest(codes)}, sort_keys=True)
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            np.savez(temporary, codes=codes, about=np.array(told))
        else:
            save_file({"codes": np.ascontiguousarray(codes)}, temporary, metadata={"about": told})


def read(path: Path) -> tuple[Integer[np.ndarray, "q n"], About]:
    """Read codes and what they are of; raises DataError where the file is broken, or none of ours."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                codes, told = held["codes"], str(held["about"])
        else:
            with safe_open(path, framework="numpy") as opened:
                codes, told = opened.get_tensor("codes"), (opened.metadata() or {})["about"]
        facts: dict[str, Any] = json.loads(told)
        about = About(**facts)
    except BROKEN as error:
        raise DataError(f"{path}: no readable codes ({' '.join(str(error).split())[:120]}); run laminal.tokenise again") from error
    if codes.ndim != 2 or digest(codes) != about.codes_sha256:
        raise DataError(f"{path}: the codes are not those that were written; run laminal.tokenise again")
    return codes, about
