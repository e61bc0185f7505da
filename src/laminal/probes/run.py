"""Run probes on a codec: the one path of `probe.py` and of the training callback."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from laminal.codecs.base import Codec
from laminal.results import Context, Items, Results, Score, Undefined, key


def fill(codec: Codec, probes: Mapping[str, Any], share: tuple[int, int]) -> None:
    """Encode one process's share (its number, how many there are) of what the probes need, into their caches."""
    for probe in probes.values():
        if hasattr(probe, "fill"):
            with torch.no_grad():
                probe.fill(codec, share)


def run_probes(codec: Codec, probes: Mapping[str, Any], context: Context, budget_s: float | None = None, tolerant: bool = False) -> Results:
    """Run every probe of `probes` (name: Probe) on `codec` and collect scores, items and what is undefined.

    With `budget_s` (seconds), probes that would start after it is spent are left out and listed as undefined. A probe that raises is
    reported in `failures` when `tolerant` (a training goes on), and raises otherwise. Nothing of the codec is changed.
    """
    results = Results(context)
    started = time.perf_counter()
    for name, probe in probes.items():
        if budget_s is not None and time.perf_counter() - started > budget_s:
            results.undefined.append(Undefined(probe=name, what="all", reason=f"the time budget of {budget_s:g} s was spent before it"))
            continue
        begun = time.perf_counter()
        found: list[Score | Items | Undefined] = []
        try:
            with torch.no_grad():
                found.extend(probe.run(codec))
        except Exception as error:
            if not tolerant:
                raise
            results.failures[name] = f"{type(error).__name__}: {error}"
            found.clear()  # a half-run probe leaves no rows: they would not be comparable with other epochs
        scores = [each for each in found if isinstance(each, Score)]
        results.scores += [*scores, *(each for each in _depths(codec, scores) if not said(each, results.scores))]
        results.items += [each for each in found if isinstance(each, Items)]
        results.undefined += [each for each in found if isinstance(each, Undefined)]
        results.seconds[name] = time.perf_counter() - begun
    return results


def said(score: Score, before: Sequence[Score]) -> bool:
    """Whether another section of the same probe has said how many codebooks there are."""
    return score.metric == "codebooks" and any(each.metric == "codebooks" and key(each) == key(score) for each in before)


def _depths(codec: Codec, scores: Sequence[Score]) -> Iterator[Score]:
    """Say by a row that the codec has no codebooks: its layers are depths of an encoder, and reports call them so."""
    if codec.codebooks == 0 and scores and not any(score.metric == "codebooks" for score in scores):
        first = scores[0]
        exact = {"metric": "codebooks", "unit": "codebooks", "value": 0.0, "low": 0.0, "high": 0.0, "n": 1, "clusters": 1}
        told = {"probe": first.probe, "probe_version": first.probe_version, "seed": first.seed}
        yield Score(**exact, **told, chance=float("nan"), higher_is_better=None)  # type: ignore[arg-type]
