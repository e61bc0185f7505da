"""Everything that a report leaves in a folder: the page, pictures and a LaTeX table for papers."""

from pathlib import Path

from laminal.report import comparison, latex, page, plots
from laminal.results import read_table


def write(folder: Path) -> Path:
    """Write report.html, plots/*.png and plots/table.tex of a run or result folder; returns the path of report.html.

    A folder of codecs that were probed together gets the page that lays them side by side. Raises RequestError where the folder has no
    scores.
    """
    path = folder / "scores.parquet"
    if path.is_file() and comparison.asked(folder):
        return comparison.write(folder)
    made = page.write(folder)
    scores = read_table(path)
    plots.write(folder, scores, page.metrics(folder / "metrics.csv"))
    latex.write(folder, scores)
    return made
