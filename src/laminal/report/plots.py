"""Pictures for papers: plots/*.png of layer curves, articulation, text alignment, checkpoint by layer, codebook health and training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from laminal.atomic import replacing
from laminal.report import articulation, frames, text_alignment, words
from laminal.report.headlines import SETTINGS
from laminal.report.selection import Checkpoint, Reading, checkpoints
from laminal.results import layer_order

COLOURS = dict(zip(SETTINGS, ("#0067b1", "#d1650a", "#007d57", "#b5478f", "#7a6a00"), strict=True))
STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "axes.grid.axis": "y", "legend.frameon": False, "figure.dpi": 100, "savefig.dpi": 160, "svg.hashsalt": "laminal",
}  # fmt: skip


def write(folder: Path, scores: pd.DataFrame, training: Sequence[dict[str, str]] = ()) -> list[Path]:
    """Draw what there are scores of into folder/plots; returns the files, each replaced whole."""
    import matplotlib

    points = checkpoints(scores)
    made: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for name, draw in (BY_LAYER | {"layer_map": layer_map, "codebooks": codebooks}).items():
            made += _saved(folder / "plots" / f"{name}.png", draw, points) if points else []
        made += _saved(folder / "plots" / "training.png", training_curves, frames.training(training))
    return made


def write_by_layer(folder: Path, scores: pd.DataFrame) -> list[Path]:
    """Draw what shows each probing's layers (BY_LAYER) into folder/plots; returns the files."""
    import matplotlib

    points = checkpoints(scores)
    with matplotlib.rc_context(STYLE):
        return [path for name, draw in BY_LAYER.items() if points for path in _saved(folder / "plots" / f"{name}.png", draw, points)]


def layer_curves(points: Sequence[Checkpoint]) -> Any:
    """Mean distance above, minus random below, at the last checkpoint; band = interval, matched random grey; None without scores."""
    point = points[-1]
    layers = point.layers("word_pairs", "mean")
    usual = [each for name in SETTINGS for layer in layers[:1] if (each := point.find("word_pairs", "mean", setting=name, layer=layer))]
    if not usual:
        return None
    figure, axes = _figure(2, 1, (6.4, 6.0), sharex=True)
    for setting, name in SETTINGS.items():
        for axis, metric in zip(axes, ("mean", "minus_random")):
            found = [point.find("word_pairs", metric, setting=setting, layer=layer) for layer in layers]
            _band(axis, found, COLOURS[setting], name)
            latent = point.find("word_pairs", metric, setting=setting, layer="latent")
            if latent is not None:
                axis.plot(-1, latent.value, "o", markerfacecolor="#b5bcc4", markeredgecolor=COLOURS[setting])
        random = [point.find("word_pairs", "mean", setting=f"random_for_{setting}", layer=layer) for layer in layers]
        if all(random):
            axes[0].plot([each.value for each in random if each], color="#8a939d", linestyle="--", linewidth=0.8)
    axes[1].axhline(0, color="#8a939d", linewidth=0.8)
    axes[0].set(ylabel=f"mean {usual[0].distance} distance", title=point.label)
    axes[0].legend(fontsize=8, ncols=2)
    axes[1].set(ylabel="minus random", xlabel=point.axis)
    axes[1].set_xticks(range(-1, len(layers)), ["latent", *layers])
    return figure


def layer_map(points: Sequence[Checkpoint]) -> Any:
    """Near-homophones and core synonyms over random, checkpoint by layer; a dot where the interval holds 0, ? where it is too wide."""
    settings = [name for name in ("near_homophone", "synonym_core") if points[-1].find("word_pairs", "over_random", name, "1")]
    if not settings:
        return None
    layers = layer_order({"latent", *points[-1].layers("word_pairs", "over_random")})
    shown = frames.thinned(points)
    figure, axes = _figure(1, len(settings), (1.5 + len(settings) * (1.6 + 0.45 * len(shown)), 1.3 + 0.3 * len(layers)))
    for axis, setting in zip(np.atleast_1d(axes), settings):
        cells = [[point.find("word_pairs", "over_random", setting, layer) for point in shown] for layer in layers]
        values = np.array([[100 * each.value if each and words.told(each) else np.nan for each in row] for row in cells])
        most = max(100 * words.NARROW, float(np.abs(values[np.isfinite(values)]).max(initial=0)))
        drawn = axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        for row, of in enumerate(cells):
            for column, each in enumerate(of):
                axis.text(column, row, _cell(each), ha="center", va="center", fontsize=7, color=_ink(each, most))
        axis.grid(False)
        axis.set_yticks(range(len(layers)), layers)
        axis.set_xticks(range(len(shown)), [point.label.removeprefix("epoch ") for point in shown])
        axis.set(title=SETTINGS[setting], xlabel="epoch" if shown[0].label.startswith("epoch") else "checkpoint")
        figure.colorbar(drawn, ax=axis, label="% over random")
    return figure


def codebooks(points: Sequence[Checkpoint]) -> Any:
    """Share of codes used and perplexity of each codebook; the first checkpoint grey."""
    layers = points[-1].layers("units", "perplexity")
    if not layers:
        return None
    figure, axes = _figure(1, 2, (7.2, 2.8))
    for axis, metric, name in zip(axes, ("usage", "perplexity"), ("share of codes used", "perplexity")):
        for point, colour in ((points[0], "#8a939d"), (points[-1], "#0067b1")) if len(points) > 1 else ((points[-1], "#0067b1"),):
            found = [point.find("units", metric, layer=layer) for layer in layers]
            _band(axis, found, colour, point.label)
        axis.set(title=name, xlabel="codebook", ylim=(0, None))
        axis.set_xticks(range(len(layers)), layers)
    if points[-1].label:
        axes[1].legend(fontsize=8)
    return figure


