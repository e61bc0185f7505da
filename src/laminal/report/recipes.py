"""Recipes side by side: stored runs that differ in their seed alone are one column, their last checkpoints' scores a mean over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from laminal import cli
from laminal.errors import RequestError
from laminal.measures.bootstrap import student
from laminal.report.provenance import read_manifest
from laminal.report.selection import TIERS, Checkpoint, checkpoints
from laminal.report.words import number
from laminal.results import read_table

OWN = ("seed", "run", "out", "resume", "log", "probing", "checkpoint", "corpus")  # no part of a recipe; each corpus has a table
OF_FRAMES = ("units", "articulation")  # their n counts frames, which tokenizers of other frame rates have fewer of
FEWEST = 3  # seeds, below which a mean is marked


@dataclass(frozen=True, slots=True)
class Measure:
    """A row: which score, of which layer ("first": codebook 1, "last": all codebooks, "": it is of none), times `scale`."""

    said: str
    probe: str
    metric: str
    layer: str = ""
    setting: str = ""
    split: str = "all"
    scale: float = 1.0
    reported: str = ""  # what a paper reports, at its own size


PAPER_004 = "2507.06802: {} (LibriSpeech, 400 tokens/s)"


def _measures() -> tuple[Measure, ...]:
    pairs = [
        Measure(f"{said} over random, codebook 1, {split}, %", "word_pairs", "over_random", "first", setting, split, 100.0)
        for setting, said in (("near_homophone", "near-homophones"), ("synonym_core", "core synonyms"))
        for split in TIERS
        if split != "cross"
    ]
    return (
        Measure("PESQ", "reconstruction", "pesq", "last", reported=PAPER_004.format("2.351 to 3.085")),
        Measure("STOI", "reconstruction", "stoi", "last"),
        Measure("mel distance", "reconstruction", "mel_distance", "last"),
        Measure("kbit/s", "units", "bits_nominal", scale=1e-3),
        Measure("phone purity above chance, codebook 1", "units", "phone_purity", "first"),
        Measure("phones named above chance, codebook 1", "units", "phone_gain", "first"),
        Measure("ABX error across speakers, codebook 1", "units", "abx_across", "first"),
        *pairs,
        Measure("CKA with text, all codebooks", "text_alignment", "cka", "last", "text"),
        Measure("CKA with text beyond form, all codebooks", "text_alignment", "beyond_form", "last", "text"),
        Measure("articulation (held-out PWCCA; simulated tracts), all codebooks", "articulation", "heldout_pwcca", "last"),
        Measure("word errors of a small CTC, all codebooks", "transcription", "wer", "last", reported=PAPER_004.format("0.290 to 0.253")),
        Measure("character errors of a small CTC, codebook 1", "transcription", "cer", "first"),
        Measure("character errors of a small CTC, all codebooks", "transcription", "cer", "last"),
        Measure("word errors of a recogniser on rebuilt speech, all codebooks", "reconstruction", "wer", "last"),
        Measure("speaker EER, codebook 1", "speaker_verification", "eer", "first"),
        Measure("speaker EER, all codebooks", "speaker_verification", "eer", "last"),
        Measure("conversion: similarity to the target", "voice_conversion", "similarity_to_target", "first"),
        Measure("conversion: F0 correlation", "voice_conversion", "f0_correlation", "first", reported=PAPER_004.format("0.239 to 0.310")),
        Measure("conversion: MCD, dB", "voice_conversion", "mcd", "first", reported=PAPER_004.format("6.831 to 6.076")),
    )


MEASURES = _measures()


@dataclass(frozen=True, slots=True)
class Run:
    """One stored run: its recipe in words, and its last checkpoint as the run probed it, then as it was probed with other sizes."""

    recipe: str
    seed: int
    started: str
    steps: int
    corpus: str
    corpus_sha256: str
    probings: tuple[Checkpoint, ...]

    def reading(self, measure: Measure) -> "Cell | None":
        """Give the score of the first probing that has a finite one."""
        return next((cell for each in self.probings if (cell := _reading(each, measure, self.codebooks)) is not None), None)

    @property
    def codebooks(self) -> int:
        """The largest layer that any probing has."""
        return max((int(name) for each in self.probings for name in set(each.table["layer"]) if name.isdigit()), default=1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run's score, with the version of its probe and its size: words or speakers, what they have between them, and the corpus's hash.

    `beside`: the folder of the probing, which tells its settings; "" for the run's own.
    """

    value: float
    low: float
    high: float
    version: int
    size: tuple[int, int, str]
    beside: str = ""


