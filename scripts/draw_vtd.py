"""Draw docs/vtd.png: the grid on a contour, and the distances over time with the phones (as the seed study's Fig. 1).

`python scripts/draw_vtd.py` (needs laminal[vocaltract]; minutes, or seconds where scripts/make_tract_table.py has filled the cache).
"""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from make_tract_table import SECONDS, SPEAKERS, TRACKS
from matplotlib import pyplot as plt

from laminal.corpora import vocal_tract as simulated
from laminal.measures.vtd import gridlines, mean_contour

OUT = Path(__file__).resolve().parents[1] / "docs" / "vtd.png"
SPAN = (0.15, 2.35)  # s shown
AT = 1.0  # s of the contour


def main() -> None:
    """Draw the first recording of the first voice."""
    corpus = simulated.vocal_tract(SPEAKERS, TRACKS, SECONDS)
    own = [each for each in corpus if each.speaker == corpus[0].speaker]
    frames = [outline for each in own for outline in simulated.outlines(each.path.with_suffix(".npz"))]
    grid = gridlines(mean_contour([each.lower[0] for each in frames]), mean_contour([each.upper[0] for each in frames]), simulated.REACH)
    utterance, tract = corpus[0], corpus.tracts[corpus[0].id]
    outline = frames[int(np.searchsorted(tract.times, AT))]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=[1, 2.3], layout="constrained")
    for number, line in enumerate(grid):
        shown = number % 20 == 0
        left.plot(*line.T, color="tab:orange" if shown else "0.8", lw=1.2 if shown else 0.6, zorder=1)
        if shown:
            left.annotate(str(number + 1), line[1], fontsize=8, color="tab:orange")
    left.plot(*outline.lower[0].T, color="tab:blue", lw=2, label="lower wall")
    left.plot(*outline.upper[0].T, color="tab:red", lw=2, label="upper wall")
    left.plot(*grid.mean(1).T, color="0.4", lw=0.8, label="midline of the mean walls")
    left.set(aspect="equal", title=f"120 gridlines on the walls at {AT:.2f} s", xlabel="mm", ylabel="mm")
    left.legend(fontsize=7, loc="lower right")
    shown = (tract.times >= SPAN[0]) & (tract.times <= SPAN[1])
    image = right.imshow(tract.vtd[shown].T, aspect="auto", extent=(*SPAN, 120.5, 0.5), cmap="viridis", vmin=0, vmax=30)
    figure.colorbar(image, ax=right, label="vocal-tract distance (mm)", pad=0.01)
    for phone in utterance.phones:
        if SPAN[0] <= phone.start and phone.end <= SPAN[1]:
            right.axvline(phone.start, color="white", lw=0.5)
            right.text((phone.start + phone.end) / 2, -1.5, phone.label, ha="center", fontsize=7)
    said = " ".join(word.label for word in utterance.words if word.end <= SPAN[1])
    right.set(xlabel=f"time (s): {said!r}", ylabel="gridline, from the lips to the larynx")
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
