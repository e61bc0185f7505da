"""The folder of a run: its name, its lock, its manifest."""

import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from laminal.atomic import alone, write_json, write_text
from laminal.config import parsed, plain
from laminal.errors import RequestError

PACKAGES = (
    "laminal", "torch", "torchaudio", "lightning", "transformers", "speechbrain", "numpy", "pandas", "wandb", "pesq", "pystoi",
    "espeakng-loader",
)  # fmt: skip
FOLDER = "LAMINAL_RUN_FOLDER"
log = logging.getLogger("laminal")


def make(out: Path, name: str | None, config_name: str) -> Path:
    """Make a new run folder; raises RequestError where that name is taken: a new start never touches an old run."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = out / (name or f"{config_name}-{stamp}")
    if folder.exists() and any(path for path in folder.iterdir() if path.name != ".lock"):
        if name is not None:
            raise RequestError(f"run={name}: {folder} exists; choose another name, or go on with resume={folder}")
        folder = out / f"{config_name}-{stamp}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER] = str(folder)  # the processes that Lightning starts read it
    return folder


def discard(folder: Path) -> None:
    """Remove the folder of a run that was refused before its first checkpoint."""
    if not any(folder.glob("*.ckpt")):
        shutil.rmtree(folder, ignore_errors=True)


def is_first_process() -> bool:
    """Whether this is rank 0, as Lightning, torchrun and SLURM tell it."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def shared(config: DictConfig, resume: object | None) -> Path:
    """Give the folder that rank 0 uses, to another rank; raises RequestError where it cannot know its name."""
    if resume is not None:
        return Path(str(resume))
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    if config.run is None:
        raise RequestError("run=null with torchrun or SLURM: the processes would choose different names; give run=NAME")
    return Path(config.out) / str(config.run)


class Lock:
    """One process group writes to a run folder: a second one is refused, and a killed one leaves no lock behind."""

    def __init__(self, folder: Path):
        self._file = (folder / ".lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise RequestError(f"{folder} is in use by another process; wait for it, stop it, or choose another run=NAME") from error

    def release(self) -> None:
        """Let the folder go."""
        self._file.close()


def write_config(folder: Path, config: DictConfig) -> None:
    """Write the resolved configuration."""
    write_text(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))


def read_config(folder: Path) -> DictConfig:
    """Read the resolved configuration of a run; raises RequestError where there is none, or it is not one."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise RequestError(f"{folder} has no config.yaml: it is not a run folder; give checkpoints/<run>")
    return parsed(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read manifest.json; empty where there is none; raises RequestError where it is broken."""
    path = folder / "manifest.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:  # of JSON or of UTF-8
        raise RequestError(f"{path} is not readable JSON ({error}); mend it, or move it away: what it says then starts anew") from error
    if not isinstance(known, dict):
        raise RequestError(f"{path} holds {type(known).__name__}, not names with values; move it away: what it says then starts anew")
    return known


def update_manifest(folder: Path, **facts: Any) -> None:
    """Add `facts` to manifest.json."""
    with alone(folder):
        write_json(folder / "manifest.json", read_manifest(folder) | facts)


def add_start(folder: Path, **facts: Any) -> None:
    """Add the facts of a start to manifest.json: those of the first stay, each later one is a row of `resumes`."""
    known = read_manifest(folder)
    later = "started" in known
    update_manifest(folder, **({"resumes": [*known.get("resumes", []), facts]} if later else facts))


class WallTime:
    """Wall time of a run in seconds, over all its starts: until the training begins, of the training, and of each probing."""

    def __init__(self, folder: Path):
        self._folder, self._begun, self._ready = folder, time.perf_counter(), 0.0
        before = read_manifest(folder).get("wall_time", {})
        self._start_s, self._fit_s, self._probes = before.get("start_s", 0.0), before.get("fit_s", 0.0), before.get("probes", [])

    def ready(self) -> None:
        """Mark the end of the preparations."""
        self._ready = time.perf_counter()

    def note(self, probes: Sequence[Mapping[str, Any]]) -> None:
        """Write the time so far into manifest.json, with the seconds of this start's `probes`: a kill later must not lose it."""
        start_s, fit_s = self._start_s + self._ready - self._begun, self._fit_s + time.perf_counter() - self._ready
        try:
            update_manifest(self._folder, wall_time={"start_s": start_s, "fit_s": fit_s, "probes": [*self._probes, *probes]})
        except (OSError, RequestError) as error:  # a full disk must not end the training for this
            log.warning("the wall time was not written (%s)", error)


def environment(config: DictConfig) -> dict[str, Any]:
    """Describe what ran: versions, git commit, arguments, hash of the configuration."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    text = json.dumps({key: value for key, value in plain(config).items() if key not in ("run", "resume", "out")}, sort_keys=True)
    return {
        "versions": versions,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "git": _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        "argv": sys.argv,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git(*words: str) -> str:
    source = Path(__file__).resolve().parent
    try:
        return subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
