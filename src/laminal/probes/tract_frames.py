"""Vocal tracts on a codec's frames: scaled by speaker, gaps bridged, frames without a tract left out, at any lag."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from laminal.corpora.base import Utterance
from laminal.corpora.tract import Tract, TractCorpus
from laminal.errors import DataError
from laminal.measures.clock import on_codec_frames
from laminal.measures.vtd import bridged, normalised

SEEN = 0.8  # of the lines that are not masked must have a value in a frame that counts


@dataclass(frozen=True, slots=True)
class Scaled:
    """A recording with its tract in units of the speaker's spread (NaN: no value, or a masked line)."""

    utterance: Utterance
    tract: Tract
    values: Float32[np.ndarray, "m g"]

    def at(self, frame_rate: float, frames: int, lag: float) -> Float[np.ndarray, "frames g"]:
        """Put it on `frames` codec frames; rows that saw too little are NaN, a missing line elsewhere is its speaker's mean, 0."""
        found = on_codec_frames(self.values.astype(np.float64), self.tract.times, frame_rate, frames, lag)
        masked = np.isnan(self.values).all(0)
        if masked.all():
            return np.full_like(found, np.nan)
        seen = np.isfinite(found[:, ~masked])
        found[seen.mean(1) < SEEN] = np.nan
        lost = np.isnan(found).all(1)
        found[~lost] = np.nan_to_num(found[~lost])
        return found


def scaled(corpus: TractCorpus) -> Iterator[Scaled | tuple[str, str]]:
    """Scale all recordings, speaker by speaker, in the order of the corpus; (id, reason) of a speaker whose lines never vary."""
    found: dict[str, Scaled] = {}
    refused: dict[str, str] = {}
    for speaker in corpus.speakers:
        own = [each for each in corpus if each.speaker == speaker]
        try:
            tracks = normalised([corpus.tracts[each.id].vtd.astype(np.float64) for each in own])
        except DataError as error:
            refused |= {each.id: f"speaker {speaker}: {error}" for each in own}
            continue
        for each, values in zip(own, tracks, strict=True):
            found[each.id] = Scaled(each, corpus.tracts[each.id], bridged(values).astype(np.float32))
    for utterance in corpus:
        yield found[utterance.id] if utterance.id in found else (utterance.id, refused[utterance.id])


def shifts(rows: int, least: int, count: int, rng: np.random.Generator) -> Int[np.ndarray, " s"] | None:
    """Draw `count` circular shifts of at least `least` rows either way; None where the track is too short for any."""
    if rows < 2 * least:
        return None
    return rng.integers(least, rows - least + 1, count)


def in_turn(corpus: TractCorpus, tracks: int | None) -> TractCorpus:
    """Take at most `tracks` tracks, from each speaker in turn."""
    if tracks is None or tracks >= len(corpus):
        return corpus
    place: dict[str, int] = {}
    turns: list[tuple[int, str, int]] = []
    for index, utterance in enumerate(corpus):
        turns.append((place.setdefault(utterance.speaker, 0), utterance.speaker, index))
        place[utterance.speaker] += 1
    kept: Sequence[Utterance] = tuple(corpus[index] for index in sorted(index for *_, index in sorted(turns)[:tracks]))
    return TractCorpus(corpus.name, tuple(kept), corpus.skipped, corpus.facts, {each.id: corpus.tracts[each.id] for each in kept})
