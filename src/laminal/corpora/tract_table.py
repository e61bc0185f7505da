"""The small table that comes with laminal: recordings of the simulated vocal tract with their distances, where the tool is missing.

Made by scripts/make_tract_table.py from `corpora/vocal_tract.py`; what a GPL program puts out is data of whoever ran it.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16

from laminal.corpora.base import Interval, Utterance
from laminal.corpora.tract import Tract, TractCorpus, read_arrays, tract_corpus
from laminal.errors import DataError

UNIT = 0.02  # mm, of the integers kept
FOLDER = Path(str(files("laminal.corpora"))) / "tract_table"


def tract_table(folder: str | Path | None = None) -> TractCorpus:
    """Load the table: 6 voices, 24 recordings of about 8 s, 120 lines at 83.278 Hz; `folder`: another one of the same make."""
    place = FOLDER if folder is None else Path(folder)
    try:
        told = json.loads((place / "table.json").read_text(encoding="utf-8"))
        held = read_arrays(place / "distances.npz", "install laminal again")
        found = {row["id"]: (_utterance(place, row), _tract(held, row["id"], float(told["rate"]))) for row in told["recordings"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: not a whole table of tracts ({error}); install laminal again") from error
    return tract_corpus("tract_table", found, (), told["facts"])


def packed(vtd: Float32[np.ndarray, "m g"]) -> tuple[Int16[np.ndarray, "m g"], np.ndarray]:
    """Write distances as steps in time of UNIT, and what is missing as bits: a third of the size once deflated."""
    whole = np.rint(np.nan_to_num(vtd) / UNIT).astype(np.int16)
    return np.diff(whole, axis=0, prepend=np.zeros((1, vtd.shape[1]), np.int16)), np.packbits(np.isnan(vtd))


def unpacked(steps: Int16[np.ndarray, "m g"], missing: np.ndarray) -> Float32[np.ndarray, "m g"]:
    """Undo `packed`, to half a UNIT."""
    found = (np.cumsum(steps, axis=0, dtype=np.int16) * UNIT).astype(np.float32)
    found[np.unpackbits(missing, count=found.size).reshape(found.shape).astype(bool)] = np.nan
    return found


def _tract(held: Mapping[str, np.ndarray], name: str, rate: float) -> Tract:
    return Tract(unpacked(held[name], held[f"{name}-missing"]), rate)


def _utterance(place: Path, row: dict) -> Utterance:
    words, phones = (tuple(Interval(*each) for each in row[tier]) for tier in ("words", "phones"))
    return Utterance(row["id"], place / f"{row['id']}.flac", row["speaker"], words, phones, row["text"], row["seconds"])
