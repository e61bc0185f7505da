"""What every dashboard shares: patience with its service, the scores that are drawn, code use, and files that are new."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from laminal.results import Results, Score, key

log = logging.getLogger("laminal")
PATIENCE_S = 30.0
CHOICES = 1  # scores with more unusual choices are in the table alone: thousands of curves make a dashboard slow
BARS = 64


class Guard:
    """Do work for a service that may be absent, broken or hanging: the first trouble is said, and then the service is left out.

    Work runs in a thread of its own, so that a call that never comes back costs `seconds` once.
    """

    def __init__(self, service: str):
        self.service = service
        self.broken = False

    def __call__(self, work: Callable[[], Any], seconds: float | None = None) -> None:
        """Do `work` unless there was trouble before; waits at most `seconds` (PATIENCE_S)."""
        if self.broken:
            return
        limit = PATIENCE_S if seconds is None else seconds
        raised: list[BaseException] = []

        def attempt() -> None:
            try:
                work()
            except BaseException as error:  # whatever a service raises, SystemExit too, must not cost a training
                raised.append(error)

        thread = threading.Thread(target=attempt, name=self.service, daemon=True)
        thread.start()
        thread.join(limit)
        if thread.is_alive():
            self._leave_out(f"no answer in {limit:g} s")
        elif raised:
            self._leave_out(f"{type(raised[0]).__name__}: {raised[0]}")

    def _leave_out(self, why: str) -> None:
        self.broken = True
        log.warning("%s is left out from here (%s); the run folder and its report hold everything", self.service, " ".join(why.split()))


def unusual(score: Score) -> int:
    """How many choices (slice, distance, split, layer mode, seed) of a score differ from the default: the `@` of its key."""
    return key(score).count("@")


def drawn(results: Results) -> dict[str, float]:
    """Scores that become curves, by key: the defaults, and those that differ from them in one choice."""
    return {key(score): score.value for score in results.scores if unusual(score) <= CHOICES}


def code_use(results: Results) -> dict[int, tuple[list[int], list[int]]]:
    """Use of each codebook by the units probe: frames by code, the most used code first, in at most BARS bars (counts, edges).

    The number of a code means nothing, its rank does: the empty bars at the end are the codes that nothing uses.
    """
    found = {}
    for block in results.items:
        if block.metric == "code_count" and block.layer.isdigit():
            counts = sorted((int(value) for value in block.value), reverse=True)
            width = -(-len(counts) // BARS)
            starts = range(0, len(counts), width)
            found[int(block.layer)] = ([sum(counts[start : start + width]) for start in starts], [*starts, starts[-1] + width])
    return found


def layer_curves(folder: Path, results: Results) -> None:
    """Draw what one checkpoint's layers hold into plots: word pairs, articulation with its null, text alignment with its permutations."""
    from laminal.report import plots

    plots.write_by_layer(folder, results.score_table())


class Fresh:
    """Files of a folder that are new or changed since the last look: listening samples and pictures are written by others."""

    def __init__(self, folder: Path, suffix: str):
        self.folder, self.suffix = folder, suffix
        self._seen: dict[Path, tuple[int, int]] = {}

    def __call__(self) -> Iterator[tuple[str, Path]]:
        """Give (name, path); dots in the name become slashes (`1-id.original.flac` is `1-id/original`): W&B nests at dots."""
        for path in sorted(self.folder.glob(f"[!.]*.{self.suffix}")):
            state = path.stat()
            if self._seen.get(path) != (state.st_mtime_ns, state.st_size):
                self._seen[path] = (state.st_mtime_ns, state.st_size)
                yield path.name.removesuffix(f".{self.suffix}").replace(".", "/"), path


def by_usualness(scores: Sequence[Score]) -> list[Score]:
    """Sort scores so that what a limited table cuts off is the least usual; else in their order."""
    return sorted(scores, key=unusual)
