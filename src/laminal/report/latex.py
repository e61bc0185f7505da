"""plots/table.tex: layer scores with their intervals, as a booktabs table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from laminal.atomic import write_text
from laminal.report import words
from laminal.report.selection import Checkpoint, Reading, checkpoints

COLUMNS = {"near_homophone": "near-homophones", "synonym": "synonyms", "synonym_core": "core synonyms"}
UNITS = {"phone_gain": "phone gain", "pnmi": "PNMI", "abx_across": "ABX error"}
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def write(folder: Path, scores: pd.DataFrame) -> list[Path]:
    """Write folder/plots/table.tex for the last checkpoint; nothing where there are no scores of layers."""
    points = checkpoints(scores)
    made = table(points[-1], str(scores["run"].iloc[0])) if points else ""
    if not made:
        return []
    path = folder / "plots" / "table.tex"
    write_text(path, made)
    return [path]


def table(point: Checkpoint, run: str) -> str:
    """Give the table of one checkpoint; empty where it has no scores of layers."""
    settings = [name for name in COLUMNS if point.layers("word_pairs", "over_random") and _any(point, "word_pairs", "over_random", name)]
    units = [name for name in UNITS if point.layers("units", name)]
    layers = sorted(
        {*point.layers("word_pairs", "over_random"), *(each for name in units for each in point.layers("units", name))}, key=int
    )
    if not layers or not settings + units:
        return ""
    heads = ["layer" if point.hidden else "codebooks", *(COLUMNS[name] for name in settings), *(UNITS[name] for name in units)]
    rows = []
    for layer in (["latent"] if settings and point.find("word_pairs", "over_random", settings[0], "latent") else []) + layers:
        pairs = [_share(point.find("word_pairs", "over_random", name, layer)) for name in settings]
        rows.append([layer, *pairs, *(_plain(point.find("units", name, layer=layer)) for name in units)])
    return _booktabs(heads, rows, _caption(point, run, settings))


def escaped(text: str) -> str:
    """Escape what is special in LaTeX."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _any(point: Checkpoint, probe: str, metric: str, setting: str) -> bool:
    return any(point.find(probe, metric, setting, layer) for layer in point.layers(probe, metric))


def _share(reading: Reading | None) -> str:
    if reading is None:
        return "--"
    numbers = f"{100 * reading.value:.1f} [{100 * reading.low:.1f}, {100 * reading.high:.1f}]".replace("-", "$-$")
    return numbers if words.told(reading) else rf"\textcolor{{gray}}{{{numbers}}}"


def _plain(reading: Reading | None) -> str:
    return "--" if reading is None else f"{reading.value:.3f} [{reading.low:.3f}, {reading.high:.3f}]".replace("-", "$-$")


def _caption(point: Checkpoint, run: str, settings: Sequence[str]) -> str:
    where = ", ".join(part for part in (escaped(run), point.label, escaped(str(point.table["corpus"].iloc[0]))) if part)
    said = (
        rf" Distances in \% over matched random pairs; grey: holds 0, half-width above {100 * words.NARROW:g} \%: cannot tell."
        if settings
        else ""
    )
    return rf"Scores by layer with 95 \% intervals ({where}).{said}"


def _booktabs(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{xcolor}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
