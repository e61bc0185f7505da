"""A corpus whose recordings come with the vocal tract that made them: its distances along gridlines, frame by frame."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.recordings import HEAD, MOST_BAD
from laminal.errors import DataError, RequestError
from laminal.measures.clock import frame_times

TOLERANCE = 0.5  # s by which a tract may end before or after its audio
MOST_NUMBER = 2**53  # whole numbers that float64 holds


@dataclass(frozen=True, slots=True, eq=False)
class Tract:
    """Distances (mm) of one recording on a regular clock: row f is at (first + f + 0.5) / rate + offset s; NaN where there is none.

    Raises DataError where rate or offset are no times, or a distance is infinite.
    """

    vtd: Float32[np.ndarray, "m g"]
    rate: float  # Hz
    first: int = 0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rate) and self.rate > 0 and np.isfinite(self.offset) and self.first >= 0):
            raise DataError(f"rate={self.rate} Hz, first={self.first}, offset={self.offset} s: no clock; mend what the tract was read from")
        if np.isinf(self.vtd).any():
            raise DataError(f"distances are infinite in {int(np.isinf(self.vtd).any(1).sum())} frames; NaN says that there is no value")

    @property
    def times(self) -> Float[np.ndarray, " m"]:
        """Centres of the frames, in seconds of the audio."""
        return frame_times(len(self.vtd), self.rate, self.first, self.offset)


@dataclass(frozen=True)
class TractCorpus(Corpus):
    """Utterances with their tracts, by id; all tracts have the same number of lines."""

    tracts: Mapping[str, Tract] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Hash of what the utterances say and of every distance."""
        digest = hashlib.sha256(super().sha256.encode())
        for utterance in self.utterances:
            tract = self.tracts[utterance.id]
            digest.update(f"{utterance.id} {tract.rate!r} {tract.first} {tract.offset!r} {tract.vtd.shape}".encode())
            digest.update(np.ascontiguousarray(tract.vtd).tobytes())
        return digest.hexdigest()

    def subset(self, speakers: frozenset[str]) -> "TractCorpus":
        """Only the utterances of `speakers`, in the same order."""
        kept = tuple(utterance for utterance in self.utterances if utterance.speaker in speakers)
        return TractCorpus(self.name, kept, self.skipped, self.facts, {each.id: self.tracts[each.id] for each in kept})


def tract_corpus(
    name: str, found: Mapping[str, tuple[Utterance, Tract]], bad: Sequence[tuple[str, str]], facts: Mapping[str, object]
) -> TractCorpus:
    """Make a corpus of recordings and tracts by id; raises RequestError where there is none, or more than 5 % of them are `bad`."""
    total = len(found) + len(bad)
    if not total:
        raise RequestError(f"corpus {name!r} holds no track; root= must name a folder that does")
    if len(bad) > MOST_BAD * total:
        head = "; ".join(reason for _, reason in bad[:HEAD])
        more = f"; and {len(bad) - HEAD} more" if len(bad) > HEAD else ""
        raise RequestError(f"corpus {name!r}: {len(bad)} of {total} tracks are bad, at most {MOST_BAD:.0%} may be: mend them: {head}{more}")
    utterances = tuple(found[key][0] for key in sorted(found))
    widths = {tract.vtd.shape[1] for _, tract in found.values()}
    if len(widths) > 1:
        raise RequestError(f"corpus {name!r}: tracks of {sorted(widths)} lines; all need as many")
    hours = round(sum(each.seconds for each in utterances) / 3600, 4)
    counted: dict[str, object] = {
        "tracks": len(found),
        "skipped": len(bad),
        "hours": hours,
        "speakers": len({u.speaker for u in utterances}),
    }
    return TractCorpus(name, utterances, tuple(bad), dict(facts) | counted, {key: tract for key, (_, tract) in found.items()})


def same_length(what: str, tract: Tract, seconds: float) -> None:
    """Raise DataError where the tract ends more than TOLERANCE before or after its audio: nothing is stretched to fit."""
    end = (tract.first + len(tract.vtd)) / tract.rate + tract.offset
    if not abs(end - seconds) <= TOLERANCE:  # nor where it is NaN
        raise DataError(f"{what}: the tract ends at {end:.2f} s and its audio at {seconds:.2f} s, over {TOLERANCE} s apart; pair them anew")


def read_arrays(path: Path, cure: str) -> dict[str, np.ndarray]:
    """Read an .npz of plain arrays; raises DataError, which ends with `cure`, where it is none or was cut off."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except Exception as error:  # whatever numpy, zipfile and zlib stumble over
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: no whole .npz of plain arrays ({said}); {cure}") from error


def numbers(given: Any, what: str, whole: bool) -> Float[np.ndarray, " _"] | Int[np.ndarray, " _"]:
    """Read finite numbers that a file holds as `what`, in a row; `whole`: as integers, whatever type they have.

    Raises DataError where they are none: what is rounded in silence is another frame, or another part of the tract.
    """
    found = np.asarray(given)
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all() or (whole and (found != np.rint(found)).any()):
        bad = found if found.size < 2 else f"{found.size} values of {found.dtype}"
        if found.dtype.kind in "fiu" and found.size > 1:
            bad = found[~np.isfinite(found) | (whole & (found != np.rint(found)))].flat[0]
        raise DataError(f"{what} is {bad}: {'a whole number' if whole else 'a finite number'} is needed")
    if whole and found.size and np.abs(found).max() > MOST_NUMBER:
        raise DataError(f"{what} is {np.abs(found).max():g}, beyond {MOST_NUMBER:g}")
    return found.ravel().astype(np.int64 if whole else np.float64)


def one_number(given: Any, what: str, whole: bool) -> float:
    """Read one number, as `numbers`."""
    found = numbers(given, what, whole)
    if len(found) != 1:
        raise DataError(f"{what} holds {len(found)} numbers: one is needed")
    return float(found[0])
