"""Which scores a report speaks of: checkpoints in order, and one number by name with the usual slice, distance and split."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

SLICES = ("audio", "features", "")
DISTANCES = ("euclidean", "scaled", "cosine", "")
MODES = ("cumulative", "single", "", "residual")
CHANCE_MOVES = ("phone_accuracy", "pnmi", "phone_purity", "cluster_purity", "spellings_per_token")  # by how many codes are in use
TIERS = ("all", "trained", "new_pair", "new_word", "cross")


@dataclass(frozen=True, slots=True)
class Reading:
    """One score as it is talked about; NaN where the table has none."""

    value: float
    low: float
    high: float
    n: int
    chance: float
    better: bool | None  # whether higher is better; None where neither is
    slice: str = ""
    distance: str = ""
    mode: str = ""
    change: tuple[float, float] | None = None  # interval of its paired difference from the first checkpoint, where items are kept
    clusters: int = 0  # what the interval resamples: word types, speakers
    floor: float = 0.0  # what is no merit of the codes: chance, where that changes with the number of codes in use

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Checkpoint:
    """All scores of one probing of one set of weights on one corpus."""

    epoch: int
    step: int
    table: pd.DataFrame
    label: str = ""

    @cached_property
    def index(self) -> dict[tuple[str, ...], list[Reading]]:
        """Readings by (probe, metric, setting, layer, split), the usual choice first."""
        return _index(self.table)

    def find(
        self, probe: str, metric: str, setting: str = "", layer: str = "", split: str = "all", slice: str | None = None
    ) -> Reading | None:
        """One score: the given slice or else the usual one, the usual distance and layer mode; None where it is not in the table."""
        found = self.index.get((probe, metric, setting, layer, split), [])
        if slice is not None:
            found = [each for each in found if each.slice == slice]
        return found[0] if found else None

    def named(self, layer: str) -> str:
        """Name a layer in words."""
        return layer_name(layer, self.hidden)

    @cached_property
    def hidden(self) -> bool:
        """Whether the layers are an encoder's hidden states: what was probed has no codebooks."""
        return any(key[1] == "codebooks" and found[0].value == 0 for key, found in self.index.items())

    @property
    def axis(self) -> str:
        """Say what the layers are, on the axis of a chart."""
        return "layer" if self.hidden else "codebooks accumulated"

    def layers(self, probe: str, metric: str | None = None) -> list[str]:
        """Numbered layers that a probe (or one of its metrics) has scores of, in order."""
        named = {key[3] for key in self.index if key[0] == probe and metric in (None, key[1])}
        return sorted((name for name in named if name.isdigit()), key=int)


def corpora(scores: pd.DataFrame) -> list[str]:
    """Corpora of the table: the one with most checkpoints and rows first."""
    facts = [(-group["step"].nunique(), -len(group), str(name)) for name, group in scores.groupby("corpus", sort=True)]
    return [name for _, _, name in sorted(facts)]


def checkpoints(scores: pd.DataFrame, corpus: str | None = None) -> list[Checkpoint]:
    """Checkpoints of one corpus (of the first where none is named), by generator step."""
    if scores.empty:
        return []
    name = corpora(scores)[0] if corpus is None else corpus
    here = scores[scores["corpus"] == name]
    groups = [(int(step), int(epoch), group) for (step, epoch), group in here.groupby(["step", "epoch"], sort=True)]
    by_epoch = len({epoch for _, epoch, _ in groups}) == len(groups)
    return [Checkpoint(epoch, step, group, _label(epoch, step, by_epoch)) for step, epoch, group in groups]


def layer_name(layer: str, hidden: bool = False) -> str:
    """Name a layer in words: a codebook, or (`hidden`) the output of an encoder's layer."""
    if layer.isdigit():
        return f"hidden layer {layer}" if hidden else f"codebook {layer}"
    return {"latent": "what enters the first layer" if hidden else "the unquantised latent"}.get(layer, layer)


def records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries, in the order of the table."""
    columns: Sequence[str] = list(table.columns)
    for values in zip(*(table[name].tolist() for name in columns), strict=True):
        yield dict(zip(columns, values))


def _label(epoch: int, step: int, by_epoch: bool) -> str:
    if step < 0 and epoch < 0:
        return ""
    return f"epoch {epoch}" if by_epoch and epoch >= 0 else f"step {step}"


def _index(table: pd.DataFrame) -> dict[tuple[str, ...], list[Reading]]:
    found: dict[tuple[str, ...], list[tuple[tuple[int, ...], int, Reading]]] = {}
    for number, row in enumerate(records(table)):
        better = row["higher_is_better"]
        reading = Reading(
            value=row["value"], low=row["low"], high=row["high"], n=row["n"], chance=math.nan if row["chance"] is None else row["chance"],
            better=None if pd.isna(better) else bool(better), slice=row["slice"], distance=row["distance"], mode=row["layer_mode"],
            change=_change(row), clusters=row["clusters"], floor=_floor(row),
        )  # fmt: skip
        rank = (_place(row["layer_mode"], MODES), _place(row["slice"], SLICES), _place(row["distance"], DISTANCES), row["seed"])
        key = (row["probe"], row["metric"], row["setting"], row["layer"], row["split"])
        found.setdefault(key, []).append((rank, number, reading))
    return {key: [reading for _, _, reading in sorted(many, key=lambda each: each[:2])] for key, many in found.items()}


def _change(row: dict[str, Any]) -> tuple[float, float] | None:
    low, high = row.get("change_low", math.nan), row.get("change_high", math.nan)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _floor(row: dict[str, Any]) -> float:
    chance = row["chance"]
    return float(chance) if row["metric"] in CHANCE_MOVES and chance is not None and math.isfinite(chance) else 0.0


def _place(value: str, order: Sequence[str]) -> int:
    return order.index(value) if value in order else len(order)
