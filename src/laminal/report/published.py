"""Ours laid over the published curves of the seed study, codec by codec, with what is known to be wrong with theirs beside."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from laminal.errors import RequestError
from laminal.report import charts, frames, html, page
from laminal.report.board import Board
from laminal.report.headlines import SETTINGS

KNOWN = {"seed001": "seed001_curves.json"}
OURS = {"audio": "ours, each word cut and encoded alone", "features": "ours, cut from the encoded utterance"}
THEIRS = "published"


def curves(name: str) -> dict[str, Any]:
    """Read published curves; raises RequestError for an unknown name."""
    if name not in KNOWN:
        raise RequestError(f"published={name}: known curves are {', '.join(KNOWN)}")
    held: dict[str, Any] = json.loads(page.resource(KNOWN[name]))
    return held


def table(held: Mapping[str, Any]) -> pd.DataFrame:
    """Give the published (mean - random) / random in %, by codec, setting and layer (k)."""
    rows = []
    for codec, sets in held["codecs"].items():
        for setting in [name for name in sets if name != "random"]:
            for k, (mean, random) in enumerate(zip(sets[setting]["mean"], sets["random"]["mean"], strict=True), start=1):
                rows.append((codec, setting, k, 100 * (mean - random) / random))
    return pd.DataFrame(rows, columns=["codec", "setting", "k", "value"])


def section(board: Board, scores: pd.DataFrame, runs: Sequence[str], manifest: Mapping[str, Any]) -> str:
    """Make the section; empty where the manifest asks for no published curves."""
    if not manifest.get("published"):
        return ""
    held = curves(str(manifest["published"]))
    theirs, ours = table(held), measured(scores)
    codecs = [*(run for run in runs if run in set(ours["codec"])), *(name for name in held["codecs"] if name not in runs)]
    both = pd.concat([theirs.assign(source=THEIRS, low=theirs["value"], high=theirs["value"], n=0), ours], ignore_index=True)
    both = both.assign(x=both["k"], layer=both["k"].astype(str))
    board.tables["published"] = frames.columns(both[["codec", "setting", "source", "x", "layer", *frames.NUMBERS, "n"]])
    made = []
    for setting in ("near_homophone", "synonym"):
        made.append(f"<h3>{html.text(SETTINGS[setting])}</h3>")
        cells = ""
        for codec in codecs:
            spec = charts.by_codec([THEIRS, *OURS.values()], "codebooks accumulated", 170, field="source") | {"title": codec}
            cells += board.chart("published", "published", spec, "plain", [], {"codec": codec, "setting": setting})
        made.append(f'<div class="grid">{cells}</div>')
    known = f"<h3>Known defects of the published numbers</h3>{html.listing(held['defects'])}"
    says = f"(mean - random) / random in %. Published: {held['source']}; {held['what']}."
    absent = [name for name in held["codecs"] if name not in set(ours["codec"])]
    missing = f"<p>Not measured here: {html.text(', '.join(absent))}. {_reasons(absent, manifest)}</p>" if absent else ""
    return html.section(
        "published",
        "Over the published curves",
        f'<p class="soft">{html.text(says)}</p>{missing}{_side_by_side(theirs, ours)}{"".join(made)}{known}',
    )


def _reasons(absent: Sequence[str], manifest: Mapping[str, Any]) -> str:
    reasons = manifest.get("missing_codecs") or {}
    return html.text(" ".join(f"{name}: {reasons[name]}." for name in absent if name in reasons))


def measured(scores: pd.DataFrame) -> pd.DataFrame:
    """Our over_random in %, mean over seeds, by codec, setting, slice and layer."""
    rows = scores[(scores["probe"] == "word_pairs") & (scores["metric"] == "over_random") & scores["layer"].str.isdigit()]
    rows = rows[rows["setting"].isin(["near_homophone", "synonym"]) & (rows["distance"] == "euclidean") & (rows["split"] == "all")]
    rows = rows[rows["layer_mode"] == "cumulative"]
    keys = ["run", "setting", "slice", "layer"]
    mean = rows.groupby(keys, sort=False, as_index=False).agg({name: "mean" for name in frames.NUMBERS} | {"n": "min"})
    for name in frames.NUMBERS:
        mean[name] = 100 * mean[name]
    mean = mean.assign(codec=mean["run"], source=mean["slice"].map(OURS), k=mean["layer"].astype(int))
    return mean[["codec", "setting", "source", "k", *frames.NUMBERS, "n"]]


def _side_by_side(theirs: pd.DataFrame, ours: pd.DataFrame) -> str:
    """Give first and last common layer in numbers, and whether the published one lies in our interval."""
    lines = []
    for (codec, setting, source), mine in ours.groupby(["codec", "setting", "source"], sort=False):
        of = theirs[(theirs["codec"] == codec) & (theirs["setting"] == setting)]
        if of.empty:
            continue
        both = mine.merge(of[["k", "value"]], on="k", suffixes=("", "_published")).sort_values("k")
        for each in [both.iloc[0], both.iloc[-1]]:
            inside = each["low"] <= each["value_published"] <= each["high"]
            numbers = f"{each['value']:+.1f} ({each['low']:+.1f} to {each['high']:+.1f})"
            said = "in our interval" if inside else "outside our interval"
            lines.append([codec, SETTINGS[str(setting)], source, int(each["k"]), f"{each['value_published']:+.1f}", numbers, said])
    heads = ["codec", "pairs", "how", "layer", "published, %", "ours, %", "the published number is"]
    return html.table(heads, lines)
