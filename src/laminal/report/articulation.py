"""Articulation on the page: held-out PWCCA by layer with the null's band and the baselines, by lag, and what it says in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from laminal.compare import FEWEST_SPEAKERS
from laminal.report import charts, frames, html, words
from laminal.report.board import Board, row
from laminal.report.frames import Points
from laminal.report.selection import Checkpoint, Reading, layer_name
from laminal.results import layer_order

PROBE, METRIC = "articulation", "heldout_pwcca"
FLAT = {"log_mel": "log-mel", "f0_energy": "pitch and energy"}
BESIDE = {"random_codebook": "random codebooks of the same size", "random_codes": "random codes"}
CODEC, REST = "layers", "without the semantic codebook"
SIZE = "vocal-tract correlation (held-out PWCCA)"
SIMULATED = ("tract_table", "vocal_tract")  # corpora whose tracts a synthesiser moved


@dataclass(frozen=True, slots=True)
class Ground:
    """What was measured on, which need not be the corpus of the other probes; 0 and "" where the table does not say."""

    corpus: str
    tracks: int
    seconds: float
    speakers: int
    codebooks: int | None

    @property
    def simulated(self) -> str:
        """Say so."""
        return " (simulated tracts)" if self.corpus in SIMULATED else ""

    @property
    def enough(self) -> bool:
        """Whether there are speakers enough for intervals to say something."""
        return self.speakers >= FEWEST_SPEAKERS

    @property
    def accumulated(self) -> bool:
        """Whether layers are sums of codebooks; those of an encoder without codes are its depths."""
        return self.codebooks != 0


def ground(point: Checkpoint) -> Ground:
    """Read the facts of a probing."""
    books = point.find(PROBE, "codebooks")
    for r in _rows(point, "seconds_of_tract").itertuples():
        return Ground(str(r.setting), int(r.n), float(r.value), int(r.clusters), None if books is None else int(books.value))
    return Ground("", 0, 0.0, 0, None if books is None else int(books.value))


def on(board: Board) -> list[tuple[str, Points]]:
    """Corpora of tracts with the probings on them: one that several corpora were probed beside counts once."""
    found: dict[str, Points] = {}
    for points in board.corpora:
        if not _rows(points.all[-1], METRIC).empty:
            found.setdefault(ground(points.all[-1]).corpus or points.corpus, points)
    return list(found.items())


def section(board: Board) -> str:
    """Curves over layers and lags, sentences, and all numbers."""
    curves, lags = by_layer(board), by_lag(board)
    if curves.empty:
        return ""
    board.tables[PROBE] = frames.columns(curves)
    grounds = [ground(points.all[-1]) for _, points in on(board)]
    made = [html.listing([line[:1].upper() + line[1:] for _, points in on(board) for line in said(points.all[-1])])]
    chosen = row(board.choices(PROBE, curves, ["corpus"]))
    accumulated = all(each.accumulated for each in grounds)
    made.append(chosen + board.chart(PROBE, PROBE, layer_chart(layer_order(curves["layer"]), accumulated), "plain", ["corpus"]))
    if not lags.empty:
        board.tables["articulation_lag"] = frames.columns(lags)
        names = list(dict.fromkeys(lags["run"]))
        title = "lag of the tract behind the frame (ms)"
        made.append(board.chart(PROBE, "articulation_lag", charts.by_codec(names, title, 170), "plain", ["corpus"]))
    over = "recordings where there is one speaker" if any(each.speakers == 1 for each in grounds) else "speakers"
    says = (
        "Weighted mean correlation of each layer with the principal axes of the distances across the vocal tract, fitted on four fifths of "
        f"the recordings and taken on the rest: 0 if the layer gives nothing, 1 if it gives all {_axes(board)}axes; one with fewer axes "
        "than the tract cannot reach 1. Values depend on the frame rate and on how many recordings there are: hold against each other only "
        "what was measured on the same ones, and codecs of other frame rates by their difference from log-mel. Last checkpoint in colour, "
        "first in grey; the shaded band is what circular shifts in time give (95 %), dashed lines are baselines without layers, bars are "
        f"95 % intervals over {over}."
    )
    made.append(f'<p class="soft">{says}</p>')
    made.append(numbers(board))
    return html.section("articulation", "Articulation by layer", "".join(made))


def by_layer(board: Board) -> pd.DataFrame:
    """Rows of the curves: the codec, without its semantic codebook, random codebooks, and baselines repeated at every layer."""
    found = []
    for corpus, points in on(board):
        for when, point in points.ends.items():
            table = _rows(point, METRIC)
            null = {(r.setting, r.layer, r.layer_mode): r for r in _rows(point, "null").itertuples()}
            layers = layer_order(layer for layer, setting in zip(table["layer"], table["setting"]) if not setting)
            for r in table.itertuples():
                at = null.get((r.setting, r.layer, r.layer_mode))
                what = FLAT.get(r.setting) or BESIDE.get(r.setting) or (REST if r.layer_mode == "residual" else CODEC)
                for layer in layers if r.setting in FLAT else [r.layer]:
                    band = (at.low, at.high) if at is not None and what == CODEC else (None, None)
                    found.append((corpus, when, point.label or "as it is", what, layer, r.value, r.low, r.high, *band, r.n))
    columns = ["corpus", "when", "at", "what", "layer", *frames.NUMBERS, "null_low", "null_high", "n"]
    made = pd.DataFrame(found, columns=columns)
    return made.astype({"null_low": float, "null_high": float})


def by_lag(board: Board) -> pd.DataFrame:
    """Rows of the curves over lags: the first, the best and the last layer of the last checkpoint, and log-mel."""
    found = []
    for corpus, points in on(board):
        point = points.all[-1]
        table, hidden = _rows(point, "lag_pwcca"), not ground(point).accumulated
        for layer in chosen_layers(point):
            for r in table[(table["layer"] == layer) & (table["layer_mode"] == "cumulative")].itertuples():
                if r.setting.startswith("lag"):
                    found.append((corpus, layer_name(layer, hidden), layer, _milliseconds(r.setting), r.value, r.low, r.high, r.n))
        for r in table[table["setting"].str.startswith("log_mel_lag")].itertuples():
            found.append((corpus, "log-mel", "", _milliseconds(r.setting), r.value, r.low, r.high, r.n))
    return pd.DataFrame(found, columns=["corpus", "run", "layer", "x", *frames.NUMBERS, "n"])


def chosen_layers(point: Checkpoint) -> list[str]:
    """First, best and last numbered layer."""
    layers = point.layers(PROBE, METRIC)
    if not layers:
        return []
    best = max(layers, key=lambda layer: _found(point, layer=layer).value)
    return sorted({layers[0], best, layers[-1]}, key=int)


def layer_chart(layers: Sequence[str], accumulated: bool) -> charts.Spec:
    """One curve a kind, the null as a band, baselines dashed."""
    x = charts.layer_axis(layers, "codebooks accumulated" if accumulated else "layer")
    y = {"field": "value", "type": "quantitative", "title": SIZE, "scale": {"zero": True, "padding": 6}}
    names = [CODEC, REST, *BESIDE.values(), *FLAT.values()]
    palette = ["@accent", "@series2", "@series1", "@series4", "@series3", "@series0"]
    legend = {"orient": "top", "columns": "@columns", "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1, "labelLimit": 300}
    colour = {"field": "what", "type": "nominal", "title": None, "legend": legend, "scale": {"domain": names, "range": palette}}
    tip = [{"field": "what"}, {"field": "at", "title": "checkpoint"}, {"field": "layer"}, {"field": "value", "format": ".3~g"}]
    tip += charts.INTERVAL
    flat = [f"datum.what == '{name}'" for name in FLAT.values()]
    own = f"!({' || '.join(flat)})"
    null = {"y": {"field": "null_low", "type": "quantitative", "title": SIZE}, "y2": {"field": "null_high"}}
    low = {"y": {"field": "low", "type": "quantitative", "title": SIZE}, "y2": {"field": "high"}}
    last = "datum.when == 'last'"
    marks: list[charts.Spec] = [
        {
            "transform": [{"filter": f"{last} && isValid(datum.null_low)"}],
            "mark": {"type": "area", "opacity": 0.25, "color": "@muted"},
            "encoding": null,
        },
        {
            "transform": [{"filter": f"{last} && ({' || '.join(flat)})"}],
            "mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.5},
            "encoding": {"y": y, "color": colour, "tooltip": tip},
        },
        {
            "transform": [{"filter": f"datum.when == 'first' && datum.what == '{CODEC}'"}],
            "mark": {"type": "line", "color": "@muted", "point": {"size": 18, "color": "@muted"}},
            "encoding": {"y": y, "tooltip": tip},
        },
        {"transform": [{"filter": f"{last} && {own}"}], "mark": {"type": "rule"}, "encoding": {**low, "color": colour}},
        {
            "transform": [{"filter": f"{last} && {own}"}],
            "mark": {"type": "line", "point": {"size": 26}},
            "encoding": {"y": y, "color": colour, "tooltip": tip},
        },
    ]
    marks = [each | {"encoding": {"x": x} | each["encoding"]} for each in marks]
    return charts.base(260) | {"layer": marks}


def said(point: Checkpoint) -> Iterator[str]:
    """Say what the last checkpoint supports: how much at the ends, whether more layers help, beside what, how late."""
    layers = point.layers(PROBE, METRIC)
    if not layers:
        return
    about = ground(point)
    if about.corpus:
        yield (
            f"articulation is measured on {about.corpus}{about.simulated}: {words.counted(about.tracks, 'recording')} of "
            f"{words.counted(about.speakers, 'speaker')}, {about.seconds / 60:.1f} minutes."
        )
    for layer in dict.fromkeys([layers[0], layers[-1]]):
        yield _level(point, layer, _name(layer, len(layers)), about)
    if not about.enough:
        yield (
            f"differences between layers, from log-mel and from random codebooks: cannot tell, {words.counted(about.speakers, 'speaker')} "
            f"and {FEWEST_SPEAKERS} are needed."
        )
    else:
        yield from _growth(point, layers, about)
        yield from _beside(point, layers)
        yield from _late(point, layers[-1])
    for layer in layers[-1:]:
        few = point.find(PROBE, "in_sample_pwcca", setting="few_frames", layer=layer)
        if few is not None:
            yield (
                f"in sample the last layer scores {words.number(few.value)}, of which {words.number(few.chance)} comes from too few frames "
                f"(n = {few.n}): not a finding."
            )


def _level(point: Checkpoint, layer: str, name: str, about: Ground) -> str:
    """Say what one layer correlates, held against chance and log-mel, and what it cannot reach."""
    own, null = _found(point, layer=layer), point.find(PROBE, "null", layer=layer)
    line = f"{name} correlates {_with(own)} with the vocal tract's shape"
    if null is not None:
        against = _against(own, null) if about.enough else f"cannot tell from chance with {words.counted(about.speakers, 'speaker')}"
        line += f", {against} (circular shifts give {words.number(null.low)} to {words.number(null.high)})"
    mel, less = point.find(PROBE, METRIC, setting="log_mel"), point.find(PROBE, "minus_log_mel", layer=layer)
    if mel is not None:
        line += f"; log-mel correlates {_with(mel)}"
        line += f", the layer {_by(less)}" if less is not None and about.enough else ""
    axes, whole = point.find(PROBE, "feature_axes", layer=layer), point.find(PROBE, "tract_axes")
    if axes is not None and whole is not None and axes.value < whole.value:
        line += f"; with {axes.value:.0f} axes for the tract's {whole.value:.0f} it cannot reach 1"
    return f"{line}."


def _growth(point: Checkpoint, layers: Sequence[str], about: Ground) -> Iterator[str]:
    """Say whether more layers help; nothing where the higher end is not above chance."""
    growth = point.find(PROBE, "last_minus_first")
    if growth is None or len(layers) < 2 or not _above(point, layers[-1] if growth.value > 0 else layers[0]):
        return
    more = "more layers" if about.accumulated else "deeper layers"
    span = f"by {words.number(abs(growth.value))} ({words.between(growth)})"
    if growth.low > 0:
        yield f"from the first layer to the last articulation rises {span}: {more} mean more articulation here."
    elif growth.high < 0:
        yield f"from the first layer to the last articulation falls {span}: {more} do not mean more articulation."
    else:
        yield f"from the first layer to the last articulation does not change beyond the interval ({words.between(growth)})."


def _beside(point: Checkpoint, layers: Sequence[str]) -> Iterator[str]:
    """Compare the last layer with random codebooks, and with itself without the semantic codebooks."""
    random = point.find(PROBE, METRIC, setting="random_codebook", layer=layers[-1])
    more = point.find(PROBE, "minus_random_codebook", layer=layers[-1])
    if random is not None and more is not None:
        yield f"beside as many random codebooks of the same size ({_with(random)}) the last layer has {_by(more)}."
    rest = _rows(point, METRIC)
    rest = rest[rest["layer_mode"] == "residual"]
    for r in rest[rest["layer"] == layers[-1]].itertuples():
        semantic = min(int(layer) for layer in rest["layer"]) - 1
        books, those = ("codebook", "that codebook") if semantic == 1 else ("codebooks", f"those {semantic} codebooks")
        yield (
            f"without its semantic {books} the last layer correlates {words.number(r.value)} ({words.number(r.low)} to "
            f"{words.number(r.high)}); {those} alone {_with(_found(point, layer=str(semantic)))}."
        )


def _late(point: Checkpoint, layer: str) -> Iterator[str]:
    """Say how late a layer answers, where it is above chance and the best lag is better than none."""
    best, gain = point.find(PROBE, "best_lag", layer=layer), point.find(PROBE, "best_lag_gain", layer=layer)
    if best is None or gain is None or not gain.low > 0 or not _above(point, layer):
        return
    side = "before" if best.value < 0 else "after"
    yield (
        f"the last layer follows the tract of {abs(best.value):.0f} ms {side} its frames best ({words.between(best)} ms are not told from "
        f"it): {words.number(gain.value)} more than that of its own time ({words.between(gain)})."
    )


def numbers(board: Board) -> str:
    """Fold the numbers of the last checkpoint away."""
    made = []
    for corpus, points in on(board):
        table = _rows(points.all[-1], METRIC)
        beside = {
            metric: {(r.setting, r.layer, r.layer_mode): r for r in _rows(points.all[-1], metric).itertuples()}
            for metric in ("above_null", "minus_log_mel", "feature_axes")
        }
        rows = []
        for r in table.itertuples():
            over, mel, axes = (found.get((r.setting, r.layer, r.layer_mode)) for found in beside.values())
            name = FLAT.get(r.setting) or BESIDE.get(r.setting) or (REST if r.layer_mode == "residual" else CODEC)
            cells = [name, r.layer, _interval(r), f"{r.chance:.3f}", f"{over.value:.3f}" if over is not None else ""]
            cells += [_interval(mel) if mel is not None else "", f"{axes.value:.0f}" if axes is not None else ""]
            rows.append([*cells, f"{r.n:,d}", r.clusters])
        heads = ["", "layer", "held-out PWCCA", "null", "(value - null) / (1 - null)", "minus log-mel", "axes", "frames", "clusters"]
        made.append(html.folded(f"Numbers {f'on {corpus}' if corpus else ''}".strip(), html.table(heads, rows)))
    return "".join(made)


def _interval(r: Any) -> str:
    return f"{r.value:.3f} ({r.low:.3f} to {r.high:.3f})"


def _axes(board: Board) -> str:
    """Say how many axes of the tract are used, and their share of its variance, where the table says it."""
    for _, points in on(board):
        axes, share = (points.all[-1].find(PROBE, metric) for metric in ("tract_axes", "tract_variance"))
        if axes is not None and share is not None:
            return f"{axes.value:.0f} (of {words.percent(share.value)} of its variance) "
    return ""


def _rows(point: Checkpoint, metric: str) -> pd.DataFrame:
    table = point.table
    return table[(table["probe"] == PROBE) & (table["metric"] == metric)]


def _found(point: Checkpoint, layer: str) -> Reading:
    reading = point.find(PROBE, METRIC, layer=layer)
    assert reading is not None, layer
    return reading


def _name(layer: str, count: int) -> str:
    return "the one layer" if count == 1 else f"layer {layer}"


def _with(reading: Reading) -> str:
    return f"{words.number(reading.value)} ({words.between(reading)})"


def _by(difference: Reading) -> str:
    """Write a paired difference: how much more or less, as far as its interval goes."""
    if difference.low <= 0 <= difference.high:
        return f"no more and no less beyond the interval ({words.between(difference)})"
    return f"{words.number(abs(difference.value))} {'more' if difference.value > 0 else 'less'} ({words.between(difference)})"


def _above(point: Checkpoint, layer: str) -> bool:
    """Whether a layer is above chance."""
    own, null = _found(point, layer=layer), point.find(PROBE, "null", layer=layer)
    return null is not None and own.low > null.high


def _against(own: Reading, null: Reading) -> str:
    if own.low > null.high:
        return "above chance"
    return "below chance" if own.high < null.low else "not told from chance"


def _milliseconds(setting: str) -> float:
    return float(setting.rpartition("lag")[2].removesuffix("ms"))
