"""Rows of the task probes: a score of a column with its interval, and the items that it is the mean of."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from laminal.measures.bootstrap import ends, multiplicities
from laminal.probes.task_features import Column
from laminal.results import Items, Score, Undefined


def column_name(column: Column) -> str:
    """Say which column is meant, for reasons."""
    return " ".join(part for part in (column.setting, column.mode, column.layer) if part) or "all"


def mean_rows(
    facts: dict[str, Any], column: Column, items: Sequence[str], speakers: Sequence[str], value: Float[np.ndarray, " u"],
    weight: Float[np.ndarray, " u"], chance: float, draws: int, n: int | None = None,
    limits: tuple[float, float] = (0.0, np.inf),
) -> Iterator[Score | Items | Undefined]:  # fmt: skip
    """Give the weighted mean of items with speakers resampled, and of the codec's own columns the items.

    `limits`: what the score can be. `facts`: probe, version, metric, unit, higher_is_better, seed. Floor and ceiling have no items: they
    are the same for all codecs.
    """
    names, row = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    drawn = multiplicities(len(names), draws, facts["seed"])[:, row] * weight
    with np.errstate(divide="ignore", invalid="ignore"):
        means = drawn @ value / drawn.sum(1)
    mean = float(np.average(value, weights=weight))
    low, high = ends(mean, means, len(names), limits)
    where: dict[str, Any] = {"setting": column.setting, "layer": column.layer, "layer_mode": column.mode}
    yield Score(
        **facts, **where, value=mean, low=low, high=high, n=n or len(items), clusters=len(names), chance=chance,
    )  # fmt: skip
    if not column.setting:
        told = {name: facts[name] for name in ("probe", "metric", "seed", "probe_version")}
        yield Items(**told, **where, a=list(items), cluster=list(speakers), value=value, weight=weight)
