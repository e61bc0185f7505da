"""What `probe.py` does: choose codec, corpus, split and probes, run them, store, show."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from laminal import config as settings
from laminal import experiment, runfolder
from laminal.cache import open_cache
from laminal.codec_choice import Choice
from laminal.codecs.base import Codec
from laminal.codecs.load import load_checkpoint
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.probes.run import run_probes
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


def ground(config: DictConfig, names: list[str] | None, trained: Split | None, cache: str | None) -> Ground:
    """Build corpus, split and probes; `trained` is the split of the run whose tokenizer is probed, if any."""
    corpus = experiment.corpus(config)
    split = trained
    if trained is not None and not set(corpus.speakers) >= trained.test_speakers:  # another corpus: nobody in it was heard in training
        split = dataclasses.replace(trained, train_speakers=frozenset(), test_speakers=frozenset(corpus.speakers))
    probes = experiment.probes(config.probes, corpus, split, names)
    for probe in probes.values():
        if hasattr(probe, "cache"):
            probe.cache = open_cache(cache)
    return Ground(config, corpus, split, probes)


def checkpoint_config(path: Path, configs: tuple[str, ...], overrides: list[str]) -> tuple[DictConfig, Split | None]:
    """Give the probes and corpus that the run of a checkpoint was probed with, changed by `configs` and `overrides`, and its split."""
    run = path if path.is_dir() else path.parent
    if configs or not (run / "config.yaml").is_file():
        config = settings.load(configs or ("probe",))
    else:
        config = experiment.trusted(runfolder.read_config(run), str(run / "config.yaml"))
    split = Split.from_json((run / "split.json").read_text(encoding="utf-8")) if (run / "split.json").is_file() else None
    return settings.override(config, overrides), split


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
        run=run.resolve().name, codec="laminal", revision=codec.revision, ckpt_sha256=codec.revision, epoch=loaded.epoch, step=loaded.step
    )
    return Target(codec, context, out or run)


def codec_target(choice: Choice, out: Path | None) -> Target:
    """Load a codec by name, folder or `file.py:Class` for probing."""
    codec = choice.load()
    return Target(codec, Context(run=choice.label, codec=codec.name, revision=codec.revision), out or Path("results") / choice.label)


def probe(target: Target, on: Ground, again: bool = True) -> Results:
    """Run the probes and store what each gives, as soon as it is there, in the target's folder; returns all of it.

    What a probing that was stopped had finished is taken over; with `again=False` also what any earlier one stored with the same
    settings, corpus and weights.
    """
    context, record, wanted = _planned(target, on)
    kept = _kept(target, on) if not again or record.unfinished else set()
    results = record.read(kept, on.probes)
    if kept == set(on.probes):
        if record.unfinished:
            record.finish()
        return results
    if kept:
        print(f"{context.run}: {', '.join(sorted(kept))} stored before and not repeated")
    facts = {"corpus_facts": on.corpus.facts, "skipped": list(on.corpus.skipped), "codec": described(target.codec)}
    record.begin(set(on.probes) - kept, **facts, **runfolder.environment(on.config))
    rows, largest = 0, 0.0
    for name, each in on.probes.items():
        if name in kept:
            continue
        found = run_probes(target.codec, {name: each}, context)
        before = stored_difference(target.folder, found)
        if before is not None:
            rows, largest = rows + before.rows, max(largest, before.largest)
        store(target.folder, found)
        record.add(name, wanted[name], found)
        results.add(found)
    record.finish()
    if rows:
        print(f"{rows} scores of this checkpoint were stored before; largest difference to them: {largest:g}")
    return results


def missing(target: Target, on: Ground) -> set[str]:
    """Give the probes that are not stored yet with these settings, corpus and weights."""
    return set(on.probes) - _kept(target, on)


def _planned(target: Target, on: Ground) -> tuple[Context, Record, dict[str, str]]:
    context = dataclasses.replace(target.context, corpus=on.corpus.name, corpus_sha256=on.corpus.sha256)
    revision, sections = target.codec.revision, on.config.probes
    wanted = {name: settings_of(sections[name], each, on.corpus, on.split, revision) for name, each in on.probes.items()}
    return context, Record(target.folder, context), wanted


def _kept(target: Target, on: Ground) -> set[str]:
    _, record, wanted = _planned(target, on)
    own = runfolder.read_config(target.folder) if (target.folder / "config.yaml").is_file() else None
    return record.done(wanted, on.probes, own, on.config.probes)


def described(codec: Codec) -> dict[str, Any]:
    """Describe a codec for reports: its rates, and what codebooks cost."""
    names = ("name", "sample_rate", "frame_rate", "codebooks", "codebook_size", "revision", "delay", "causal")
    found = {name: getattr(codec, name, None) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, (str, int, float))}


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
    same = (old.step == here.step) & (old.ckpt_sha256 == here.ckpt_sha256) & (old.corpus == here.corpus)
    old = old[same & (old.run == here.run) & (old.revision == here.revision)]
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
