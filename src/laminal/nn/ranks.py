"""What all ranks share: sums and rows, whatever the number of processes, decided when they are asked for."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def world() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) where torch.distributed is not initialised."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum `values` over all ranks, in place; every rank must call it."""
    if world()[1] > 1:
        dist.all_reduce(values)
    return values


def rows_of_all_ranks(rows: Float[Tensor, "n d"]) -> Float[Tensor, "m d"]:
    """Give the rows of all ranks in rank order; ranks may hold different numbers of them, and every rank must call it."""
    rank, size = world()
    if size == 1:
        return rows
    counts = torch.zeros(size, dtype=torch.int64, device=rows.device)
    counts[rank] = len(rows)
    lengths = sum_over_ranks(counts).tolist()
    padded = rows.new_zeros(max(lengths), rows.shape[1])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(gathered, padded)
    return torch.cat([block[:length] for block, length in zip(gathered, lengths)])
