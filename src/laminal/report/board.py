"""What the sections of a page share: the corpora they speak of, the charts they add, the choices they offer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from laminal.report import charts, html
from laminal.report.frames import Points
from laminal.report.headlines import SETTINGS
from laminal.report.selection import DISTANCES, MODES, SLICES, TIERS

NAMES = {
    "split": "which of them",
    "kind": "against",
    "slice": "word features",
    "distance": "distance",
    "layer_mode": "layers",
    "corpus": "corpus",
    "at": "checkpoint",
    "metric": "number",
    "setting": "pairs of",
}
SAID = {
    "all": "all", "trained": "trained pairs", "new_pair": "new pairs of trained words", "new_word": "words new to training",
    "cross": "one word new to training", "audio": "each word cut and encoded alone", "features": "cut from the encoded utterance",
    "scaled": "euclidean over the layer's spread", "cumulative": "codebooks 1 to k", "single": "codebook k alone",
    "residual": "codebooks 2 to k", "over_random": "minus random, over random (%)", "mean": "mean", "minus_random": "minus random",
    "auc": "AUC against random",
} | SETTINGS  # fmt: skip
METRICS = ("over_random", "mean", "minus_random", "auc")
ORDER: dict[str, Sequence[str]] = {
    "split": TIERS,
    "slice": SLICES,
    "distance": DISTANCES,
    "layer_mode": MODES,
    "setting": tuple(SETTINGS),
    "metric": METRICS,
}


@dataclass(slots=True)
class Board:
    """What the sections have made so far."""

    corpora: Sequence[Points]
    tables: dict[str, Any] = field(default_factory=dict)
    drawn: list[dict[str, Any]] = field(default_factory=list)

    @property
    def axis(self) -> str:
        """Say what the layers of all corpora are, on the axis of a chart."""
        return next((point.axis for points in self.corpora for point in points.all if not point.hidden), "layer")

    def chart(
        self, section: str, table: str, spec: charts.Spec, derive: str, choose: Sequence[str] = (), where: dict[str, str] | None = None
    ) -> str:
        """Register a chart and give the place it is drawn in."""
        name = f"chart-{len(self.drawn)}"
        self.drawn.append(
            {"id": name, "section": section, "table": table, "spec": spec, "derive": derive, "choose": list(choose), "where": where or {}}
        )
        return f'<div class="chart" id="{name}"></div>'

    def choices(self, section: str, table: pd.DataFrame, names: Sequence[str], last: str = "") -> str:
        """Make the choices of a section from what its table holds."""
        made = []
        for name in names:
            found = [str(each) for each in table[name].unique()]
            order = [each for each in ORDER.get(name, ()) if each in found] + [each for each in found if each not in ORDER.get(name, ())]
            made.append(html.select(section, name, NAMES.get(name, name), {each: SAID.get(each, each) for each in order}, last or order[0]))
            last = ""
        return "".join(made)


def row(choices: str) -> str:
    """Put choices side by side."""
    return f'<div class="choices">{choices}</div>' if choices else ""
