"""report.html of several codecs on the same items: all curves in one chart, numbers side by side, paired differences, one page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from laminal.atomic import write_text
from laminal.compare import FEWEST_SPEAKERS, SURE
from laminal.report import charts, frames, html, page, provenance, published, tasks, words
from laminal.report.board import METRICS, Board, row
from laminal.report.headlines import RECONSTRUCTION, SETTINGS, UNITS
from laminal.report.selection import Checkpoint, checkpoints, corpora
from laminal.report.sentences import layer_sentence
from laminal.results import read_table

ALIGNED = ("cka", "beyond_form")  # of text_alignment, in the small charts
CHOICES = ["metric", "setting", "split", "slice", "distance", "corpus", "kind"]
SCALE_FREE = (
    "The codecs differ in dimensions, scale, frame rate and number of codebooks. A distance over that of random pairs in the same layer "
    "has no unit, so it can be held side by side; plain distances can only where the distance is scale-free (euclidean over the layer's "
    "spread, or cosine). Layer k of one codec is not layer k of another: choose what to draw them over."
)


def asked(folder: Path) -> bool:
    """Whether the folder holds codecs that were probed to be laid side by side."""
    return bool(provenance.read_manifest(folder).get("order"))


def write(folder: Path) -> Path:
    """Write report.html and plots/comparison.png from scores.parquet, comparison.parquet and the manifest; returns report.html."""
    scores = read_table(folder / "scores.parquet")
    manifest = provenance.read_manifest(folder)
    target = folder / "report.html"
    write_text(target, render(folder, scores, manifest))
    _plot(folder, scores, runs_of(scores, manifest))
    return target


def render(folder: Path, scores: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """Give the page as text."""
    runs = runs_of(scores, manifest)
    scores = scores[scores["run"].isin(runs)]
    points = points_of(scores, runs)
    compared = read_table(folder / "comparison.parquet") if (folder / "comparison.parquet").is_file() else pd.DataFrame()
    board = Board([])
    made = [
        _said(points, manifest, compared), _curves(board, scores, runs, manifest), _numbers(points, manifest), tasks.side_by_side(points),
        _differences(compared),
        published.section(board, scores, runs, manifest), _others(board, scores, runs), provenance.section(folder, scores),
    ]  # fmt: skip
    data = {"tables": board.tables, "charts": board.drawn, "labels": SETTINGS, "narrow": words.NARROW}
    title = f"{', '.join(runs)}: side by side, layer by layer"
    parts = {"title": html.text(title), "body": page.head(title, board, made) + "".join(made), "data": page.script_json(data)}
    return page.filled(
        page.resource("page.html"), parts | {"css": page.resource("page.css"), "js": page.resource("page.js"), "vega": page.vega()}
    )


def runs_of(scores: pd.DataFrame, manifest: Mapping[str, Any]) -> list[str]:
    """Give the codecs in the order in which they were asked for; others of the folder after them."""
    there = list(dict.fromkeys(scores["run"]))
    asked = [run for run in manifest.get("order", []) if run in there]
    return [*asked, *(run for run in there if run not in asked)]


def facts_of(run: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Rates and sizes of a codec, as the manifest keeps them; empty where it does not."""
    for name, each in manifest.items():
        if name.startswith("probing/") and name.endswith(f"/{run}") and isinstance(each, dict):
            return dict(each.get("codec") or {})
    return {}


def sentences(points: Mapping[str, Checkpoint]) -> list[str]:
    """Say of each codec what its first and last codebook are like, as far as the intervals go."""
    lines = []
    for run, point in points.items():
        layers = point.layers("word_pairs", "over_random")
        for layer in dict.fromkeys([*layers[:1], *layers[-1:]]):
            sentence = layer_sentence(point, layer)
            lines += [f"{run}: {sentence}"] if sentence else []
        lines += [f"{run}: {sentence}" for sentence in tasks.said(point)]
    return lines


def points_of(scores: pd.DataFrame, runs: Sequence[str]) -> dict[str, Checkpoint]:
    """Give the last checkpoint of each run on the corpus with most scores."""
    found = {run: checkpoints(scores[scores["run"] == run], corpora(scores)[0]) for run in runs} if len(scores) else {}
    return {run: each[-1] for run, each in found.items() if each}


def _said(points: Mapping[str, Checkpoint], manifest: Mapping[str, Any], compared: pd.DataFrame) -> str:
    lines = sentences(points)
    lines += [f"{name} is missing: {reason}" for name, reason in (manifest.get("missing_codecs") or {}).items()]
    if len(compared):
        first = compared["run_b"].iloc[0]
        lines.append(f"Differences below are from {first}, paired by item; p is corrected (Holm) over the layers of a setting.")
    return html.section("headlines", "What the numbers say", html.listing(lines))


