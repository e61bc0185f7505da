"""Markdown table of runs, first against last checkpoint: python scripts/runs_table.py checkpoints/RUN [checkpoints/RUN ...]."""

import sys
from pathlib import Path

import pandas as pd

from laminal.report import changes

ROWS = (  # probe, metric, layer, decimals
    ("reconstruction", "mel_distance", "8", 2),
    ("reconstruction", "mel_distance", "1", 2),
    ("reconstruction", "stoi", "8", 3),
    ("reconstruction", "stoi", "1", 3),
    ("reconstruction", "estoi", "8", 3),
    ("reconstruction", "pesq", "8", 3),
    ("units", "phone_gain", "1", 3),
    ("units", "pnmi", "1", 3),
    ("units", "abx_across", "1", 3),
    ("units", "perplexity", "1", 0),
)


def cell(scores: pd.DataFrame, probe: str, metric: str, layer: str, decimals: int) -> str:
    """First -> last (chance of the last); a star where the paired change is beyond its interval."""
    rows = scores[(scores.probe == probe) & (scores.metric == metric) & (scores.layer == layer)]
    if rows.empty:
        return ""
    first, last = rows[rows.step == rows.step.min()].iloc[0], rows[rows.step == rows.step.max()].iloc[0]
    star = " *" if last.change_low > 0 or last.change_high < 0 else ""
    chance = f" ({last.chance:.{decimals}f})" if pd.notna(last.chance) else ""
    return f"{first.value:.{decimals}f} -> {last.value:.{decimals}f}{chance}{star}"


def main(runs: list[Path]) -> None:
    """Print the table."""
    scores = [changes.scores_of(run) for run in runs]
    print("| | " + " | ".join(run.name for run in runs) + " |")
    print("|---|" + "---|" * len(runs))
    for probe, metric, layer, decimals in ROWS:
        print(f"| {metric}, {layer} | " + " | ".join(cell(each, probe, metric, layer, decimals) for each in scores) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main([Path(word) for word in sys.argv[1:]])
