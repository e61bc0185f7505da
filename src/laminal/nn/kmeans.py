"""k-means that starts a codebook: Lloyd's iterations from a private generator, empty clusters drawn anew."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.nn.nearest import nearest

ROWS = 8192  # vectors compared with all centres at once by `lloyd_step`


@dataclass(frozen=True, slots=True)
class Clusters:
    """Centres, and how many vectors each one has."""

    centres: Float[Tensor, "s d"]
    counts: Float[Tensor, " s"]


def kmeans(vectors: Float[Tensor, "n d"], clusters: int, iterations: int, generator: np.random.Generator) -> Clusters:
    """Cluster `vectors` by Lloyd's algorithm from a random subset; raises ValueError where there is no vector.

    Fewer vectors than clusters leave some clusters with count 0, at the place of a vector that another one serves.
    """
    if len(vectors) == 0:
        raise ValueError("0 vectors cannot be clustered; k-means needs at least one: check the frame mask")
    centres = vectors[_draw(len(vectors), clusters, generator).to(vectors.device)]
    counts = vectors.new_zeros(clusters)
    for iteration in range(iterations + 1):
        assigned = nearest(vectors, centres)
        counts = torch.bincount(assigned, minlength=clusters).to(vectors.dtype)
        if iteration == iterations:
            break
        sums = torch.zeros_like(centres).index_add_(0, assigned, vectors)
        empty = counts == 0
        drawn = vectors[_draw(len(vectors), clusters, generator).to(vectors.device)]
        centres = torch.where(empty[:, None], drawn, sums / counts.clamp_min(1)[:, None])
    return Clusters(centres, counts)


def _draw(population: int, count: int, generator: np.random.Generator) -> Int[Tensor, " count"]:
    """`count` indices below `population`, without repetition as long as there are enough."""
    rounds = -(-count // population)
    return torch.from_numpy(np.concatenate([generator.permutation(population) for _ in range(rounds)])[:count])


@dataclass(frozen=True, slots=True)
class Step:
    """Centres after one iteration, and the mean squared distance of the vectors to the centres before it."""

    centres: Float[Tensor, "s d"]
    error: float


def lloyd_step(vectors: Float[Tensor, "n d"], centres: Float[Tensor, "s d"], generator: np.random.Generator) -> Step:
    """Move every centre to the mean of the vectors nearest to it, an empty one to a vector drawn; some thousand vectors at a time."""
    sums, counts, error = torch.zeros_like(centres), torch.zeros(len(centres), device=centres.device), 0.0
    for part in vectors.split(ROWS):
        here = part.to(centres.device)
        assigned = nearest(here, centres)
        sums.index_add_(0, assigned, here)
        counts += torch.bincount(assigned, minlength=len(centres))
        error += float((here - centres[assigned]).square().sum())
    drawn = vectors[_draw(len(vectors), len(centres), generator)].to(centres.device)
    moved = torch.where((counts == 0)[:, None], drawn, sums / counts.clamp_min(1)[:, None])
    return Step(moved, error / len(vectors))
