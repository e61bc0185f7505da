"""Progress on the terminal with the time left; nothing where nobody asked to see it, a line a minute where there is no terminal."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 60.0  # seconds between lines in a log file
AVERAGED = 600.0  # seconds over which the speed is taken: steps may last a minute
T = TypeVar("T")


@dataclass(slots=True)
class Bar:
    """One task: call it with the amount that was done."""

    what: str
    total: int | float
    drawn: Progress | None
    console: Console | None
    task: TaskID | None = None
    done: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def __call__(self, amount: int | float = 1) -> None:
        """Advance by `amount`, in the unit of the total."""
        self.done += amount
        if self.drawn is not None and self.task is not None:
            self.drawn.advance(self.task, amount)
        elif self.console is not None and time.monotonic() - self.said >= EVERY and self.done:
            self.said = time.monotonic()
            left = (self.said - self.begun) * (self.total - self.done) / self.done
            self.console.print(f"{self.what}: {100 * self.done / max(self.total, self.done):.0f} %, {duration(left)} left", soft_wrap=True)


_console: ContextVar[Console | None] = ContextVar("console", default=None)
_drawn: ContextVar[Progress | None] = ContextVar("drawn", default=None)


@contextmanager
def shown(on: bool = True) -> Iterator[None]:
    """Show the bars that are made inside this block on standard error; a training, whose own bar is there, never asks for it."""
    if not on:
        yield
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"))
    drawn = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, speed_estimate_period=AVERAGED)
    marks = _console.set(console), _drawn.set(drawn if console.is_terminal else None)
    try:
        if console.is_terminal:
            with drawn:
                yield
        else:
            yield
    finally:
        _console.reset(marks[0])
        _drawn.reset(marks[1])


@contextmanager
def bar(what: str, total: int | float) -> Iterator[Bar]:
    """Give a bar of `total` in any unit; it is gone when the block ends."""
    drawn = _drawn.get()
    task = None if drawn is None else drawn.add_task(what, total=total)
    try:
        yield Bar(what, total, drawn, _console.get(), task)
    finally:
        if drawn is not None and task is not None:
            drawn.remove_task(task)


def track(values: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Go through `values`, `total` of them, with a bar."""
    with bar(what, total) as advance:
        for value in values:
            yield value
            advance()


def duration(seconds: int | float) -> str:
    """Say seconds as a person would: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
