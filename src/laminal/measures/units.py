"""How discrete units relate to phones, and how evenly a codebook is used: counts in, numbers out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, slots=True)
class UnitQuality:
    """Phone-normalised mutual information and the two purities of HuBERT (Hsu et al. 2021, section IV-E), all in [0, 1]."""

    pnmi: float  # I(phone; unit) / H(phone)
    phone_purity: float  # share of frames whose phone is the likeliest of their unit
    cluster_purity: float  # share of frames whose unit is the likeliest of their phone


def joint_counts(phones: Int[np.ndarray, " n"], units: Int[np.ndarray, " n"], phone_count: int, unit_count: int) -> Int[np.ndarray, "p u"]:
    """Count frames by phone and unit."""
    flat = np.bincount(phones * unit_count + units, minlength=phone_count * unit_count)
    return flat.reshape(phone_count, unit_count)


def unit_quality(joint: Int[np.ndarray, "p u"] | Float[np.ndarray, "p u"]) -> UnitQuality:
    """Measure a joint count table of phones (rows) by units; a table with one phone has PNMI nan."""
    share = joint / joint.sum()
    phone, unit = share.sum(1), share.sum(0)
    mutual = _entropy(phone) + _entropy(unit) - _entropy(share.ravel())
    entropy = _entropy(phone)
    return UnitQuality(mutual / entropy if entropy > 0 else float("nan"), float(share.max(0).sum()), float(share.max(1).sum()))


def held_out_hits(
    phones: Int[np.ndarray, " n"], units: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], phone_count: int, unit_count: int
) -> Bool[np.ndarray, " n"]:
    """Say of each frame whether its phone is the one that the *other* groups (speakers) say most often with its unit.

    A unit that no other group has stands for their commonest phone; of equals the first counts. PNMI and the purities of the same frames
    rise with the number of units in use; the share of hits by units that say nothing falls with it, for each has fewer frames to
    learn from (0.13 for 4 units, 0.07 for 1,024 on 3,600 frames): hold it against a chance level of the same units.
    """
    hits = np.zeros(len(phones), dtype=bool)
    total = joint_counts(phones, units, phone_count, unit_count)
    for group in np.unique(groups):
        mine = groups == group
        others = total - joint_counts(phones[mine], units[mine], phone_count, unit_count)
        guess = np.where(others.any(0), others.argmax(0), others.sum(1).argmax())
        hits[mine] = guess[units[mine]] == phones[mine]
    return hits


def perplexity(counts: Int[np.ndarray, "... u"] | Float[np.ndarray, "... u"]) -> Float[np.ndarray, "..."]:
    """Measure the exponential of the entropy of code use: how many codes an even use would need."""
    share = counts / counts.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), 0.0)
    return np.asarray(np.exp(-terms.sum(-1)))


def _entropy(share: np.ndarray) -> float:
    held = share[share > 0]
    return float(-(held * np.log(held)).sum())
