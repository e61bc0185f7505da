"""Back-fill: probe the checkpoints of runs that have no scores yet, on the runs' own epoch axes, and show them where the runs are shown."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from laminal import probing, runfolder
from laminal.cache import usual_cache
from laminal.config import plain
from laminal.dashboard import sinks_of
from laminal.errors import RequestError
from laminal.nn import ranks
from laminal.results import Context, Results, read_table, stored

log = logging.getLogger("laminal")
WAITING = "not_in_dashboards"  # in the manifest: steps probed after the training that W&B has not been given yet


def run(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Probe every checkpoint that the pattern `ckpt=` names and that is not probed yet; returns 1 where one could not be read."""
    from laminal.report import folder, sentences
    from laminal.report.changes import scores_of

    runs: dict[Path, list[Path]] = {}
    for path in matching(str(own["ckpt"])):
        if path.suffix == ".ckpt" and path.name[0] != ".":  # else one that is being written
            runs.setdefault(path.parent, []).append(path)
        elif (path / "last.ckpt").is_file():
            runs.setdefault(path, []).extend(checkpoints(path))
    if not runs:
        raise RequestError(f"ckpt={own['ckpt']}: no checkpoint has such a name; quote the pattern, as ckpt='checkpoints/x/*.ckpt'")
    broken = 0
    filling: Filling | None = None
    for place, paths in runs.items():
        filling = Filling(place, own, configs, rest, filling)
        for path in sorted(paths, key=lambda path: (path.name == "last.ckpt", path.name)):
            try:
                _say(filling.probe(path))
            except RequestError as error:
                broken += 1
                _say(f"{path} is left out: {error}")
        if ranks.world()[0]:  # under torchrun rank 0 writes
            continue
        filling.show()
        if not (filling.out / "scores.parquet").is_file():
            continue
        for line in sentences.summary(scores_of(filling.out)):
            print(line)
        print(folder.write(filling.out))
    return int(broken > 0)


def _say(line: str) -> None:
    if not ranks.world()[0]:
        print(line)


def checkpoints(run: Path) -> list[Path]:
    """Checkpoints of a run by name, last.ckpt after them; not those that are being written, whose names begin with a dot."""
    found = [path for path in run.glob("*.ckpt") if path.name[0] != "."]
    return sorted(found, key=lambda path: (path.name == "last.ckpt", path.name))


def matching(pattern: str) -> list[Path]:
    """Paths that a pattern names, sorted."""
    path = Path(pattern)
    parts = path.parts[1:] if path.is_absolute() else path.parts
    return sorted(Path(path.anchor).glob("/".join(parts)))


class Filling:
    """One run that is back-filled: its probes and corpus are built once, whatever the number of its checkpoints.

    They are those of the run `before` where these are the same: what probes hold beside a codec, as floors and ceilings, is measured once.
    """

    def __init__(self, run: Path, own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str], before: "Filling | None" = None):
        names = own.get("probe")
        self.run, self.again = run, bool(own.get("again"))
        self.out = Path(str(own["out"])) / run.name if own.get("out") else run
        if not own.get("out") and (sizes := probing.other_sizes(configs, rest)):  # than the run's own: beside its curve, not over it
            self.out = run / "probed" / sizes
        self.usual = self.out == run and not configs and not rest  # what the run itself would have measured
        config, split = probing.checkpoint_config(run, configs, rest)
        listed = None if names is None else [str(each).strip() for each in (names.split(",") if isinstance(names, str) else names)]
        asked = {name: plain(config.get(name)) for name in ("corpus", "probes")}
        self.ground = (asked, listed, None if split is None else split.sha256())
        cache = usual_cache(own.get("cache"), own.get("cache.limit"))
        known = before.on if before is not None and before.ground == self.ground else None
        self.on: probing.Ground = replace(known, config=config) if known else probing.ground(config, listed, split, cache)
        self._steps: dict[int, Path] = {}

    def probe(self, path: Path) -> str:
        """Probe what is missing of one checkpoint; says what was done. Raises RequestError where it cannot be read."""
        target = probing.checkpoint_target(path, self.out)
        step = target.context.step
        if step in self._steps:
            return f"{path.name}: step {step}, as {self._steps[step].name}"
        self._steps[step] = path
        missing = probing.missing(target, self.on) if not self.again else set(self.on.probes)
        where = f"{path.name}: epoch {target.context.epoch}, step {step}"
        if not missing:
            return f"{where}: all there"
        probing.probe(target, self.on, again=self.again)
        if self.usual and not ranks.world()[0]:
            waiting = [*runfolder.read_manifest(self.run).get(WAITING, []), {"corpus": self.on.corpus.name, "step": step}]
            runfolder.update_manifest(self.run, **{WAITING: waiting})
        return f"{where}: probed {', '.join(name for name in self.on.probes if name in missing)}"

    def show(self) -> None:
        """Give the run's dashboards what was probed after it, in the same W&B run; not while the training writes there."""
        waiting = runfolder.read_manifest(self.run).get(WAITING) or []
        if not waiting or not self.usual:
            return
        try:
            lock = runfolder.Lock(self.run)
        except RequestError:
            print(f"{self.run} is being trained: its dashboards get these scores when it is done and this is run again")
            return
        try:
            self._show(waiting)
        finally:
            lock.release()

    def _show(self, waiting: list[dict[str, Any]]) -> None:
        config = runfolder.read_config(self.run)
        sinks = sinks_of(config, self.run, late=True)
        try:
            for results in self._results(waiting):
                for sink in sinks:
                    sink.probe(results)
        finally:
            for sink in sinks:
                sink.close()
        runfolder.update_manifest(self.run, **{WAITING: []})

    def _results(self, waiting: list[dict[str, Any]]) -> Iterator[Results]:
        scores = read_table(self.run / "scores.parquet")
        for each in sorted(waiting, key=lambda each: each["step"]):
            rows = scores[(scores["step"] == each["step"]) & (scores["corpus"] == each["corpus"])]
            if rows.empty:
                continue
            first = rows.iloc[-1]  # what was stored last, where a step has been written anew
            rows = rows[(rows["run"] == first["run"]) & (rows["ckpt_sha256"] == first["ckpt_sha256"])]
            names = ("run", "codec", "revision", "ckpt_sha256", "corpus", "corpus_sha256")
            facts: dict[str, Any] = {name: str(first[name]) for name in names}
            facts |= {name: int(first[name]) for name in ("epoch", "step")}
            yield stored(self.run, Context(**facts), set(rows["probe"]))
