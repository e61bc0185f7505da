"""Watch: probe the checkpoints of a training that runs elsewhere as they appear, until it is done."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from laminal import runfolder
from laminal.backfill import Filling, checkpoints
from laminal.errors import RequestError
from laminal.nn import ranks

POLL_S = 10.0
PATIENCE_S = 3600.0  # without a new checkpoint and without a process that holds the run


def run(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str], sleep: Callable[[float], None] = time.sleep) -> int:
    """Follow the run `watch=`; returns 0 when it is done, 1 when it seems to have died, 130 on Ctrl-C: the same words go on."""
    if ranks.world()[1] > 1:
        raise RequestError(f"watch={own['watch']}: one process watches; start it without torchrun")
    folder = Path(str(own["watch"]))
    if not folder.is_dir():
        raise RequestError(f"watch={folder}: no such folder; give checkpoints/<run> of a training that has begun")
    try:
        return Watch(folder, own, configs, rest, sleep).follow()
    except KeyboardInterrupt:
        print(f"stopped; every probe that was done is stored, and probe.py watch={folder} goes on")
        return 130


class Watch:
    """What is known of the training that is followed."""

    def __init__(self, folder: Path, own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str], sleep: Callable[[float], None]):
        self.folder, self.request, self.sleep = folder, (own, configs, rest), sleep
        self.poll_s, self.patience_s = (_seconds(own, key, usual) for key, usual in (("poll", POLL_S), ("patience", PATIENCE_S)))
        self._seen: dict[Path, tuple[int, int]] = {}  # size and time of files that were probed, or cannot be
        self._unread: dict[Path, tuple[int, int]] = {}  # of files that could not be read: they may still be written
        self._filling: Filling | None = None
        self.broken = 0

    def follow(self) -> int:
        """Look, probe, wait, until the training is done or nothing has happened for too long."""
        waited = 0.0
        while True:
            done = self.finished()  # asked before the look: what is saved last is then seen
            if self.look():
                waited = 0.0
            elif done and not self._unread:
                return self._end()
            elif waited >= self.patience_s and not held(self.folder):
                print(f"{self.folder}: nothing new in {waited:g} s and no process holds it: resume it, and watch again")
                self._end()
                return 1
            else:
                self.sleep(self.poll_s)
                waited += self.poll_s

    def finished(self) -> bool:
        """Whether the training has said that it is done."""
        return "generator_steps" in runfolder.read_manifest(self.folder)

    def look(self) -> bool:
        """Probe the checkpoints that are new, then rebuild the report; False where none is."""
        if not (self.folder / "config.yaml").is_file():
            return False
        new = []
        for path in checkpoints(self.folder):
            state = _state(path)
            if state is not None and self._seen.get(path) != state:
                new.append((path, state))
        fresh = [each for each in new if self._probe(*each)]
        if fresh and (self.folder / "scores.parquet").is_file():
            from laminal.report import folder

            assert self._filling is not None
            folder.write(self._filling.out)
        return bool(fresh)

    def _probe(self, path: Path, state: tuple[int, int]) -> bool:
        if self._filling is None:
            self._filling = Filling(self.folder, *self.request)
        try:
            print(self._filling.probe(path), flush=True)
        except RequestError as error:
            if self._unread.get(path) != state and path.exists():  # perhaps it is still being written: once more, at the next look
                self._unread[path] = state
                return False
            print(f"{path} is left out: {error}", flush=True)
            self.broken += 1
        self._unread.pop(path, None)
        self._seen[path] = state
        return True

    def _end(self) -> int:
        if self._filling is not None:
            for _ in range(60):  # the training may still be sending its last numbers
                if not held(self.folder):
                    break
                self.sleep(self.poll_s)
            self._filling.show()
            from laminal.report import folder

            if (self._filling.out / "scores.parquet").is_file():
                print(folder.write(self._filling.out))
        return int(self.broken > 0)


def held(folder: Path) -> bool:
    """Whether a process on this machine is training in `folder`."""
    if not (folder / ".lock").is_file():
        return False
    try:
        runfolder.Lock(folder).release()
    except RequestError:
        return True
    return False


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # gone since it was listed
        return None
    return found.st_size, found.st_mtime_ns


def _seconds(own: Mapping[str, Any], key: str, usual: float) -> float:
    value = own.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise RequestError(f"{key}={value}: seconds, a number from 0 on; usual is {usual:g}")
    return float(value)
