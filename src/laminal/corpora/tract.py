"""A corpus whose recordings come with the vocal tract that made them: its distances along gridlines, frame by frame."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32

from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.recordings import HEAD, MOST_BAD
from laminal.errors import DataError, RequestError
from laminal.measures.clock import frame_times

TOLERANCE = 0.5  # s by which a tract may end before or after its audio


@dataclass(frozen=True, slots=True, eq=False)
class Tract:
    """Distances (mm) of one recording on a regular clock: row f is at (first + f + 0.5) / rate + offset s; NaN where there is none."""

    vtd: Float32[np.ndarray, "m g"]
    rate: float  # Hz
    first: int = 0
    offset: float = 0.0

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
    if abs(end - seconds) > TOLERANCE:
        raise DataError(f"{what}: the tract ends at {end:.2f} s and its audio at {seconds:.2f} s, over {TOLERANCE} s apart; pair them anew")
