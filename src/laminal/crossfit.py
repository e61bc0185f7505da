"""Cross-fitting: runs that hold out different halves of a corpus, pooled: each half is tested by runs that held it out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laminal.errors import RequestError
from laminal.results import Items, Results, Undefined

RANDOM = "random_for_"
PLACE = ("probe", "layer", "layer_mode", "slice", "distance", "split", "seed", "metric", "setting")


def pooled(runs: Sequence[Results], splits: Sequence[str]) -> list[Results]:
    """Pool the items of runs with different splits: one Results for each run of a split, in the order given (seeds).

    `splits` names the split of each run. Distances of word pairs are divided by the mean of their own run's matched random pairs, for each
    run has a space of its own. What several splits test (a corpus that none was trained on) is averaged, item by item; scores that one
    of them lacks are named in `undefined`. With one split the runs come back as they are.
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


def refuse_other_splits(a: Sequence[str], b: Sequence[str]) -> None:
    """Raise RequestError where one side has a fold that the other lacks: they would be compared on what both happen to test."""
    if set(a) != set(b) and max(len(set(a)), len(set(b))) > 1:
        raise RequestError(
            f"A has runs of {len(set(a))} splits and B of {len(set(b))}, {len(set(a) & set(b))} of them the same; "
            "give both sides a run of every fold (split.fold=0 and 1)"
        )


def _joined(runs: Sequence[Results]) -> Results:
    sides = [_relative(run) for run in runs]
    every = list(dict.fromkeys(place for side in sides for place in side))
    shared = [place for place in every if all(place in side for side in sides)]
    lost = sorted({(str(place[0]), f"{place[8]} {place[7]} {place[5]}".strip()) for place in every if place not in shared})
    undefined = [Undefined(probe=probe, what=what, reason="one of the folds has too few items of it") for probe, what in lost]
    return Results(runs[0].context, items=[_laid_together([side[place] for side in sides]) for place in shared], undefined=undefined)


def _relative(run: Results) -> dict[tuple[object, ...], Items]:
    """Items by their place; word pairs in units of their random pairs, and only where these are there."""
    blocks = {tuple(getattr(block, name) for name in PLACE): block for block in run.items if len(block.cluster)}
    found = {}
    for place, block in blocks.items():
        if block.probe == "word_pairs":
            random = blocks.get((*place[:-1], RANDOM + str(place[-1]).removeprefix(RANDOM)))
            if random is None:
                continue
            level = np.asarray(random.value, dtype=np.float64)
            if not np.isfinite(level).any():
                continue
            block = replace(block, value=np.asarray(block.value, dtype=np.float64) / np.nanmean(level))
        found[place] = block
    return found


def _laid_together(blocks: Sequence[Items]) -> Items:
    """Items of all blocks, end to end; an item that several have once, with the mean of its values."""
    rows: dict[tuple[str, str, int], list[tuple[float, float, str]]] = {}
    for block in blocks:
        seen: dict[tuple[str, str], int] = {}
        weights = np.ones(len(block.value)) if block.weight is None else block.weight
        for a, b, cluster, value, weight in zip(block.a, block.b or [""] * len(block.a), block.cluster, block.value, weights):
            seen[a, b] = seen.get((a, b), 0) + 1
            rows.setdefault((a, b, seen[a, b]), []).append((float(value), float(weight), cluster))
    value, weight = (np.array([np.mean([each[at] for each in found]) for found in rows.values()]) for at in (0, 1))
    return replace(
        blocks[0], a=[a for a, _, _ in rows], b=[b for _, b, _ in rows] if any(block.b for block in blocks) else (),
        cluster=[found[0][2] for found in rows.values()], value=value,
        weight=weight if any(block.weight is not None for block in blocks) else None,
    )  # fmt: skip
