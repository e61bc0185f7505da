"""What codes say of phones, frame by frame: PNMI, the two purities, and the phone guessed from the code as other speakers use it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from laminal.corpora.base import Interval
from laminal.measures.units import held_out_hits, joint_counts, unit_quality

QUALITIES = ("pnmi", "phone_purity", "cluster_purity")


@dataclass(frozen=True, slots=True)
class Aligned:
    """Frames in which a phone is said: the phone, the code of every codebook, and which utterance and speaker it is of."""

    phones: Int[np.ndarray, " n"]
    units: Int[np.ndarray, "q n"]
    utterances: Int[np.ndarray, " n"]
    voices: Int[np.ndarray, " n"]
    phone_count: int
    unit_count: int

    @classmethod
    def of(
        cls, codes: Sequence[Int[np.ndarray, "q _"]], phones: Sequence[Int[np.ndarray, " _"]], speakers: Sequence[str],
        phone_count: int, unit_count: int,
    ) -> "Aligned":  # fmt: skip
        """Lay utterances end to end; frames with phone -1 are left out, and speakers without a phone are not numbered."""
        number = np.repeat(np.arange(len(codes)), [len(each) for each in phones])
        said = np.concatenate(phones) >= 0
        number = number[said]
        voices = np.unique(np.asarray(speakers, dtype=str)[number], return_inverse=True)[1].ravel()
        return cls(np.concatenate(phones)[said], np.concatenate(codes, 1)[:, said], number, voices, phone_count, unit_count)

    def shifted(self, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        """Turn the phones of each utterance round by a quarter to three quarters of it: what lasts several frames still does."""
        phones = self.phones.copy()
        for number in np.unique(self.utterances):
            mine = np.flatnonzero(self.utterances == number)
            phones[mine] = np.roll(phones[mine], round(len(mine) * rng.uniform(0.25, 0.75)))
        return phones

    def qualities(
        self, book: int, weights: Float[np.ndarray, "draws s"], shuffled: Sequence[Int[np.ndarray, " n"]]
    ) -> Iterator[tuple[str, float, Float[np.ndarray, " draws"], float]]:
        """PNMI and purities of one codebook: name, value, the same with speakers weighted by each draw, mean over the shuffled phones."""
        units, size = self.units[book], (self.phone_count, self.unit_count)
        found = unit_quality(joint_counts(self.phones, units, *size))
        null = [unit_quality(joint_counts(each, units, *size)) for each in shuffled]
        draws = resampled_quality(self.phones, units, self.voices, weights)
        for column, metric in enumerate(QUALITIES):
            chance = float(np.mean([getattr(each, metric) for each in null])) if null else float("nan")
            yield metric, getattr(found, metric), draws[:, column], chance

    def hits(self, book: int, phones: Int[np.ndarray, " n"] | None = None) -> Bool[np.ndarray, " n"]:
        """Whether the code of one codebook, as the other speakers use it, names the phone (or the one of `phones`)."""
        said = self.phones if phones is None else phones
        return held_out_hits(said, self.units[book], self.voices, self.phone_count, self.unit_count)

    def resampled(self, found: Float[np.ndarray, " n"], weights: Float[np.ndarray, "draws s"]) -> tuple[float, Float[np.ndarray, " draws"]]:
        """Mean over frames, and the same with speakers resampled; what was learnt from the others stays as it is."""
        total, frames = (np.bincount(self.voices, each, weights.shape[1]) for each in (found, np.ones(len(found))))
        with np.errstate(invalid="ignore"):
            return float(found.mean()), (weights @ total) / (weights @ frames)

    def by_utterance(
        self, found: Float[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " u"], Float[np.ndarray, " u"], Float[np.ndarray, " u"]]:
        """Numbers of the utterances that have frames, their means, their frames."""
        frames = np.bincount(self.utterances).astype(np.float64)
        heard = np.flatnonzero(frames)
        return heard, np.bincount(self.utterances, found)[heard] / frames[heard], frames[heard]


def phones_of_frames(phones: Sequence[Interval], number: dict[str, int], rate: float, frames: int) -> Int[np.ndarray, " n"]:
    """Give the number of the phone that the centre (k + 0.5) / rate of each frame lies in, -1 where none is."""
    centres = (np.arange(frames) + 0.5) / rate
    found = np.full(frames, -1)
    if phones:
        starts, ends = np.array([phone.start for phone in phones]), np.array([phone.end for phone in phones])
        index = np.searchsorted(starts, centres, side="right") - 1
        inside = (index >= 0) & (centres <= ends[index])
        found[inside] = np.array([number[phone.label] for phone in phones])[index[inside]]
    return found


def resampled_quality(
    phones: Int[np.ndarray, " n"], units: Int[np.ndarray, " n"], voices: Int[np.ndarray, " n"], weights: Float[np.ndarray, "draws s"]
) -> Float[np.ndarray, "draws 3"]:
    """PNMI and both purities with speakers resampled; only cells of the joint table that occur are carried."""
    cells, index = np.unique(np.stack([phones, units], 1), axis=0, return_inverse=True)
    counts = np.zeros((weights.shape[1], len(cells)))
    np.add.at(counts, (voices, index.ravel()), 1)
    share = torch.from_numpy(weights @ counts)
    share = share / share.sum(1, keepdim=True)
    found = []
    for column in (0, 1):
        group = torch.from_numpy(np.unique(cells[:, column], return_inverse=True)[1].ravel())
        size = (len(share), int(group.max()) + 1)
        total = torch.zeros(size, dtype=share.dtype).index_add_(1, group, share)
        largest = torch.zeros(size, dtype=share.dtype).scatter_reduce_(1, group.expand(len(share), -1), share, "amax")
        found.append((torch.special.entr(total).sum(1), largest.sum(1)))
    (phone_entropy, by_phone), (unit_entropy, by_unit) = found
    mutual = phone_entropy + unit_entropy - torch.special.entr(share).sum(1)
    return torch.stack([mutual / phone_entropy, by_unit, by_phone], 1).numpy()