def articulated(points: Sequence[Checkpoint]) -> Any:
    """Held-out PWCCA with the tract at the last checkpoint, the band of its circular shifts (grey), baselines without layers dashed."""
    point = points[-1]
    probe, metric = articulation.PROBE, articulation.METRIC
    layers = [name for name in ("latent", *point.layers(probe, metric)) if point.find(probe, metric, layer=name)]
    if not layers:
        return None
    figure, axis = _figure(1, 1, (6.4, 3.4))
    band = [(place, each) for place, name in enumerate(layers) if (each := point.find(probe, "null", layer=name))]
    low, high = [each.low for _, each in band], [each.high for _, each in band]
    axis.fill_between([place for place, _ in band], low, high, color="#8a939d", alpha=0.35, linewidth=0, label="circular shifts (95 %)")
    named = {"": articulation.CODEC, **articulation.BESIDE}
    for colour, (setting, label) in zip(COLOURS.values(), named.items()):
        _band(axis, [point.find(probe, metric, setting, name) for name in layers], colour, label)
    for colour, (setting, label) in zip(("#b5478f", "#7a6a00"), articulation.FLAT.items()):
        level = point.find(probe, metric, setting)
        if level is not None:
            axis.axhline(level.value, color=colour, linestyle="--", linewidth=0.8, label=label)
    axis.set(ylabel="held-out PWCCA", xlabel=point.axis)
    every = 1 + len(layers) // 24  # names of 46 codebooks would lie on each other
    axis.set_xticks(range(0, len(layers), every), layers[::every])
    axis.legend(fontsize=7, ncols=2, title=point.label or None, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def aligned(points: Sequence[Checkpoint]) -> Any:
    """CKA with the text space at the last checkpoint, its null of permutations (grey) and what stands in the place of speech (dashes)."""
    point = points[-1]
    layers = [name for name in ("latent", *point.layers("text_alignment", "cka")) if point.find("text_alignment", "cka", "text", name)]
    if not layers:
        return None
    figure, axis = _figure(1, 1, (6.4, 3.4))
    for metric, alpha in (("null_by_length", 0.15), ("null", 0.35)):
        band = [(place, each) for place, name in enumerate(layers) if (each := point.find("text_alignment", metric, "text", name))]
        low, high = [each.low for _, each in band], [each.high for _, each in band]
        axis.fill_between([place for place, _ in band], low, high, color="#8a939d", alpha=alpha, linewidth=0)
    for colour, (label, (setting, metric)) in zip(COLOURS.values(), text_alignment.LINES.items()):
        _band(axis, [point.find("text_alignment", metric, setting, name) for name in layers], colour, label)
    for colour, (label, (setting, metric)) in zip(("#b5478f", "#7a6a00"), text_alignment.LEVELS.items()):
        level = point.find("text_alignment", metric, setting)
        if level is not None:
            axis.axhline(level.value, color=colour, linestyle="--", linewidth=0.8, label=label)
    axis.set(ylabel=f"debiased CKA with {text_alignment.space_name(point)}", xlabel=point.axis)
    axis.set_xticks(range(len(layers)), layers)
    axis.legend(fontsize=7, ncols=2, title=point.label or None, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


BY_LAYER: dict[str, Callable[[Any], Any]] = {"layer_curves": layer_curves, "articulation": articulated, "text_alignment": aligned}


def training_curves(table: pd.DataFrame) -> Any:
    """Every training number by generator step."""
    charts = sorted(set(table["chart"])) if len(table) else []
    if not charts:
        return None
    rows = -(-len(charts) // 3)
    figure, axes = _figure(rows, 3, (9.6, 0.4 + 1.9 * rows))
    for axis, name in zip(np.ravel(axes), charts):
        lines = table[table["chart"] == name]
        for series, line in lines.groupby("series", sort=True):
            axis.plot(line["step"], line["value"], linewidth=1, label=str(series))
        axis.set_title(name, fontsize=9)
        if lines["series"].nunique() > 1:
            axis.legend(fontsize=6, ncols=2)
    for axis in np.ravel(axes)[len(charts) :]:
        axis.set_axis_off()
    return figure


def _figure(rows: int, columns: int, size: tuple[float, float], **facts: Any) -> Any:
    """Make a figure of its own, without pyplot: nothing global changes in a training."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **facts)


def _saved(path: Path, draw: Callable[[Any], Any], given: Any) -> list[Path]:
    figure = draw(given)
    if figure is None:
        return []
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    return [path]


def _band(axis: Any, found: Sequence[Reading | None], colour: str, name: str) -> None:
    kept = [(place, each) for place, each in enumerate(found) if each is not None]
    if kept:
        places = [place for place, _ in kept]
        axis.fill_between(places, [each.low for _, each in kept], [each.high for _, each in kept], color=colour, alpha=0.18, linewidth=0)
        axis.plot(places, [each.value for _, each in kept], "o-", color=colour, markersize=3, label=name)


def _ink(reading: Reading | None, most: float) -> str:
    return "white" if reading is not None and words.told(reading) and abs(100 * reading.value) > 0.6 * most else "black"


def _cell(reading: Reading | None) -> str:
    if reading is None:
        return ""
    side = words.side(reading)
    return "?" if side is None else "·" if side == 0 else f"{100 * reading.value:.1f}"
