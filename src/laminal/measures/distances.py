"""Distances between words in every layer: Euclidean, cosine, and Euclidean in units of the layer's own spread."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Distance = Literal["euclidean", "cosine", "scaled"]
DISTANCES: tuple[Distance, ...] = ("euclidean", "cosine", "scaled")
CHUNK = 256  # pairs at once: differences stay in the processor's cache


def spread(values: Float[np.ndarray, "w layers d"]) -> Float[np.ndarray, " layers"]:
    """Square root of the mean over dimensions of the variance over words, per layer: the unit of `scaled`."""
    return np.sqrt(np.stack([layer.var(axis=0, dtype=np.float64).mean() for layer in values.transpose(1, 0, 2)]))


def pair_distances(
    values: Float[np.ndarray, "w layers d"],
    first: Int[np.ndarray, " p"],
    second: Int[np.ndarray, " p"],
    distances: tuple[Distance, ...] = DISTANCES,
) -> Float[np.ndarray, "p layers distances"]:
    """Distances of pairs of rows in every layer, in float64.

    Cosine is 1 - cos, between 0 and 2; it is NaN for a zero vector, and scaled is NaN where a layer does not vary. Euclidean is the
    distance of the seed study (arXiv 2603.10371), cosine that of Choi et al. 2024; scaled compares across codecs.
    """
    out = np.empty((len(first), values.shape[1], len(distances)))
    unit = spread(values) if "scaled" in distances else np.ones(values.shape[1])
    norms = np.sqrt(np.einsum("wld,wld->wl", values, values, dtype=np.float64)) if "cosine" in distances else np.zeros(values.shape[:2])
    with np.errstate(divide="ignore", invalid="ignore"):
        for begin in range(0, len(first), CHUNK):
            part = np.s_[begin : begin + CHUNK]
            a, b = values[first[part]].astype(np.float64), values[second[part]].astype(np.float64)
            dot = np.einsum("pld,pld->pl", a, b) if "cosine" in distances else None
            a -= b
            euclidean = np.sqrt(np.einsum("pld,pld->pl", a, a))
            for column, distance in enumerate(distances):
                match distance:
                    case "euclidean":
                        out[part, :, column] = euclidean
                    case "cosine":
                        out[part, :, column] = 1 - np.clip(dot / (norms[first[part]] * norms[second[part]]), -1, 1)
                    case "scaled":
                        out[part, :, column] = np.where(unit > 0, euclidean / unit, np.nan)
    return out
