"""Nearest codebook entries, in float32: fast for training, and to the last bit as transformers finds them for everything else."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 32  # entries per block of the two-step argmin


def nearest(vectors: Float[Tensor, "n d"], entries: Float[Tensor, "s d"]) -> Int[Tensor, " n"]:
    """Index of the nearest entry of each vector (squared Euclidean distance; the first one of equals)."""
    half_norms = entries.square().sum(1) / 2
    return _first_minimum(torch.addmm(half_norms, vectors, entries.t(), alpha=-1))  # (n, s): half the distance, less the vector's own norm


def nearest_as_stock(vectors: Float[Tensor, "n d"], entries: Float[Tensor, "s d"]) -> Int[Tensor, " n"]:
    """`nearest` by the very arithmetic of transformers' EncodecEuclideanCodebook, so that an export gives identical codes.

    Its `-(|v|^2 - 2 v e + |e|^2)`, largest first, with the signs turned (exact in floating point) and the sums made in place.
    """
    columns = entries.t()
    distances = ((2 * vectors) @ columns).neg_().add_(vectors.pow(2).sum(1, keepdim=True)).add_(columns.pow(2).sum(0, keepdim=True))
    return _first_minimum(distances)


def nearest_as_mimi(vectors: Float[Tensor, "n d"], entries: Float[Tensor, "s d"]) -> Int[Tensor, " n"]:
    """`nearest` by the very arithmetic of transformers' MimiEuclideanCodebook."""
    return torch.cdist(vectors[None], entries[None], p=2)[0].argmin(dim=-1)


def _first_minimum(distances: Float[Tensor, "n s"]) -> Int[Tensor, " n"]:
    """Row-wise argmin in two steps, minimum by block, then inside the best block: on CPU `amin` is vectorised and `argmin` is not."""
    rows, entries = distances.shape
    if entries % BLOCK or distances.is_cuda:
        return distances.argmin(1)
    blocks = distances.view(rows, -1, BLOCK)
    block = blocks.amin(2).argmin(1)
    return block * BLOCK + blocks[torch.arange(rows), block].argmin(1)
