"""All runs of a folder on one sortable page: the headline numbers of each one's last checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from laminal.atomic import write_text
from laminal.errors import RequestError
from laminal.report import html, page, words
from laminal.report.headlines import RECONSTRUCTION, SETTINGS, UNITS
from laminal.report.selection import Checkpoint, Reading, checkpoints, corpora
from laminal.results import read_table

PAIRS = ("near_homophone", "synonym", "synonym_core")
SORT = """
"use strict";
for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("th").forEach((head, column) => {
    head.style.cursor = "pointer";
    head.addEventListener("click", () => {
      const up = head.dataset.sorted !== "up";
      table.querySelectorAll("th").forEach((each) => { delete each.dataset.sorted; });
      head.dataset.sorted = up ? "up" : "down";
      const read = (row) => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [read(a), read(b)], [m, n] = [parseFloat(x), parseFloat(y)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
"""


def write(folder: Path) -> Path:
    """Write leaderboard.html of the runs in `folder`; raises RequestError where there are none with scores."""
    found = sorted(path.parent for path in folder.glob("*/scores.parquet"))
    if not found:
        raise RequestError(f"leaderboard={folder}: no <run>/scores.parquet there; give the folder of the runs, as checkpoints")
    tables = {path.name: read_table(path / "scores.parquet") for path in found}
    target = folder / "leaderboard.html"
    write_text(target, render(tables))
    return target


def render(tables: dict[str, pd.DataFrame]) -> str:
    """Give the page: a table a corpus, a row a run (or a codec of a folder that holds several)."""
    points: dict[str, list[tuple[str, Checkpoint]]] = {}
    for place, table in tables.items():
        for run, scores in table.groupby("run", sort=False):
            for corpus in corpora(scores):
                name = str(run) if str(run) == place else f"{place}: {run}"
                points.setdefault(corpus, []).append((name, checkpoints(scores, corpus)[-1]))
    made = [html.section(f"corpus-{number}", f"On {corpus}", _table(each)) for number, (corpus, each) in enumerate(sorted(points.items()))]
    says = (
        "The last checkpoint of every run; click a heading to sort. Layers of a tokenizer add up its codebooks, those of an encoder "
        "are its hidden states. Distances are in % over random (lower is closer), ± half the 95 % "
        f"interval; where that holds 0 and is more than {100 * words.NARROW:g} %, nothing can be told. "
        "Runs of other corpora or sizes cannot be held against each other; probe.py ckpt=A against=B compares two item by item."
    )
    body = f'<header><h1>{html.text("All runs")}</h1><p class="soft">{html.text(says)}</p></header>{"".join(made)}'
    data = page.script_json({"tables": {}, "charts": [], "labels": {}, "narrow": words.NARROW})
    parts = {"title": "All runs", "body": body, "data": data, "css": page.resource("page.css"), "js": SORT, "vega": ""}
    return page.filled(page.resource("page.html"), parts)


def _table(points: Sequence[tuple[str, Checkpoint]]) -> str:
    heads, columns = ["run", "checkpoint"], []
    for setting in PAIRS:
        for end, name in ((0, "first layer"), (-1, "last")):
            heads.append(f"{SETTINGS[setting]}, {name}")
            columns.append(("word_pairs", "over_random", setting, end, 100.0))
    for probe, names in (("units", UNITS), ("reconstruction", RECONSTRUCTION)):
        for metric, name in names.items():
            heads.append(f"{name}, {'first layer' if probe == 'units' else 'all codebooks'}")
            columns.append((probe, metric, "", 0 if probe == "units" else -1, 1.0))
    rows = [[name, point.label, *(_cell(_reading(point, *column[:4]), column[4]) for column in columns)] for name, point in points]
    kept = [place for place in range(len(heads)) if place < 2 or any(row[place] for row in rows)]
    return html.table([heads[place] for place in kept], [[row[place] for place in kept] for row in rows])


def _reading(point: Checkpoint, probe: str, metric: str, setting: str, end: int) -> Reading | None:
    layers = [layer for layer in point.layers(probe, metric) if point.find(probe, metric, setting, layer) is not None]
    return point.find(probe, metric, setting, layers[end]) if layers else None


def _cell(reading: Reading | None, scale: float) -> str:
    if reading is None or reading.value != reading.value:
        return ""
    half = scale * reading.half_width
    return f"{scale * reading.value:.3g}" + (f" ± {half:.2g}" if half == half else "")
