"""Recipes side by side: stored runs that differ in their seed alone are one column, their last checkpoints' scores a mean over seeds."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from laminal.errors import RequestError
from laminal.measures.bootstrap import student
from laminal.report.selection import TIERS, Checkpoint, Reading, checkpoints, corpora
from laminal.report.words import number
from laminal.results import read_table

OWN = ("seed", "run", "out", "resume", "log", "trainer.devices", "probing", "checkpoint")  # keys that are no part of a recipe
FEWEST = 3  # seeds, below which a mean is marked


@dataclass(frozen=True, slots=True)
class Measure:
    """A row: which score, of which layer ("first", "last", or "" for what has none), times `scale`."""

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
        Measure("phone purity, codebook 1", "units", "phone_purity", "first"),
        Measure("phones named above chance, codebook 1", "units", "phone_gain", "first"),
        Measure("ABX error across speakers, codebook 1", "units", "abx_across", "first"),
        *pairs,
        Measure("CKA with text, all codebooks", "text_alignment", "cka", "last", "text"),
        Measure("articulation (held-out PWCCA), all codebooks", "articulation", "heldout_pwcca", "last"),
        Measure("word errors of a small CTC, all codebooks", "transcription", "wer", "last", reported=PAPER_004.format("0.290 to 0.253")),
        Measure("speaker EER, all codebooks", "speaker_verification", "eer", "last"),
        Measure("conversion: similarity to the target", "voice_conversion", "similarity_to_target", "first"),
        Measure("conversion: F0 correlation", "voice_conversion", "f0_correlation", "first", reported=PAPER_004.format("0.239 to 0.310")),
        Measure("conversion: MCD, dB", "voice_conversion", "mcd", "first", reported=PAPER_004.format("6.831 to 6.076")),
    )


MEASURES = _measures()


@dataclass(frozen=True, slots=True)
class Run:
    """One stored run: its recipe in words, and its last checkpoint."""

    recipe: str
    seed: int
    started: str
    steps: int
    corpus: str
    checkpoint: Checkpoint

    def reading(self, measure: Measure) -> tuple[Reading, tuple[int, int]] | None:
        """Give the score with how many clusters (words, speakers) and which version of its probe it has: its kind."""
        layer = measure.layer
        if layer:
            layers = self.checkpoint.layers(measure.probe, measure.metric)
            layers = [each for each in layers if self._found(measure, each) is not None]
            if not layers:
                return None
            layer = layers[0] if layer == "first" else layers[-1]
        found = self._found(measure, layer)
        if found is None or not math.isfinite(found.value):
            return None
        table = self.checkpoint.table
        return found, (int(found.clusters), int(table.loc[table["probe"] == measure.probe, "probe_version"].iloc[0]))

    def _found(self, measure: Measure, layer: str) -> Reading | None:
        return self.checkpoint.find(measure.probe, measure.metric, measure.setting, layer, measure.split)


def printed(folder: Path) -> str:
    """Write the table of the runs in `folder` (Markdown), one for each corpus and length of training.

    A cell is the mean over seeds. Its 95 % interval adds two half-widths (root of the sum of squares): Student's t over the seeds, and the
    mean of the runs' own, over the words or speakers that are the same in all of them; of one seed it is the run's own. Scores of other
    sizes or another version of a probe than most runs have are left out and counted below; of two runs of one recipe and seed the later one
    counts. Raises RequestError where no run is stored.
    """
    runs = [run for path in sorted(folder.glob("*/scores.parquet")) if (run := _run(path.parent)) is not None]
    if not runs:
        raise RequestError(f"recipes={folder}: no run with scores.parquet and manifest.json of train.py there; give the folder of the runs")
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.corpus, run.steps), []).append(run)
    return "\n\n".join(_table(corpus, steps, group) for (corpus, steps), group in sorted(groups.items()))


def _run(folder: Path) -> Run | None:
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "generator_steps" not in manifest or Path(str(manifest.get("argv", [""])[0])).name != "train.py":
        return None
    scores = read_table(folder / "scores.parquet")
    points = [point for corpus in corpora(scores)[:1] for point in checkpoints(scores, corpus)]
    if not points or points[-1].step < int(manifest["generator_steps"]):
        return None  # not trained, or not probed, to its end
    steps, seed, started = int(manifest["generator_steps"]), int(manifest.get("seed", 0)), str(manifest.get("started", ""))
    return Run(recipe(manifest["argv"]), seed, started, steps, str(manifest.get("corpus", "")), points[-1])


def recipe(argv: Sequence[str]) -> str:
    """Name a recipe by the words of its command: the configuration and what it overrides, without seed, name and place of the run."""
    words = [str(word) for word in argv[1:]]
    named = [Path(after).stem for word, after in zip(words, words[1:]) if word == "--config"]
    named += [Path(word.partition("=")[2]).stem for word in words if word.startswith("--config=")]
    keys = [word for word in words if "=" in word and not word.startswith("--") and not word.startswith(tuple(f"{key}=" for key in OWN))]
    kept = [word for word in keys if not word.startswith(tuple(f"{key}." for key in OWN))]
    return " ".join([*named, *sorted(kept)])


def _table(corpus: str, steps: int, runs: Sequence[Run]) -> str:
    latest = {(run.recipe, run.seed): run for run in sorted(runs, key=lambda run: run.started)}
    columns: dict[str, list[Run]] = {}
    for (name, _), run in sorted(latest.items()):
        columns.setdefault(name, []).append(run)
    heads = [f"{name} ({len(each)} seed{'s' if len(each) > 1 else ''})" for name, each in columns.items()]
    rows, left = [], 0
    for measure in MEASURES:
        found = {name: [run.reading(measure) for run in each] for name, each in columns.items()}
        kinds = [kind for each in found.values() for reading in each if reading is not None for kind in [reading[1]]]
        if not kinds:
            continue
        usual = max(set(kinds), key=lambda kind: (kinds.count(kind), kind))
        left += sum(kind != usual for kind in kinds)
        alike = [[reading[0] for reading in each if reading is not None and reading[1] == usual] for each in found.values()]
        cells = [_cell(each, measure.scale) for each in alike]
        rows.append([measure.said, *cells, measure.reported])
    reported = any(row[-1] for row in rows)
    lines = [["", *heads, *(["reported (not comparable in size)"] if reported else [])], ["---"] * (len(heads) + 1 + reported)]
    lines += [row if reported else row[:-1] for row in rows]
    said = f"{corpus}, {steps:,} generator steps; last checkpoint, held-out speakers; mean over seeds, 95 % interval over seeds and items"
    notes = [f"* fewer than {FEWEST} seeds."] if any("*" in cell for row in rows for cell in row[1:-1]) else []
    notes += [f"{left} scores of other sizes or versions of their probes are left out; probe.py ckpt=RUN makes them anew."] if left else []
    return "\n".join([said, "", *(f"| {' | '.join(line)} |" for line in lines), *(["", *notes] if notes else [])])


def _cell(readings: Sequence[Reading], scale: float) -> str:
    values = scale * np.array([reading.value for reading in readings])
    if not len(values):
        return "-"
    if len(values) == 1:
        (reading,) = readings
        return f"{number(float(values[0]))} ({number(scale * reading.low)} to {number(scale * reading.high)})*"
    mean = float(values.mean())
    seeds = student(len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    below, above = (scale * float(np.mean([abs(getattr(each, end) - each.value) for each in readings])) for end in ("low", "high"))
    low, high = mean - math.hypot(seeds, below), mean + math.hypot(seeds, above)
    return f"{number(mean)} ({number(low)} to {number(high)}){'*' if len(values) < FEWEST else ''}"
