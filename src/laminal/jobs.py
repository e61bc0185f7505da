"""Jobs over processes of one machine: results come as they are done, and no process outlives the one that started it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_for_end
from typing import Any, TypeVar

import torch

from laminal.errors import DataError

AHEAD = 4  # jobs waiting for each process: memory stays flat in their number
Job = TypeVar("Job")
Result = TypeVar("Result")
_work: Callable[[Any], Any] | None = None


def done(make: Callable[[], Callable[[Job], Result]], jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    """Give the result of every job, in any order; `make` builds, once in each process, what does one job.

    With one process everything happens here. Raises what a job raises, and DataError where a process is killed.
    """
    if processes <= 1 or len(jobs) <= 1:
        yield from map(make(), jobs)
        return
    threads = max(1, torch.get_num_threads() // processes)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (make, threads))
    try:
        waiting, running = iter(jobs), set[Future[Result]]()
        while running | (fresh := {pool.submit(_do, job) for job in islice(waiting, AHEAD * processes - len(running))}):
            ended, running = wait(running | fresh, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in ended)
    except BrokenProcessPool as error:
        raise DataError(f"one of {processes} processes was killed (memory?); say processes={processes // 2}, run again") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(make: Callable[[], Callable[[Any], Any]], threads: int) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal: the first one says it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)  # two busy processes with all threads each slow each other down several times over
    _work = make()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
