"""W&B: training curves, scores by epoch, tables, audio, pictures and artifacts; it never stops a run and needs no key."""

import logging
import math
import netrc
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import numpy as np
from omegaconf import DictConfig, ListConfig

from laminal import runfolder, workspace
from laminal.config import plain
from laminal.errors import RequestError
from laminal.metrics import Sink
from laminal.results import Results, key
from laminal.sinks import Fresh, Guard, by_usualness, code_use, drawn, layer_curves
from laminal.tensorboard import TensorBoard

log = logging.getLogger("laminal")
ROWS = 10_000  # of one W&B table
EPOCH, STEP = "probe/epoch", "train/step"
START_S = 60.0  # the first import of wandb alone can take 10 s
FINISH_S = 120.0  # for what is still to be sent, with a key
FRAGMENT = 10_000_000  # W&B's own step starts here in the second offline part of a run, so that the parts can be joined
COLUMNS = {
    "setting": str, "metric": str, "layer": str, "layer_mode": str, "slice": str, "distance": str, "split": str, "corpus": str,
    "seed": float, "value": float, "low": float, "high": float, "chance": float, "n": float, "unit": str,
}  # fmt: skip


def sinks_of(config: DictConfig, folder: Path, late: bool = False) -> list[Sink]:
    """Make the dashboards that `log.logger` names (one, or several in a list), for the first process of a run.

    csv: metrics.csv and scores.parquet, which every run has. `late`: only those that show the run already, for scores of earlier epochs
    that are measured after the training. Raises RequestError where a name is unknown.
    """
    section, names = config.log, loggers(config)
    found: list[Sink] = []
    if "wandb" in names and (not late or checkpoint_facts(folder)):
        found.append(Wandb(folder, section.project, section.get("entity"), wandb_id(folder), plain(config), late))
    if "tensorboard" in names and (not late or (folder / "tensorboard").is_dir()):
        found.append(TensorBoard(folder, late))
    return found


def loggers(config: DictConfig) -> list[str]:
    """Give the names in `log.logger`; raises RequestError where one is unknown."""
    given = config.log.logger
    names = list(given or ["csv"]) if given is None or isinstance(given, ListConfig) else [given]
    unknown = [name for name in names if name not in ("wandb", "tensorboard", "csv")]
    if unknown:
        raise RequestError(f"log.logger={','.join(map(str, unknown))}: give wandb, tensorboard or csv, or a list of them")
    return names


def wandb_id(folder: Path) -> str:
    """Give the id of this run at W&B: from the manifest, from the checkpoint where that is lost, or a new one, kept in the manifest."""
    known = checkpoint_facts(folder).get("wandb_id") or _id_in(folder / "last.ckpt")
    # not from the folder's name: two machines may both have a run of that name, and would write into one W&B run
    identity = known or secrets.token_hex(4)
    runfolder.update_manifest(folder, wandb_id=identity)
    return identity


def checkpoint_facts(folder: Path) -> dict[str, str]:
    """Give what a checkpoint should keep of its run: the id at W&B, where there is one."""
    manifest = runfolder.read_manifest(folder)
    return {"wandb_id": manifest["wandb_id"]} if manifest.get("wandb_id") else {}


def _id_in(checkpoint: Path) -> str | None:
    if not checkpoint.is_file():
        return None
    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return content["laminal"]["facts"]["wandb_id"]
    except Exception:  # the training says what is wrong with a checkpoint; a dashboard then starts anew
        return None