def _curves(board: Board, scores: pd.DataFrame, runs: Sequence[str], manifest: Mapping[str, Any]) -> str:
    table = curves(scores, runs, manifest)
    if table.empty:
        return ""
    board.tables["codecs"] = frames.columns(table)
    names = [name for name in CHOICES if table[name].nunique() > 1]
    fixed = {name: str(table[name].iloc[0]) for name in CHOICES if name not in names}
    choices = row("".join(board.choices("codecs", table, [name], _first(name, table)) for name in names))
    chart = board.chart("codecs", "codecs", charts.by_codec(list(runs), "@kind", 320), "plain", CHOICES, fixed)
    says = f'<p class="soft">{html.text(SCALE_FREE)} Bands are 95 % intervals over word types.</p>'
    return html.section("curves", "All curves", f"{says}{choices}{chart}")


def _first(name: str, table: pd.DataFrame) -> str:
    wanted = {"metric": "over_random", "setting": "near_homophone", "distance": "scaled", "kind": "codebooks"}.get(name, "")
    return wanted if wanted in set(table[name]) else ""


def curves(scores: pd.DataFrame, runs: Sequence[str], manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Numbered layers of every codec over each axis; several seeds as their mean, with the mean of their bounds."""
    rows = scores[(scores["probe"] == "word_pairs") & scores["metric"].isin(METRICS) & scores["layer"].str.isdigit()]
    rows = rows[rows["setting"].isin(list(SETTINGS))]
    if rows.empty:
        return pd.DataFrame(columns=[*CHOICES, "run", "x", "layer", *frames.NUMBERS, "n"])
    rows = over_seeds(rows)
    share = rows["metric"] == "over_random"
    for name in frames.NUMBERS:
        rows.loc[share, name] = 100 * rows.loc[share, name]
    made = []
    for run in runs:
        here, facts = rows[rows["run"] == run], facts_of(run, manifest)
        number = here["layer"].astype(int)
        bits = facts.get("frame_rate", math.nan) * math.log2(max(facts.get("codebook_size", 1), 1)) / 1000 or math.nan
        xs = {"codebooks": number, "kbit/s": number * bits, "share of layers, %": 100 * number / number.max()}
        made += [here.assign(kind=kind, x=x) for kind, x in xs.items() if x.notna().all()]
    table = pd.concat(made, ignore_index=True)
    return table[[*CHOICES, "run", "x", "layer", *frames.NUMBERS, "n"]]


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average value and bounds over seeds; other columns that matter stay apart."""
    keys = ["run", "metric", "setting", "corpus", "split", "slice", "distance", "layer_mode", "layer"]
    rows = rows[rows["layer_mode"].isin(["cumulative", ""])]
    return rows.groupby(keys, sort=False, as_index=False)[[*frames.NUMBERS, "n"]].agg(
        {name: "mean" for name in frames.NUMBERS} | {"n": "min"}
    )


def _numbers(points: Mapping[str, Checkpoint], manifest: Mapping[str, Any]) -> str:
    """One row a codec and end: rates, then each setting over random."""
    settings = [
        name for name in SETTINGS if any(point.find("word_pairs", "over_random", name, "1") is not None for point in points.values())
    ]
    units = [name for name in UNITS if any(point.layers("units", name) for point in points.values())]
    speech = [name for name in RECONSTRUCTION if any(point.layers("reconstruction", name) for point in points.values())]
    rows = []
    for run, point in points.items():
        facts = facts_of(run, manifest)
        rate = f"{facts['frame_rate']:g} Hz x {facts['codebooks']}" if facts else ""
        layers = sorted({layer for probe in ("word_pairs", "units", "reconstruction") for layer in point.layers(probe)}, key=int)
        for layer in ["latent", *dict.fromkeys([*layers[:1], *layers[-1:]])]:
            pairs = [point.find("word_pairs", "over_random", name, layer) for name in settings]
            heard = [point.find("units", name, layer=layer) for name in units] + [
                point.find("reconstruction", name, layer=layer) for name in speech
            ]
            if not any(each is not None for each in (*pairs, *heard)):
                continue
            cells = [f"{100 * r.value:+.1f} ({100 * r.low:+.1f} to {100 * r.high:+.1f})" if r else "" for r in pairs]
            cells += [f"{words.number(r.value)} ({words.between(r)})" if r else "" for r in heard]
            rows.append([run, rate, point.named(layer), *cells])
    heads = ["codec", "rate", "layer", *(f"{SETTINGS[name]}, % over random" for name in settings), *(UNITS[name] for name in units)]
    heads += [RECONSTRUCTION[name] for name in speech]
    return html.section("numbers", "First and last layer", html.table(heads, rows))


def _differences(compared: pd.DataFrame) -> str:
    """Give the paired differences of every layer: word pairs by setting, then whatever else has items."""
    if compared.empty:
        return ""
    made = []
    for (a, b), rows in compared.groupby(["run_a", "run_b"], sort=False):
        lines = []
        for each in rows.to_dict("records"):
            share = each["probe"] == "word_pairs"
            if share and each.get("layer_mode", "cumulative") != "cumulative":
                continue
            which = f"{each['split']}, seed {each['seed']}" if each.get("seed") else each["split"]
            scale = 100 if share else 1
            numbers = [f"{scale * each[name]:+.3g}" for name in ("a", "b", "difference")]
            between = f"{scale * each['low']:+.3g} to {scale * each['high']:+.3g}"
            what = SETTINGS.get(each["setting"], each["setting"]) if share else each["metric"]
            lines.append([what, which, each["slice"], each["layer"], *numbers, between, f"{each['p']:.3f}", each["n"], _told(each)])
        heads = ["", "which", "slice", "layer", str(a), str(b), "difference", "interval", "p", "n", "in words"]
        made.append(html.folded(f"{a} against {b} ({len(lines)} comparisons; word pairs in % of random)", html.table(heads, lines)))
    says = "The same items on both sides; word types (or speakers) resampled by one draw for both; p corrected over layers."
    says = f'<p class="soft">{says}</p>'
    return html.section("differences", "Paired differences", says + "".join(made))


def _told(each: Mapping[str, Any]) -> str:
    zero = each["low"] <= 0 <= each["high"] or each["p"] >= SURE
    half = (each["high"] - each["low"]) / 2
    if not math.isfinite(half):
        return f"cannot tell: {each['clusters']} speakers"
    if zero and each["probe"] == "word_pairs" and half > words.NARROW:
        return f"cannot tell: half-width {words.percent(half)}"
    if each["probe"] == "articulation" and each["clusters"] < FEWEST_SPEAKERS:
        return f"cannot tell: {each['clusters']} speakers"
    return "no difference found" if zero else "higher" if each["difference"] > 0 else "lower"


def _others(board: Board, scores: pd.DataFrame, runs: Sequence[str]) -> str:
    """Make a small chart for every layered metric of the other probes."""
    rows = scores[(scores["probe"] != "word_pairs") & scores["layer"].str.isdigit() & (scores["split"] == "all")]
    rows = rows[rows["corpus"] == corpora(scores)[0]] if len(rows) else rows
    tracts = rows["probe"] == "articulation"
    rows = rows[~tracts | ((rows["metric"] == "heldout_pwcca") & (rows["setting"] == "") & (rows["layer_mode"] == "cumulative"))]
    aligned = rows["probe"] == "text_alignment"
    rows = rows[~aligned | ((rows["setting"] == "text") & rows["metric"].isin(ALIGNED) & (rows["layer_mode"] == "cumulative"))]
    rows = rows[(rows["probe"] != "text_alignment") | (rows["slice"] == ("audio" if "audio" in set(rows["slice"]) else "features"))]
    rows = rows[~rows["probe"].isin(tasks.PROBES) | ((rows["layer_mode"] == "cumulative") & (rows["distance"] == ""))]
    if rows.empty:
        return ""
    table = rows.assign(x=rows["layer"].astype(float))[["probe", "metric", "setting", "run", "x", "layer", *frames.NUMBERS, "n"]]
    board.tables["others"] = frames.columns(table)
    made = []
    for probe, metric, setting in dict.fromkeys(zip(table["probe"], table["metric"], table["setting"])):
        label = tasks.label(probe, metric) or (UNITS | RECONSTRUCTION).get(metric, str(metric))
        title = ", ".join(part for part in (label, setting) if part)
        spec = charts.by_codec(list(runs), "codebook" if probe == "units" else "codebooks", 150) | {"title": title}
        made.append(board.chart("others", "others", spec, "plain", [], {"probe": probe, "metric": metric, "setting": setting}))
    return html.section("others", "Units, rebuilt speech and tasks", f'<div class="grid">{"".join(made)}</div>')


def _plot(folder: Path, scores: pd.DataFrame, runs: Sequence[str]) -> None:
    """Draw near-homophones and synonyms over random of all codecs into plots/comparison.png."""
    import matplotlib

    from laminal.atomic import replacing
    from laminal.report import plots

    rows = scores[(scores["probe"] == "word_pairs") & (scores["metric"] == "over_random") & scores["layer"].str.isdigit()]
    rows = rows[(rows["split"] == "all") & rows["distance"].isin(["euclidean", ""])]
    if rows.empty:
        return
    rows = over_seeds(rows[rows["slice"] == ("audio" if "audio" in set(rows["slice"]) else rows["slice"].iloc[0])])
    settings = [name for name in SETTINGS if name in set(rows["setting"])]
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots._figure(len(settings), 1, (6.4, 1.0 + 2.0 * len(settings)), sharex=True, squeeze=False)
        for axis, setting in zip(axes[:, 0], settings):
            for place, run in enumerate(runs):
                here = rows[(rows["run"] == run) & (rows["setting"] == setting)]
                here = here.assign(k=here["layer"].astype(int)).sort_values("k")
                axis.fill_between(here["k"], 100 * here["low"], 100 * here["high"], color=f"C{place}", alpha=0.15, linewidth=0)
                axis.plot(here["k"], 100 * here["value"], "o-", color=f"C{place}", markersize=2.5, label=run)
            axis.axhline(0, color="#8a939d", linewidth=0.8)
            axis.set(ylabel="% over random", title=SETTINGS[setting])
        axes[0, 0].legend(fontsize=8, ncols=3)
        axes[-1, 0].set(xlabel="codebooks accumulated")
        with replacing(folder / "plots" / "comparison.png") as temporary:
            figure.savefig(temporary, metadata={"Software": None})