def _reading(probing: Checkpoint, measure: Measure, codebooks: int) -> Cell | None:
    table, layer = probing.table, {"first": "1", "last": str(codebooks), "": ""}[measure.layer]
    found = probing.find(measure.probe, measure.metric, measure.setting, layer, measure.split)
    if found is None or not math.isfinite(found.value):
        return None
    version = int(table.loc[table["probe"] == measure.probe, "probe_version"].max())
    value, low, high = (measure.scale * (each - found.floor) for each in (found.value, found.low, found.high))
    size = (found.clusters, 0 if measure.probe in OF_FRAMES else found.n, str(table["corpus_sha256"].iloc[0]))
    return Cell(value, low, high, version, size, probing.label)


def printed(folder: Path) -> str:
    """Write the table of the runs in `folder` (Markdown), one for each corpus and length of training.

    A cell is the mean over seeds. Its 95 % interval adds two half-widths (root of the sum of squares): Student's t over the seeds, and the
    mean of the runs' own, over the words or speakers that are the same in all of them; of one seed it is the run's own. Scores of other
    sizes than most runs have, or of older versions of a probe than another run has, are left out and counted below; of two runs of one
    recipe and seed the later one counts. What the run itself did not probe is taken from its folder `probed`. Raises RequestError where
    no run is stored.
    """
    runs = [run for path in sorted(folder.glob("*/scores.parquet")) if (run := _run(path.parent)) is not None]
    if not runs:
        raise RequestError(f"recipes={folder}: no run with scores.parquet and manifest.json of train.py there; give the folder of the runs")
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.corpus, run.corpus_sha256, run.steps), []).append(run)
    named: dict[str, set[str]] = {}
    for corpus, sha256, _ in groups:
        named.setdefault(corpus, set()).add(sha256)
    tables = []
    for (corpus, sha256, steps), group in sorted(groups.items()):
        tables.append(_table(f"{corpus} ({sha256[:8]})" if len(named[corpus]) > 1 else corpus, steps, group))
    return "\n\n".join(tables)


def _run(folder: Path) -> Run | None:
    manifest = read_manifest(folder)
    argv, steps, corpus = [*manifest.get("argv", ()), ""], manifest.get("generator_steps"), str(manifest.get("corpus", ""))
    if steps is None or Path(argv[0]).name != "train.py":
        return None
    points = checkpoints(read_table(folder / "scores.parquet"), corpus)
    if not points or points[-1].step < steps:
        return None  # not trained, or not probed, to its end
    probings = (replace(points[-1], label=""), *_beside(folder, corpus, points[-1]))
    started, sha256 = manifest.get("started", ""), manifest.get("corpus_sha256", "")
    return Run(recipe(argv[1:-1]), manifest.get("seed", 0), started, steps, corpus, sha256, probings)


def _beside(folder: Path, corpus: str, own: Checkpoint) -> list[Checkpoint]:
    """Give scores of other sizes (probe.py --config NAME ckpt=RUN) of the same weights, those that were begun last first."""
    found = []
    for path in folder.glob("probed/*/scores.parquet"):
        begun = read_manifest(path.parent).get(f"probing/{corpus}/step={own.step}", {}).get("started", "")
        of_corpus = checkpoints(read_table(path), corpus)
        same = [each for each in of_corpus if each.step == own.step and _weights(each) == _weights(own)]
        found += [(begun, path.parent.name, replace(each, label=path.parent.name)) for each in same]
    return [each for _, _, each in sorted(found, key=lambda known: known[:2], reverse=True)]