class Wandb:
    """A sink for Weights & Biases: offline without a key, everything under the run folder, the same W&B run after a resume.

    Keys are `probe/<probe>/<setting>/<metric>/L00` (see `results.key`), drawn over `probe/epoch`; training numbers over `train/step`.
    Every metric is defined by its exact name: where a glob and Lightning's own rule overlap, the winner is random. The W&B run starts
    with the first number. Trouble is said once, then this sink is silent. `late`: scores alone, for sounds, pictures and the tokenizer that
    lie in the folder are of the end of the training, not of the epoch that is logged.
    """

    def __init__(self, folder: Path, project: str, entity: str | None, identity: str, config: Mapping[str, Any], late: bool = False):
        self.late = late
        self.folder, self.project, self.entity, self.identity, self.config = folder.resolve(), project, entity, identity, config
        self._guard, self._layout, self._drawing = Guard("W&B"), Guard("The W&B workspace"), Guard("The picture of the layer curves")
        self._run: Any = None
        self._part: Path | None = None  # folder of what this process logs
        self._mode: Literal["online", "offline", "disabled"] = "offline"
        self._defined: set[str] = set()
        self._first_step: int | None = None
        self._sounds, self._pictures = Fresh(self.folder / "listening", "flac"), Fresh(self.folder / "plots", "png")
        self._latest: Results | None = None
        self._training: set[str] = set()
        self._environment: list[str] = []

    def scalars(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Log training numbers over the generator step."""
        self._training |= set(values)
        self._begin()
        self._guard(lambda: self._log(dict(values) | {"train/epoch": epoch}, STEP, step))

    def probe(self, results: Results) -> None:
        """Log scores, tables, code use, and whatever sounds and pictures are new, over the epoch."""
        self._latest = results
        self._begin()
        if not self.late:
            self._drawing(lambda: layer_curves(self.folder, results))
        self._guard(lambda: self._log(self._scores(results) | self._media(), EPOCH, results.context.epoch))
        if self._mode == "online" and not self._guard.broken:
            self._layout(lambda: workspace.once(self.folder, self._run.entity, self.project, results.scores, sorted(self._training)))

    def close(self) -> None:
        """Log what came last, finish the W&B run, and say how to send it where it was offline."""
        if self._run is None:
            return
        failed = sys.exc_info()[0] is not None  # closed in a finally: the run then counts as failed
        if not self.late:
            self._guard(self._last)
        self._guard(lambda: self._run.finish(exit_code=int(failed)), FINISH_S if self._mode == "online" else None)
        if self._guard.broken:
            Guard("W&B's clean-up")(_leave)
        if self._mode == "offline" or (self._mode == "online" and self._guard.broken):
            print(f"to send this run to W&B: {sync_line(self.folder, self.identity, self._part)}")
        for name in self._environment:
            os.environ.pop(name, None)
        self._run = None

    def _begin(self) -> None:
        if self._run is None:
            self._guard(self._start, START_S)

    def _start(self) -> None:
        self._mode = mode = mode_of_environment()
        online = mode == "online"
        home = self.folder / "wandb"
        home.mkdir(exist_ok=True)
        # else artifacts are staged in the home folder; the user's own settings (another host) are read where a key is used
        places = ["WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR", *([] if online else ["WANDB_CONFIG_DIR"])]
        values = {name: str(home) for name in places} | ({} if online else {"WANDB_ERROR_REPORTING": "false"})
        self._environment = [name for name in values if name not in os.environ]
        os.environ.update({name: values[name] for name in self._environment})
        import wandb

        parts = len(fragments(home, self.identity))
        self._first_step = parts * FRAGMENT if parts and not online else None
        settings = wandb.Settings(console="off", silent=True, init_timeout=30, x_disable_stats=True)
        self._run = wandb.init(
            project=self.project, entity=self.entity, name=self.folder.name, id=self.identity, dir=str(self.folder), mode=mode,
            resume="allow" if online else None, config=dict(self.config), settings=settings,
        )  # fmt: skip
        own = getattr(self._run, "dir", None)
        self._part = home / Path(own).parent.name if isinstance(own, str) else None
        for axis in (STEP, EPOCH):
            self._run.define_metric(axis)

    def _log(self, values: Mapping[str, Any], axis: str, at: int) -> None:
        for name in values:
            if name not in self._defined:
                self._defined.add(name)
                self._run.define_metric(name, step_metric=axis)
        step, self._first_step = self._first_step, None
        self._run.log({**values, axis: at}, **({} if step is None else {"step": step, "commit": True}))  # step= alone waits

    def _scores(self, results: Results) -> dict[str, Any]:
        import wandb

        values: dict[str, Any] = dict(drawn(results))
        for probe in dict.fromkeys(score.probe for score in results.scores):
            scores = by_usualness([score for score in results.scores if score.probe == probe])
            if len(scores) > ROWS:
                log.info("W&B shows %d of %d scores of %s; scores.parquet holds all", ROWS, len(scores), probe)
            table = wandb.Table(columns=list(COLUMNS), data=[], dtype=list(COLUMNS.values()), optional=True)
            # given whole: W&B would look at each cell's type in turn, 8 s for 10,000 rows
            table.data = [[_cell(results, score, name) for name in COLUMNS] for score in scores[:ROWS]]
            values[f"tables/{probe}"] = table
        for codebook, (counts, edges) in code_use(results).items():
            values[f"codes/L{codebook:02d}"] = wandb.Histogram(np_histogram=(np.array(counts), np.array(edges)))
        return values

    def _media(self) -> dict[str, Any]:
        if self.late:
            return {}
        import wandb

        found: dict[str, Any] = {f"listening/{name}": wandb.Audio(str(path)) for name, path in self._sounds()}
        return found | {f"plots/{name}": wandb.Image(str(path)) for name, path in self._pictures()}

    def _last(self) -> None:
        import wandb

        results = self._latest
        media = self._media()
        if media and results is not None:
            self._log(media, EPOCH, results.context.epoch)
        if (self.folder / "tokenizer").is_dir() and self._mode != "disabled":
            made = wandb.Artifact(f"tokenizer-{self.identity}", type="model", metadata=metadata(results))
            for path in sorted((self.folder / "tokenizer").iterdir()):
                made.add_file(str(path))
            self._run.log_artifact(made)


def _cell(results: Results, score: Any, name: str) -> str | float | None:
    value = results.context.corpus if name == "corpus" else getattr(score, name)
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None


def metadata(results: Results | None) -> dict[str, Any]:
    """Describe a tokenizer by where its last scores come from and, by probe (W&B takes 100 keys at most), those of the default choices."""
    if results is None:
        return {}
    context = results.context
    scores: dict[str, dict[str, float]] = {}
    for score in results.scores:
        if "@" not in key(score) and math.isfinite(score.value):
            scores.setdefault(score.probe, {})[key(score)] = score.value
    about = {"epoch": context.epoch, "step": context.step, "corpus": context.corpus, "corpus_sha256": context.corpus_sha256}
    return about | {"scores": scores}


def mode_of_environment() -> Literal["online", "offline", "disabled"]:
    """Online only with a key, and where WANDB_MODE does not say otherwise."""
    match os.environ.get("WANDB_MODE", "").lower():
        case "disabled":
            return "disabled"
        case "offline" | "dryrun":
            return "offline"
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether the user has given W&B a key: in the environment, or by `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return bool(host) and host in netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return False


def fragments(home: Path, identity: str) -> list[Path]:
    """Folders of this W&B run: one for each time it was started."""
    return sorted(home.glob(f"*run-*-{identity}"))


def sync_line(folder: Path, identity: str, newest: Path | None) -> str:
    """Give the command that sends an offline run; the parts of a resumed one go into one W&B run, in the order of their starts.

    `newest` is the part of this process: W&B may write its folder later than it says its name.
    """
    parts = sorted({str(path) for path in (*fragments(folder / "wandb", identity), newest) if path is not None})
    return f"wandb sync {parts[0]}" if len(parts) == 1 else "WANDB_RESUME=allow wandb beta sync " + " ".join(parts)


def _leave() -> None:
    """End W&B's own process, which has not answered, and keep its hook from waiting for it at exit; what it had is in the run folder."""
    from wandb.sdk import wandb_setup

    connection = wandb_setup.singleton()._connection
    if connection is not None:
        if connection._cleanup is not None:
            connection._cleanup()
        if connection._proc is not None:
            connection._proc._process.kill()
