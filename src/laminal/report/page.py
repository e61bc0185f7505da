"""report.html of a folder of results: one file that opens anywhere, needs no account and loads nothing from outside."""

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from laminal.atomic import write_text
from laminal.report import html, listening, provenance, sections, words
from laminal.report.board import Board
from laminal.report.changes import scores_of
from laminal.report.frames import Points
from laminal.report.headlines import SETTINGS
from laminal.report.selection import checkpoints, corpora


def write(folder: Path) -> Path:
    """Write report.html of a run or result folder from its scores.parquet and whatever else is there; returns its path.

    Raises RequestError where the folder has no scores. The same folder gives the same bytes.
    """
    target = folder / "report.html"
    write_text(target, render(folder, scores_of(folder)))
    return target


def render(folder: Path, scores: pd.DataFrame) -> str:
    """Give the page as text."""
    board = Board([Points(name, checkpoints(scores, name)) for name in (corpora(scores) if len(scores) else [])])
    made = [build(board) for build in sections.SECTIONS]
    heard = listening.table(folder / "listening")
    made.append(html.section("listening", "Listening", heard))
    made.append(sections.training(board, metrics(folder / "metrics.csv")))
    made.append(provenance.section(folder, scores))
    data = {"tables": board.tables, "charts": board.drawn, "labels": SETTINGS, "narrow": words.NARROW}
    title = f"{run_name(folder, scores)}: sound and meaning, layer by layer"
    parts = {"title": html.text(title), "body": head(title, board, made) + "".join(made), "data": script_json(data)}
    return filled(resource("page.html"), parts | {"css": resource("page.css"), "js": resource("page.js"), "vega": vega()})


def head(title: str, board: Board, made: list[str]) -> str:
    """Make the title, what was probed, and links to the sections."""
    name, _, rest = title.partition(": ")
    facts = []
    for points in board.corpora:
        moments = [point.label for point in points.all if point.label]
        when = (
            f"{len(moments)} checkpoints, {moments[0]} to {moments[-1]}" if len(moments) > 1 else (moments[0] if moments else "no training")
        )
        rows = sum(len(point.table) for point in points.all)
        facts.append(f"{points.corpus or 'unnamed corpus'}: {when}; {rows:,} scores")
    links = re.findall(r'<section id="([^"]+)"><h2>(.*?)</h2>', "".join(made))
    nav = "".join(f'<a href="#{link}">{said}</a>' for link, said in links)
    said = ". ".join([rest, *facts])
    return f'<header><h1>{html.text(name)}</h1><p class="soft">{html.text(said)}.</p><nav>{nav}</nav></header>'


def run_name(folder: Path, scores: pd.DataFrame) -> str:
    """Name the run, the codec where there is no run, else the folder."""
    for column in ("run", "codec"):
        names = [name for name in dict.fromkeys(scores[column]) if name] if len(scores) else []
        if names:
            return ", ".join(map(str, names))
    return folder.resolve().name


def metrics(path: Path) -> list[dict[str, str]]:
    """Read the rows of metrics.csv; a line that a kill cut short is left out."""
    if not path.is_file():
        return []
    table = pd.read_csv(path, dtype=str, on_bad_lines="skip")
    names = ["epoch", "step", "name", "value"]
    return table[names].dropna().to_dict("records") if set(names) <= set(table.columns) else []


def script_json(value: object) -> str:
    """Write JSON that no content can end early: inside <script> only `<` matters to the parser of HTML."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Put the parts into the template in one pass: what is put in is not searched again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def resource(name: str) -> str:
    """Read a file of this shelf."""
    return importlib.resources.files("laminal.report").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def vega() -> str:
    """Bundle Vega, Vega-Lite and vega-embed into one script."""
    import vl_convert

    snippet = "window.vega = vega; window.vegaLite = vegaLite; window.vegaEmbed = vegaEmbed;"
    return str(vl_convert.javascript_bundle(snippet)).replace("</script", "<\\/script")
