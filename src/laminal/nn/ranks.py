"""What all ranks share: sums and rows, whatever the number of processes, decided when they are asked for."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

T = TypeVar("T")


def world() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) where torch.distributed is not initialised."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def started() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started for the length of the block; gives rank and number of processes, (0, 1) without torchrun.

    Over gloo: what is exchanged is small, and processes that share a GPU can take part. Ranks may wait for each other for days.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ or dist.is_initialized():
        yield world()
        return
    dist.init_process_group("gloo", timeout=datetime.timedelta(days=14))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        yield world()
    finally:
        dist.destroy_process_group()


def gathered(value: T) -> list[T]:
    """Give what every rank holds, in rank order, to rank 0; the others get their own alone. Every rank must call it."""
    rank, size = world()
    if size == 1:
        return [value]
    every: list[T] | None = [value] * size if rank == 0 else None
    dist.gather_object(value, every)
    return [value] if every is None else every


def from_first(value: T) -> T:
    """Give what rank 0 holds to every rank; every rank must call it."""
    held = [value]
    if world()[1] > 1:
        dist.broadcast_object_list(held)
    return held[0]


def wait() -> None:
    """Wait until every rank is here."""
    if world()[1] > 1:
        dist.barrier()


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
