"""Scores and items: the one schema of every number that laminal reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from laminal.atomic import replacing
from laminal.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with its interval, its chance level and how many things it was computed from.

    `layer` is "latent", "1".."K", or "" where the score is not of a layer; low = high = value where it is exact.
    """

    probe: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    chance: float  # nan where there is no chance level
    higher_is_better: bool | None  # None where neither direction is better
    unit: str
    setting: str = ""
    layer: str = ""
    layer_mode: str = ""  # cumulative, single, residual
    slice: str = ""  # audio, features
    distance: str = ""  # euclidean, cosine, scaled
    split: str = "all"  # all, trained, new_pair, new_word, cross
    seed: int = 0
    probe_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """What the scores were computed from, in columns: tokens as `utterance:start-end` in seconds, one value each."""

    probe: str
    metric: str
    a: Sequence[str]
    value: np.ndarray
    b: Sequence[str] = ()  # empty where an item has one side
    cluster: Sequence[str] = ()  # what the bootstrap resamples: a word type, a speaker, or "a|b" for pairs of types
    setting: str = ""
    layer: str = ""
    layer_mode: str = ""
    slice: str = ""
    distance: str = ""
    split: str = "all"
    probe_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Undefined:
    """A score that could not be computed, with its reason: listed in the manifest, never a row."""

    probe: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is the same for every row of one probing: which codec, at which point of which run, on which corpus."""

    run: str
    codec: str
    revision: str
    ckpt_sha256: str = ""
    epoch: int = -1
    step: int = -1
    corpus: str = ""
    corpus_sha256: str = ""


KEY = ("probe", "setting", "metric", "layer", "layer_mode", "slice", "distance", "split", "corpus", "seed")
COLUMNS = (
    "run", "codec", "revision", "ckpt_sha256", "epoch", "step", "probe", "probe_version", "corpus", "corpus_sha256", "split",
    "setting", "metric", "layer", "layer_mode", "slice", "distance", "value", "low", "high", "n", "clusters", "chance",
    "higher_is_better", "unit", "seed",
)  # fmt: skip
ITEM_COLUMNS = (
    "run", "ckpt_sha256", "epoch", "step", "probe", "probe_version", "corpus", "split", "setting", "metric", "layer", "layer_mode",
    "slice", "distance", "item", "a", "b", "cluster", "value",
)  # fmt: skip


@dataclass(slots=True)
class Results:
    """All that one probing of one checkpoint gave."""

    context: Context
    scores: list[Score] = field(default_factory=list)
    items: list[Items] = field(default_factory=list)
    undefined: list[Undefined] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # wall time by probe
    failures: dict[str, str] = field(default_factory=dict)  # probe: what it raised

    def score_table(self) -> pd.DataFrame:
        """Rows in COLUMNS' order; raises RequestError where two rows share a key."""
        rows = [asdict(self.context) | asdict(score) for score in self.scores]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        doubled = table[table.duplicated(list(KEY), keep=False)]
        if len(doubled):
            raise RequestError(f"two scores share the key {doubled.iloc[0][list(KEY)].to_dict()}; a probe must name them apart")
        return table.astype({"higher_is_better": "boolean"})

    def item_table(self) -> pd.DataFrame:
        """One row per pair, word or utterance, in ITEM_COLUMNS' order."""
        return pd.concat([_block(self.context, block) for block in self.items], ignore_index=True) if self.items else _no_items()


def _no_items() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="float64" if name == "value" else "object") for name in ITEM_COLUMNS})


def _block(context: Context, block: Items) -> pd.DataFrame:
    constant = {name: value for name, value in (asdict(context) | _keys(block)).items() if name in ITEM_COLUMNS}
    count = len(block.value)
    table = pd.DataFrame({name: pd.Categorical.from_codes(np.zeros(count, int), [value]) for name, value in constant.items()})
    table["item"] = np.arange(count)
    table["a"] = list(block.a)
    table["b"] = list(block.b) or [""] * count
    table["cluster"] = list(block.cluster) or [""] * count
    table["value"] = np.asarray(block.value, dtype=np.float64)
    return table[list(ITEM_COLUMNS)].astype({name: "object" for name in constant})


def _keys(block: Items) -> Mapping[str, Any]:
    return {f.name: getattr(block, f.name) for f in fields(block) if f.name not in ("a", "b", "cluster", "value")}


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as parquet (zstd), atomically."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote; raises RequestError where it is none."""
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not a readable score table ({error}); run probe.py again to make it") from error


def layer_order(layers: Iterable[str]) -> list[str]:
    """Sort layer names: latent first, then by number."""
    return sorted(set(layers), key=lambda name: (name != "latent", int(name) if name.isdigit() else -1, name))
