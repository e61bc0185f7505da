"""Codebook health in plain words: codes that are never used, codes used so unevenly that few count."""

import math
from collections.abc import Iterator

from laminal.report import words
from laminal.report.selection import Checkpoint, Reading

UNUSED = 0.2  # share of codes never used from which a codebook is reported
FEW = 0.1  # perplexity as a share of the codes below which a codebook is reported
ENOUGH = 3  # frames heard for each code: with fewer, even fair codes are left out by accident (exp(-3) = 5 %)


def codebook_size(point: Checkpoint) -> float:
    """Codes of a codebook, from the nominal and the entropy bit rate (rate x log2 of the size, rate x log2 of the perplexities)."""
    nominal, entropy = point.find("units", "bits_nominal"), point.find("units", "bits_entropy")
    found = [reading for _, reading in perplexities(point)]
    spread = sum(math.log2(reading.value) for reading in found if reading.value > 0)
    if nominal is None or entropy is None or not found or spread <= 0:
        return math.nan
    rate = entropy.value / spread
    return float(2 ** (nominal.value / (rate * len(found)))) if rate > 0 else math.nan


def perplexities(point: Checkpoint) -> list[tuple[str, Reading]]:
    """Perplexity of each codebook."""
    return _of(point, "perplexity")


def alarms(point: Checkpoint) -> list[str]:
    """Give one line for each unhealthy codebook; nothing where all are well or nothing is known."""
    size = codebook_size(point)
    use, even = dict(_of(point, "usage")), dict(perplexities(point))
    lines = {layer: [*_unused(use.get(layer), size), *_uneven(even.get(layer), size)] for layer in sorted({*use, *even}, key=int)}
    return [f"codebook {layer}: {'; '.join(said)}" for layer, said in lines.items() if said]


def healthy(point: Checkpoint) -> str:
    """Say how well the worst codebook is; empty where nothing is known or there is an alarm."""
    use, even = _of(point, "usage"), perplexities(point)
    if not use or not even or alarms(point):
        return ""
    least, lowest = min(use, key=lambda each: each[1].value), min(even, key=lambda each: each[1].value)
    return (
        f"Every codebook is alive: at least {words.percent(least[1].value)} of the codes are used (codebook {least[0]}), "
        f"perplexity is {words.number(lowest[1].value)} or more (codebook {lowest[0]})."
    )


def _of(point: Checkpoint, metric: str) -> list[tuple[str, Reading]]:
    pairs = [(layer, point.find("units", metric, layer=layer)) for layer in point.layers("units", metric)]
    return [(layer, reading) for layer, reading in pairs if reading is not None]


def _unused(reading: Reading | None, size: float) -> Iterator[str]:
    if reading is not None and 1 - reading.value >= UNUSED:
        few = f", but only {reading.n:,} frames were heard" if reading.n < ENOUGH * size else ""  # False where the size is unknown
        yield f"{words.percent(1 - reading.value)} of codes never used{few}"


def _uneven(reading: Reading | None, size: float) -> Iterator[str]:
    if reading is not None and reading.value < FEW * size:
        yield f"used as unevenly as if it had {words.number(reading.value)} of its {size:,.0f} codes"
