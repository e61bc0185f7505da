"""Cross-fitting: runs that hold out different halves of a corpus, pooled: all of it is tested, always by a run that held it out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laminal.errors import RequestError
from laminal.results import Items, Results

RANDOM = "random_for_"
PLACE = ("probe", "layer", "layer_mode", "slice", "distance", "split", "seed", "metric", "setting")


def pooled(runs: Sequence[Results], splits: Sequence[str]) -> list[Results]:
    """Pool the items of runs with different splits: one Results for each run of a split, in the order given (seeds).

    `splits` names the split of each run. Distances of word pairs are divided by the mean of their own run's matched random pairs, for each
    run has a space of its own. With one split the runs come back as they are.
    Raises RequestError where the splits do not have the same number of runs.
    """
    folds: dict[str, list[Results]] = {}
    for run, split in zip(runs, splits, strict=True):
        folds.setdefault(split, []).append(run)
    if len(folds) == 1:
        return list(runs)
    counts = {len(each) for each in folds.values()}
    if len(counts) > 1:
        said = " and ".join(str(len(each)) for each in folds.values())
        raise RequestError(f"the runs of one side have {len(folds)} splits, of {said} runs: give every fold the same number of seeds")
    return [_joined(fold) for fold in zip(*(folds[split] for split in sorted(folds)))]


def _joined(runs: Sequence[Results]) -> Results:
    sides = [_relative(run) for run in runs]
    shared = [place for place in sides[0] if all(place in side for side in sides)]
    return Results(runs[0].context, items=[_laid_end_to_end([side[place] for side in sides]) for place in shared])


def _relative(run: Results) -> dict[tuple[object, ...], Items]:
    """Items by their place; word pairs in units of their random pairs, and only where these are there."""
    blocks = {tuple(getattr(block, name) for name in PLACE): block for block in run.items if len(block.cluster)}
    found = {}
    for place, block in blocks.items():
        if block.probe == "word_pairs":
            random = blocks.get((*place[:-1], RANDOM + str(place[-1]).removeprefix(RANDOM)))
            if random is None:
                continue
            block = replace(block, value=np.asarray(block.value, dtype=np.float64) / np.nanmean(random.value))
        found[place] = block
    return found


def _laid_end_to_end(blocks: Sequence[Items]) -> Items:
    weights = None
    if any(block.weight is not None for block in blocks):
        weights = np.concatenate([np.ones(len(block.value)) if block.weight is None else block.weight for block in blocks])
    a, b, cluster = ([each for block in blocks for each in getattr(block, name)] for name in ("a", "b", "cluster"))
    return replace(blocks[0], a=a, b=b, cluster=cluster, value=np.concatenate([block.value for block in blocks]), weight=weights)
