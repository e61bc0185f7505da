"""What `probe.py` does: choose codec, corpus, split and probes, run them, store, show."""

import dataclasses
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from laminal import config as settings
from laminal import experiment, progress, runfolder
from laminal.cache import CodesCache
from laminal.codec_choice import Choice
from laminal.codecs.base import Codec
from laminal.codecs.load import load_checkpoint
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.nn import ranks
from laminal.probes.run import fill, run_probes, said
from laminal.results import Context, Results, read_table, store
from laminal.stored import Record, settings_of

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


def other_sizes(configs: tuple[str, ...], rest: list[str]) -> str:
    """Name what makes a probing other than the run's own: a configuration file, or the overridden keys of probes; "" for none."""
    if configs:
        return Path(configs[-1]).stem
    changed = sorted(word.removeprefix("probes.") for word in rest if word.startswith("probes."))
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", ",".join(changed))[:100].strip("-")


def is_run(what: str) -> bool:
    """Whether `what` is a checkpoint or a run folder, not a codec."""
    path = Path(what)
    return path.suffix == ".ckpt" or (path / "last.ckpt").is_file()


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


def codec_target(choice: Choice, out: Path | None) -> Target:
    """Load a codec by name, folder or `file.py:Class` for probing."""
    codec = choice.load()
    return Target(codec, Context(run=choice.label, codec=codec.name, revision=codec.revision), out or Path("results") / choice.label)


def probe(target: Target, on: Ground, again: bool = True) -> Results:
    """Run the probes and store what each gives, as soon as it is there, in the target's folder; returns all of it.

    What a probing that was stopped had finished is taken over; with `again=False` also what any earlier one stored with the same
    settings, corpus and weights. Under torchrun rank 0 computes, records and stores; the others help to encode and get nothing.
    """
    context, record, wanted = _planned(target, on)
    kept = ranks.from_first(_kept(target, on) if not again or record.unfinished else set())
    todo = {name: each for name, each in on.probes.items() if name not in kept}
    if ranks.world()[0]:
        if todo:
            with shared_encoding(target.codec, todo):
                pass
        return Results(context)
    results = record.read(kept, on.probes)
    if not todo:
        if record.unfinished:
            record.finish()
        return results
    if kept:
        print(f"{context.run}: {', '.join(sorted(kept))} stored before and not repeated")
    facts = {"corpus_facts": on.corpus.facts, "skipped": list(on.corpus.skipped), "codec": described(target.codec)}
    record.begin(set(todo), **facts, **runfolder.environment(on.config))
    apart = Difference(0, 0.0)
    with shared_encoding(target.codec, todo), progress.shown():
        for name, each in todo.items():
            found = run_probes(target.codec, {name: each}, context)
            found.scores = [score for score in found.scores if not said(score, results.scores)]
            if recalled := getattr(each, "recalled", 0):
                what = f"estimates of these features and pairs ({recalled} of {len(each.seeds)} samples)"
                print(f"{name}: {what} are from the cache; cache=off makes them again")
            before = stored_difference(target.folder, found)
            if before is not None:
                apart += before
            store(target.folder, _with_namesakes(found, results))
            record.add(name, wanted[name], found, each)
            results.add(found)
        record.finish()
    if str(apart):
        print(apart)
    return results


def missing(target: Target, on: Ground) -> set[str]:
    """Give the probes that are not stored yet with these settings, corpus and weights; every rank must call it."""
    return ranks.from_first(set(on.probes) - _kept(target, on))


def _planned(target: Target, on: Ground) -> tuple[Context, Record, dict[str, str]]:
    context = dataclasses.replace(target.context, corpus=on.corpus.name, corpus_sha256=on.corpus.sha256)
    revision, sections = target.codec.revision, on.config.probes
    wanted = {name: settings_of(sections[name], each, on.corpus, on.split, revision) for name, each in on.probes.items()}
    return context, Record(target.folder, context), wanted


def _kept(target: Target, on: Ground) -> set[str]:
    _, record, wanted = _planned(target, on)
    own = runfolder.read_config(target.folder) if (target.folder / "config.yaml").is_file() else None
    kept = record.done(wanted, on.probes, own, on.config.probes)
    anew = {each.name for name, each in on.probes.items() if name not in kept}  # rows of two sections of one probe go together
    return {name for name in kept if on.probes[name].name not in anew}


def _with_namesakes(found: Results, before: Results) -> Results:
    """Add what other sections of the same probe gave just before: storing replaces all rows of a probe."""
    names = found.probes
    return dataclasses.replace(
        found,
        scores=[*(each for each in before.scores if each.probe in names), *found.scores],
        items=[*(each for each in before.items if each.probe in names), *found.items],
    )


def described(codec: Codec) -> dict[str, Any]:
    """Describe a codec for reports: its rates, and what codebooks cost."""
    names = ("name", "sample_rate", "frame_rate", "codebooks", "codebook_size", "revision", "delay", "causal")
    found = {name: getattr(codec, name, None) for name in names}
    known = {name: value for name, value in found.items() if isinstance(value, (str, int, float))}
    return {name: value for name, value in known.items() if not isinstance(value, float) or math.isfinite(value)}


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
    """How freshly computed scores differ from stored ones of the same keys; `others` are of another n or version of the probe."""

    rows: int
    largest: float
    others: int = 0

    def __add__(self, other: "Difference") -> "Difference":
        return Difference(self.rows + other.rows, max(self.largest, other.largest), self.others + other.others)

    def __str__(self) -> str:
        told = (
            f"{self.rows} scores of this checkpoint were stored before; largest difference to them: {self.largest:g}" if self.rows else ""
        )
        apart = f"{self.others} scores were stored before with another n or by another version of their probe, and are not compared"
        return "; ".join(filter(None, (told, apart if self.others else "")))


def stored_difference(folder: Path, results: Results) -> Difference | None:
    """Compare with the stored scores of the same weights, corpus and keys; None where there are none."""
    from laminal.results import KEY

    path = folder / "scores.parquet"
    if not path.is_file():
        return None
    old, new = read_table(path), results.score_table()
    here = results.context
    same = (old.step == here.step) & (old.ckpt_sha256 == here.ckpt_sha256) & (old.corpus == here.corpus)
    if not here.ckpt_sha256:  # weights tell a checkpoint, whatever its folder is called; a codec's name and revision tell a codec
        same &= (old.run == here.run) & (old.revision == here.revision)
    old = old[same]
    both = old.merge(new, on=list(KEY), suffixes=("_old", "_new"))
    if both.empty:
        return None
    alike = (both.n_old == both.n_new) & (both.probe_version_old == both.probe_version_new)
    sides = (both.loc[alike, [f"{part}_{side}" for part in ("value", "low", "high")]].to_numpy(dtype=float) for side in ("old", "new"))
    a, b = sides
    apart = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b))
    return Difference(int(alike.sum()), float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)), int((~alike).sum()))


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
