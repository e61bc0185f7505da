"""Several calls of a codec at once, each on one thread: numbers that do not hang on how many threads there are."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from laminal.errors import DataError

MOST = 8  # calls at once: each holds a batch and its activations
Piece = TypeVar("Piece")
Found = TypeVar("Found")


def each(codec: Any, function: Callable[[Piece], Found], pieces: Iterable[Piece]) -> Iterator[Found]:
    """Give `function` of every piece, in order, without gradients; of a piece that raises, its error.

    Small batches gain little from torch's own threads, and sums split over them round otherwise. So where `codec` says that calls may run
    side by side (`concurrent`) and is on the CPU, as many calls run as torch has threads, 8 at most, on one thread each; as many
    results wait for who asks for them. For any other codec the calls come one after another, on torch's threads.
    """
    function = torch.no_grad()(function)
    if not side_by_side(codec):
        yield from map(function, pieces)
        return
    at_once = min(torch.get_num_threads(), MOST)
    with one_thread(), ThreadPoolExecutor(at_once) as pool:
        running: deque[Future[Found]] = deque()
        try:
            for piece in pieces:
                running.append(pool.submit(function, piece))
                if len(running) > at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for waiting in running:
                waiting.cancel()


def each_or_reason(codec: Any, function: Callable[[Piece], Found], pieces: Iterable[Piece]) -> Iterator[Found | str]:
    """Do as `each`; of a piece whose data is bad (DataError) give what is wrong with it, and go on."""

    def attempted(piece: Piece) -> Found | str:
        try:
            return function(piece)
        except DataError as error:
            return str(error)

    return each(codec, attempted, pieces)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy's linear algebra use one thread in this block: small products on two take three times the processor's time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def alone(codec: Any) -> AbstractContextManager[None]:
    """Give a block in which one call of `codec` has the numbers that it has beside others."""
    return one_thread() if side_by_side(codec) else nullcontext()


def side_by_side(codec: Any) -> bool:
    """Whether calls of `codec` run at the same time."""
    return getattr(codec, "concurrent", False) and torch.device(getattr(codec, "device", "cpu")).type == "cpu"
