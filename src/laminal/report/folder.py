"""Everything that a report leaves in a folder: the page, pictures and a LaTeX table for papers."""

from pathlib import Path

from laminal.report import latex, page, plots
from laminal.results import read_table


def write(folder: Path) -> Path:
    """Write report.html, plots/*.png and plots/table.tex of a run or result folder; returns the path of report.html.

    Raises RequestError where the folder has no scores.
    """
    made = page.write(folder)
    scores = read_table(folder / "scores.parquet")
    plots.write(folder, scores, page.metrics(folder / "metrics.csv"))
    latex.write(folder, scores)
    return made
