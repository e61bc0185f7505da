"""Rows that charts draw, as columns: text as levels, numbers with five significant digits, nothing that no chart shows."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from laminal.report.selection import Checkpoint

CHOICES = ["corpus", "split", "slice", "distance", "layer_mode"]
NUMBERS = ["value", "low", "high"]
MOST_CHECKPOINTS = 12  # columns of a heat map
MOST_POINTS = 150  # points of a training curve


@dataclass(frozen=True, slots=True)
class Points:
    """Checkpoints of one corpus."""

    corpus: str
    all: list[Checkpoint]

    @property
    def ends(self) -> dict[str, Checkpoint]:
        """First and last; where there is one it is the last."""
        return {"first": self.all[0], "last": self.all[-1]} if len(self.all) > 1 else {"last": self.all[-1]}


def columns(table: pd.DataFrame) -> dict[str, Any]:
    """Pack a table: a column is a list of numbers or, for text, {levels, codes}, {levels, runs} where (code, times, ...) is shorter."""
    packed: dict[str, Any] = {}
    for name in table.columns:
        values = table[name]
        if pd.api.types.is_numeric_dtype(values):
            packed[str(name)] = [shortened(value) for value in values.tolist()]
        else:
            codes, levels = pd.factorize(values.astype(str))
            changes = np.flatnonzero(np.diff(codes, prepend=-1))
            times = np.diff(changes, append=len(codes))
            runs = np.stack([codes[changes], times], 1).ravel()
            packed[str(name)] = {
                "levels": list(levels),
                **({"runs": runs.tolist()} if len(runs) < len(codes) else {"codes": codes.tolist()}),
            }
    return packed


def shortened(value: float | int) -> float | int | None:
    """Five significant digits; None where there is no number."""
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def word_curves(corpora: Sequence[Points]) -> pd.DataFrame:
    """Mean and mean minus random of every setting and layer, at the first and the last checkpoint."""
    return _of_words(corpora, ["mean", "minus_random"], lambda points: list(points.ends.values()))


def word_map(corpora: Sequence[Points]) -> pd.DataFrame:
    """Mean minus random over random of every setting and layer, at every checkpoint (at most a dozen of them)."""
    return _of_words(corpora, ["over_random"], lambda points: thinned(points.all))


def thinned(points: Sequence[Checkpoint]) -> list[Checkpoint]:
    """At most MOST_CHECKPOINTS, evenly, with the first and the last."""
    if len(points) <= MOST_CHECKPOINTS:
        return list(points)
    return [points[int(place)] for place in np.linspace(0, len(points) - 1, MOST_CHECKPOINTS).round()]


def _of_words(corpora: Sequence[Points], metrics: Sequence[str], choose: Any) -> pd.DataFrame:
    found = []
    for points in corpora:
        for point in choose(points):
            rows = point.table[(point.table["probe"] == "word_pairs") & point.table["metric"].isin(metrics) & (point.table["layer"] != "")]
            rows = rows[rows["seed"] == rows["seed"].min()]
            found.append(rows[["metric", "setting", *CHOICES, "layer", *NUMBERS, "n"]].assign(at=point.label or "as it is"))
    return _joined(found)


def by_layer(corpora: Sequence[Points], probe: str) -> pd.DataFrame:
    """Every layered metric of a probe at the first and the last checkpoint, with its chance level; usual choices only."""
    found = []
    for points in corpora:
        for when, point in points.ends.items():
            keep = [
                (name, setting, layer, reading.value, reading.low, reading.high, reading.chance, reading.n)
                for (owner, name, setting, layer, split), (reading, *_) in point.index.items()
                if owner == probe and layer and split == "all"
            ]
            rows = pd.DataFrame(keep, columns=["metric", "setting", "layer", *NUMBERS, "chance", "n"])
            found.append(rows.assign(corpus=points.corpus, when=when, at=point.label or "as it is"))
    return _joined(found)


def pareto(corpora: Sequence[Points]) -> pd.DataFrame:
    """Core synonyms over random at k codebooks against what the k codebooks cost or how well they sound."""
    found = []
    for points in corpora:
        for when, point in points.ends.items():
            layers = point.layers("units", "perplexity")
            nominal = point.find("units", "bits_nominal")
            for layer in point.layers("word_pairs", "over_random"):
                gap = point.find("word_pairs", "over_random", setting="synonym_core", layer=layer)
                costs = {
                    "PESQ": point.find("reconstruction", "pesq", layer=layer),
                    "STOI": point.find("reconstruction", "stoi", layer=layer),
                }
                against = {name: reading.value for name, reading in costs.items() if reading is not None}
                if nominal is not None and layer in layers:
                    against = {"bit/s": nominal.value * int(layer) / len(layers)} | against
                for kind, x in against.items() if gap is not None else ():
                    assert gap is not None
                    row = (points.corpus, when, point.label or "as it is", kind, layer, x, -gap.value, -gap.high, -gap.low, gap.n)
                    found.append(row)
    return pd.DataFrame(found, columns=["corpus", "when", "at", "kind", "layer", "x", *NUMBERS, "n"])


def training(rows: Sequence[dict[str, str]]) -> pd.DataFrame:
    """Rows of metrics.csv as curves: chart, series, step, value; long ones are thinned to means."""
    table = pd.DataFrame(rows, columns=["epoch", "step", "name", "value"])
    if table.empty:
        return pd.DataFrame(columns=["chart", "series", "step", "value"])
    table["step"] = pd.to_numeric(table["step"], errors="coerce")
    table["value"] = pd.to_numeric(table["value"], errors="coerce")
    table = table[np.isfinite(table["step"]) & np.isfinite(table["value"])]
    found = []
    for name, rows_of in table.groupby("name", sort=True):
        chart, series = chart_of(str(name))
        block = max(1, math.ceil(len(rows_of) / MOST_POINTS))
        mean = rows_of.groupby(np.arange(len(rows_of)) // block)[["step", "value"]].agg({"step": "last", "value": "mean"})
        found.append(mean.assign(chart=chart, series=series))
    return _joined(found)[["chart", "series", "step", "value"]] if found else pd.DataFrame(columns=["chart", "series", "step", "value"])


def chart_of(name: str) -> tuple[str, str]:
    """Which chart a training number belongs to, and as what: train/mel and val/mel share one, so do the layers of a codebook number."""
    head, _, rest = name.partition("/")
    layered = re.fullmatch(r"(.+)/L(\d+)", rest)
    if head == "norm":
        return "gradient norm at z", rest
    if layered:
        return f"{head} {layered[1]}".replace("/", " "), f"codebook {int(layered[2])}"
    return (rest, head) if rest else (name, "value")


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
