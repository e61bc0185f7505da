"""What `probe.py` does: choose codec, corpus, split and probes, run them, store, show."""

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from laminal import config as settings
from laminal import experiment, progress, runfolder
from laminal.cache import CodesCache
from laminal.codecs.base import Codec
from laminal.codecs.load import load_checkpoint, load_codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.nn import ranks
from laminal.probes.run import fill, run_probes
from laminal.results import Context, Results, read_table, store

log = logging.getLogger("laminal")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What is probed: a codec, where its results go, and what the rows of the results say of it."""

    codec: Codec
    context: Context
    folder: Path


@dataclasses.dataclass(frozen=True, slots=True)
class Ground:
    """What it is probed on."""

    config: DictConfig
    corpus: Corpus
    split: Split | None
    probes: dict[str, Any]


def ground(config: DictConfig, names: list[str] | None, trained: Split | None, cache: CodesCache | None) -> Ground:
    """Build corpus, split and probes, with one cache; `trained` is the split of the run whose tokenizer is probed, if any."""
    corpus = experiment.corpus(config)
    split = None if trained is None else tested(trained, corpus)
    probes = experiment.probes(config.probes, corpus, split, names)
    for probe in probes.values():
        if hasattr(probe, "cache"):
            probe.cache = cache
    return Ground(config, corpus, split, probes)


def tested(trained: Split, corpus: Corpus) -> Split:
    """Give the split of a run for probing it on `corpus`, which may be another than it was trained on: whom it has not heard is tested.

    Raises RequestError where the split leaks, or where training has heard every speaker.
    """
    trained.check()
    speakers = frozenset(corpus.speakers)
    if speakers >= trained.test_speakers:
        return trained
    unheard = speakers - trained.train_speakers
    if not unheard:
        raise RequestError(
            f"all {len(speakers)} speakers of {corpus.name} have names that the run was trained on; probe it on other speakers"
        )
    return dataclasses.replace(trained, test_speakers=unheard)


def checkpoint_config(path: Path, configs: tuple[str, ...], overrides: list[str]) -> tuple[DictConfig, Split | None]:
    """Give the probes and corpus that the run of a checkpoint was probed with, changed by `configs` and `overrides`, and its split."""
    run = path if path.is_dir() else path.parent
    if configs or not (run / "config.yaml").is_file():
        config = settings.load(configs or ("probe",))
    else:
        config = experiment.trusted(runfolder.read_config(run), str(run / "config.yaml"))
    split = Split.from_json((run / "split.json").read_text(encoding="utf-8")) if (run / "split.json").is_file() else None
    return settings.override(config, overrides), split


def checkpoint_target(path: Path, out: Path | None) -> Target:
    """Load a checkpoint (or the last one of a run folder) for probing."""
    loaded = load_checkpoint(path)
    codec = loaded.codec
    run = path if path.is_dir() else path.parent
    context = Context(
        run=run_name(run), codec="laminal", revision=codec.revision, ckpt_sha256=codec.revision, epoch=loaded.epoch, step=loaded.step
    )
    return Target(codec, context, out or run)


def run_name(run: Path) -> str:
    """Name of a run folder: the one that its rows have, whatever the folder is called now."""
    scores = run / "scores.parquet"
    if scores.is_file():
        stored = read_table(scores)
        named = stored.run[stored.codec == "laminal"].unique()
        if len(named) == 1:
            return str(named[0])
    return run.resolve().name


def codec_target(name: str, arguments: Mapping[str, Any], out: Path | None) -> Target:
    """Load a codec by name, folder or `file.py:Class` for probing."""
    codec = load_codec(name, **arguments)
    label = Path(name).stem if "/" in name or ":" in name else name
    return Target(codec, Context(run=label, codec=codec.name, revision=codec.revision), out or Path("results") / label)


def probe(target: Target, on: Ground) -> Results:
    """Run the probes and store what they give in the target's folder; raises the first failure after storing the rest."""
    context = dataclasses.replace(target.context, corpus=on.corpus.name, corpus_sha256=on.corpus.sha256)
    runfolder.read_manifest(target.folder)  # a broken one is found before the work
    with shared_encoding(target.codec, on.probes), progress.shown():
        if ranks.world()[0]:
            return Results(context)  # rank 0 computes and writes
        results = run_probes(target.codec, on.probes, context)
    stored = stored_difference(target.folder, results)
    store(target.folder, results)
    undefined = [dataclasses.asdict(each) for each in results.undefined]
    facts = {"undefined": undefined, "seconds": results.seconds, "corpus_facts": on.corpus.facts, "skipped": list(on.corpus.skipped)}
    key = f"probing/{context.corpus}/step={context.step}"
    runfolder.update_manifest(target.folder, **{key: facts | runfolder.environment(on.config)})
    if stored is not None:
        print(f"{stored.rows} scores of this checkpoint were stored before; largest difference to them: {stored.largest:g}")
    return results


