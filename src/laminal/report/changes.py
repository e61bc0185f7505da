"""What changed since the first checkpoint, item by item: far sharper than two intervals side by side, for the items are the same."""

from pathlib import Path

import numpy as np
import pandas as pd

from laminal.compare import BY_PAIR, paired
from laminal.errors import RequestError
from laminal.report.headlines import SETTINGS
from laminal.results import Context, Results, item_blocks, read_items, read_table

TOLD = [name for name in SETTINGS if name not in ("same_word", "same_speaker")]  # settings of word pairs that a report has sentences for
BOUNDS = ["change_low", "change_high"]
JOINT = ["corpus", "step", *BY_PAIR, "metric"]


def scores_of(folder: Path) -> pd.DataFrame:
    """Scores of a folder, with the interval of each one's paired change since the first checkpoint where its items are kept.

    Two columns more than scores.parquet: change_low and change_high, NaN where there is no pair of items.
    Raises RequestError where the folder has no scores.
    """
    if not (folder / "scores.parquet").is_file():
        raise RequestError(f"report={folder}: no scores.parquet there; probe into it first: probe.py ckpt=PATH out={folder}")
    scores = read_table(folder / "scores.parquet")
    found = changes(folder / "items.parquet", scores)
    if found.empty:
        return scores.assign(change_low=np.nan, change_high=np.nan)
    return scores.merge(found, on=JOINT, how="left", validate="many_to_one")


def changes(path: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Give JOINT and BOUNDS of the last step against the first, for each corpus; empty where items are missing or are not the same."""
    rows: list[dict[str, object]] = []
    for corpus, group in scores.groupby("corpus", sort=True):
        first, last = group["step"].min(), group["step"].max()
        if first == last or group["run"].nunique() > 1 or not path.is_file():
            continue
        sides = [_results(path, str(corpus), int(step)) for step in (last, first)]
        if not all(side.items for side in sides):
            continue
        try:
            found = paired(sides[:1], sides[1:])
        except RequestError:  # probed with other sizes or seeds in between: the two intervals have to do
            continue
        rows += [
            {"corpus": corpus, "step": last, "change_low": each.low, "change_high": each.high}
            | {name: getattr(each, name) for name in JOINT if hasattr(each, name)}
            for each in found
        ]
    return pd.DataFrame(rows, columns=[*JOINT, *BOUNDS])


def _results(path: Path, corpus: str, step: int) -> Results:
    """Items of one step as the probes gave them; what no sentence speaks of is left out."""
    chosen = [("corpus", "=", corpus), ("step", "=", step), ("layer_mode", "in", ["cumulative", "single"])]
    table = read_items(path, chosen)
    words = table["probe"] == "word_pairs"
    table = table[~words | (table["layer_mode"] == "cumulative")]
    told = (table["probe"] != "word_pairs") | table["setting"].astype(str).str.removeprefix("random_for_").isin(TOLD)
    return Results(Context(run="", codec="", revision="", corpus=corpus, step=step), items=list(item_blocks(table[told])))