def _weights(probing: Checkpoint) -> set[str]:
    return set(probing.table["ckpt_sha256"])


def recipe(words: Sequence[str]) -> str:
    """Name a recipe by the words of its command: the configuration and what it overrides, without seed, name and place of the run.

    What somebody changed in a YAML file between two runs is not seen.
    """
    request = cli.parse(words)
    last = dict(word.split("=", 1) for word in request.overrides)  # the last value of a key counts
    kept = {key: value for key, value in last.items() if not any(key == own or key.startswith(f"{own}.") for own in OWN)}
    said = [f"{key}={value.rstrip('/').rpartition('/')[2]}" for key, value in sorted(kept.items())]  # of a path its last part
    return " ".join([*(Path(name).stem for name in request.configs), *said]).replace("|", "/")


def _table(corpus: str, steps: int, runs: Sequence[Run]) -> str:
    latest = {(run.recipe, run.seed): run for run in sorted(runs, key=lambda run: run.started)}
    columns: dict[str, list[Run]] = {}
    for (name, _), run in sorted(latest.items()):
        columns.setdefault(name, []).append(run)
    heads = [f"{name} ({len(each)} seed{'s' if len(each) > 1 else ''})" for name, each in columns.items()]
    rows, left = [], 0
    for measure in MEASURES:
        found = {name: [cell for run in each if (cell := run.reading(measure)) is not None] for name, each in columns.items()}
        every = [cell for each in found.values() for cell in each]
        if not every:
            continue
        newest = max(cell.version for cell in every)
        own = any(not cell.beside for cell in every)  # then nothing but sizes can tell settings
        kinds = [(cell.size, "" if own else cell.beside) for cell in every if cell.version == newest]
        usual = max(set(kinds), key=lambda kind: (kinds.count(kind), kind))
        alike = {
            name: [cell for cell in each if (cell.version, cell.size, "" if own else cell.beside) == (newest, *usual)]
            for name, each in found.items()
        }
        left += len(every) - sum(map(len, alike.values()))
        rows.append([measure.said, *(_cell(each, len(columns[name])) for name, each in alike.items()), measure.reported])
    reported = any(row[-1] for row in rows)
    lines = [["", *heads, *(["reported (not comparable in size)"] if reported else [])], ["---"] * (len(heads) + 1 + reported)]
    lines += [row if reported else row[:-1] for row in rows]
    said = (
        f"{corpus}, {steps:,} generator steps, last checkpoint. Mean over seeds, 95 % interval over seeds and over the words or speakers "
        "tested; of one run (n = 1) over these alone."
    )
    notes = [f"* fewer than {FEWEST} runs."] if any("*" in cell for row in rows for cell in row[1:-1]) else []
    notes += [f"{left} scores of other sizes or older versions of a probe left out; probe.py ckpt=RUN makes them anew."] if left else []
    return "\n".join([said, "", *(f"| {' | '.join(line)} |" for line in lines), *(["", *notes] if notes else [])])


def _cell(runs: Sequence[Cell], wanted: int) -> str:
    if not runs:
        return "-"
    count = len(runs)
    mean, below, above = (float(np.mean(each)) for each in zip(*((run.value, run.value - run.low, run.high - run.value) for run in runs)))
    seeds = student(count - 1) * np.std([run.value for run in runs], ddof=1) / math.sqrt(count) if count > 1 else 0.0
    of = f", n = {count}" if count < wanted else ""
    mark = "*" if count < FEWEST else ""
    return f"{number(mean)} ({number(mean - math.hypot(seeds, below))} to {number(mean + math.hypot(seeds, above))}{of}){mark}"