@contextmanager
def shared_encoding(codec: Codec, probes: Mapping[str, Any]) -> Iterator[None]:
    """Under torchrun, encode by shares into the cache before the block, and wait for rank 0 after it; without, do nothing.

    Shares are cut as one process cuts its work, so scores are the same to the last bit. With cache=off a temporary folder serves, which
    processes on another machine do not see: there, give cache= a folder that all of them do.
    """
    rank, size = ranks.world()
    if size == 1:
        yield
        return
    without = [probe for probe in probes.values() if hasattr(probe, "cache") and probe.cache is None]
    temporary = tempfile.mkdtemp(prefix="laminal-codes-") if rank == 0 else ""
    try:
        folder = ranks.from_first(temporary)
        for probe in without:
            probe.cache = CodesCache(Path(folder))
        with progress.shown(rank == 0):
            fill(codec, probes, (rank, size))
        ranks.wait()
        yield
        ranks.wait()
    finally:
        for probe in without:
            probe.cache = None
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """How freshly computed scores differ from stored ones of the same keys."""

    rows: int
    largest: float


def stored_difference(folder: Path, results: Results) -> Difference | None:
    """Compare with the stored scores of the same weights, corpus and keys; None where there are none."""
    from laminal.results import KEY

    path = folder / "scores.parquet"
    if not path.is_file():
        return None
    old, new = read_table(path), results.score_table()
    here = results.context
    old = old[(old.step == here.step) & (old.ckpt_sha256 == here.ckpt_sha256) & (old.corpus == here.corpus)]
    both = old.merge(new, on=list(KEY), suffixes=("_old", "_new"))
    if both.empty:
        return None
    largest = max(float((both[f"{part}_old"] - both[f"{part}_new"]).abs().max()) for part in ("value", "low", "high"))
    return Difference(len(both), largest)


def listing(shelf: str) -> str:
    """Names on a shelf with the comment that heads their YAML twin (what it is, licence, size)."""
    shelves = ("codecs", "probes", "corpora", "losses", "teachers")
    if shelf not in shelves:
        raise RequestError(f"list={shelf}: lists are {', '.join(shelves)}")
    lines = []
    for name in settings.names(shelf):
        first = settings.find(name, shelf).read_text(encoding="utf-8").splitlines()[0]
        lines.append(f"{name:<20} {first.removeprefix('#').strip() if first.startswith('#') else ''}")
    return "\n".join(lines) or f"configs/{shelf} is empty"


def arguments_of(overrides: list[str], prefix: str) -> tuple[dict[str, Any], list[str]]:
    """Split `prefix.key=value` words from the others."""
    mine = [word for word in overrides if word.startswith(f"{prefix}.")]
    values = OmegaConf.create()
    for word in mine:
        key, value = settings.parse(word)
        OmegaConf.update(values, key.removeprefix(f"{prefix}."), value)
    return settings.plain(values), [word for word in overrides if word not in mine]
