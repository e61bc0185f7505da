"""Articulation on the page: held-out PWCCA by layer with the null's band and the baselines, by lag, and what it says in words."""

from collections.abc import Iterator, Sequence

import pandas as pd

from laminal.report import charts, frames, html, words
from laminal.report.board import Board, row
from laminal.report.selection import Checkpoint, Reading, layer_name
from laminal.results import layer_order

PROBE, METRIC = "articulation", "heldout_pwcca"
FLAT = {"log_mel": "log-mel", "f0_energy": "pitch and energy"}
BESIDE = {"random_codebook": "random codebooks of the same size", "random_codes": "random codes"}
CODEC, REST = "accumulated layers", "without the semantic codebook"
SIZE = "vocal-tract correlation (held-out PWCCA)"


def section(board: Board) -> str:
    """Curves over layers and lags, sentences, and all numbers."""
    curves, lags = by_layer(board), by_lag(board)
    if curves.empty:
        return ""
    board.tables[PROBE] = frames.columns(curves)
    made = [html.listing([line for points in board.corpora for line in said(points.all[-1])])]
    chosen = row(board.choices(PROBE, curves, ["corpus"]))
    made.append(chosen + board.chart(PROBE, PROBE, layer_chart(layer_order(curves["layer"])), "plain", ["corpus"]))
    if not lags.empty:
        board.tables["articulation_lag"] = frames.columns(lags)
        names = list(dict.fromkeys(lags["run"]))
        title = "lag of the tract behind the frame (ms)"
        made.append(board.chart(PROBE, "articulation_lag", charts.by_codec(names, title, 170), "plain", ["corpus"]))
    says = (
        "Correlation of each layer with the distances across the vocal tract, fitted on four fifths of the recordings and taken on the "
        "rest: 1 if the layer gives the whole shape, 0 if nothing. Last checkpoint in colour, first in grey; the shaded band is what "
        "circular shifts in time give (95 %), dashed lines are baselines without layers, bars are 95 % intervals over speakers."
    )
    made.append(f'<p class="soft">{says}</p>')
    made.append(numbers(board))
    return html.section("articulation", "Articulation by layer", "".join(made))


def by_layer(board: Board) -> pd.DataFrame:
    """Rows of the curves: the codec, without its semantic codebook, random codebooks, and baselines repeated at every layer."""
    found = []
    for points in board.corpora:
        for when, point in points.ends.items():
            table = _rows(point, METRIC)
            null = {(r.setting, r.layer, r.layer_mode): r for r in _rows(point, "null").itertuples()}
            layers = layer_order(layer for layer, setting in zip(table["layer"], table["setting"]) if not setting)
            for r in table.itertuples():
                at = null.get((r.setting, r.layer, r.layer_mode))
                what = FLAT.get(r.setting) or BESIDE.get(r.setting) or (REST if r.layer_mode == "residual" else CODEC)
                for layer in layers if r.setting in FLAT else [r.layer]:
                    band = (at.low, at.high) if at is not None and what == CODEC else (None, None)
                    found.append((points.corpus, when, point.label or "as it is", what, layer, r.value, r.low, r.high, *band, r.n))
    columns = ["corpus", "when", "at", "what", "layer", *frames.NUMBERS, "null_low", "null_high", "n"]
    made = pd.DataFrame(found, columns=columns)
    return made.astype({"null_low": float, "null_high": float})


def by_lag(board: Board) -> pd.DataFrame:
    """Rows of the curves over lags: the first, the best and the last layer of the last checkpoint, and log-mel."""
    found = []
    for points in board.corpora:
        point = points.all[-1]
        table = _rows(point, "lag_pwcca")
        for layer in chosen_layers(point):
            for r in table[(table["layer"] == layer) & (table["layer_mode"] == "cumulative")].itertuples():
                if r.setting.startswith("lag"):
                    found.append((points.corpus, layer_name(layer), layer, _milliseconds(r.setting), r.value, r.low, r.high, r.n))
        for r in table[table["setting"].str.startswith("log_mel_lag")].itertuples():
            found.append((points.corpus, "log-mel", "", _milliseconds(r.setting), r.value, r.low, r.high, r.n))
    return pd.DataFrame(found, columns=["corpus", "run", "layer", "x", *frames.NUMBERS, "n"])


def chosen_layers(point: Checkpoint) -> list[str]:
    """First, best and last numbered layer."""
    layers = point.layers(PROBE, METRIC)
    if not layers:
        return []
    best = max(layers, key=lambda layer: _found(point, layer=layer).value)
    return sorted({layers[0], best, layers[-1]}, key=int)


def layer_chart(layers: Sequence[str]) -> charts.Spec:
    """One curve a kind, the null as a band, baselines dashed."""
    x = charts.layer_axis(layers, "layers accumulated")
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
    mel = point.find(PROBE, METRIC, setting="log_mel")
    for layer in [layers[0]] if len(layers) == 1 else [layers[0], layers[-1]]:
        own, null = _found(point, layer=layer), point.find(PROBE, "null", layer=layer)
        line = f"{_name(layer, len(layers))} holds {_with(own)} of the vocal tract's shape"
        if null is not None:
            line += f", {_against(own, null)} (circular shifts give {words.number(null.low)} to {words.number(null.high)})"
        yield f"{line[:1].upper()}{line[1:]}; log-mel holds {_with(mel)}." if mel is not None else f"{line}."
    growth = point.find(PROBE, "last_minus_first")
    if growth is not None and len(layers) > 1:
        yield _growth(growth)
    yield from _beside(point, layers)
    best = point.find(PROBE, "best_lag", layer=layers[-1])
    if best is not None and best.value:
        side = "before" if best.value < 0 else "after"
        there = point.find(PROBE, "best_lag_pwcca", layer=layers[-1])
        value = f", where it is {words.number(there.value)}" if there is not None else ""
        yield f"The last layer follows the tract of {abs(best.value):.0f} ms {side} its frames best{value}."
    for layer in layers[-1:]:
        few = point.find(PROBE, "in_sample_pwcca", setting="few_frames", layer=layer)
        if few is not None:
            yield (
                f"In sample the last layer scores {words.number(few.value)}, of which {words.number(few.chance)} comes from too few frames "
                f"(n = {few.n}): not a finding."
            )


def _growth(growth: Reading) -> str:
    span = f"by {words.number(abs(growth.value))} ({words.number(growth.low)} to {words.number(growth.high)})"
    if growth.low > 0:
        return f"From the first layer to the last articulation rises {span}: more layers mean more articulation here."
    if growth.high < 0:
        return f"From the first layer to the last articulation falls {span}: more layers do not mean more articulation."
    return f"From the first layer to the last articulation does not change beyond the interval ({words.between(growth)})."


def _beside(point: Checkpoint, layers: Sequence[str]) -> Iterator[str]:
    """Compare the last layer with random codebooks, and with itself without the semantic codebook."""
    own, random = _found(point, layer=layers[-1]), point.find(PROBE, METRIC, setting="random_codebook", layer=layers[-1])
    if random is not None:
        side = "more than" if own.low > random.high else "less than" if own.high < random.low else "not told apart from"
        yield f"That is {side} as many random codebooks of the same size hold ({_with(random)})."
    table = _rows(point, METRIC)
    rest = table[(table["layer_mode"] == "residual") & (table["layer"] == layers[-1])]
    for r in rest.itertuples():
        yield (
            f"Without its semantic codebook the last layer holds {words.number(r.value)} ({words.number(r.low)} to {words.number(r.high)})"
            f"; that codebook alone holds {_with(_found(point, layer=layers[0]))}."
        )


def numbers(board: Board) -> str:
    """Fold the numbers of the last checkpoint away."""
    made = []
    for points in board.corpora:
        table = _rows(points.all[-1], METRIC)
        above = {(r.setting, r.layer, r.layer_mode): r for r in _rows(points.all[-1], "above_null").itertuples()}
        rows = []
        for r in table.itertuples():
            over = above.get((r.setting, r.layer, r.layer_mode))
            name = FLAT.get(r.setting) or BESIDE.get(r.setting) or (REST if r.layer_mode == "residual" else CODEC)
            cells = [name, r.layer, f"{r.value:.3f} ({r.low:.3f} to {r.high:.3f})", f"{r.chance:.3f}"]
            rows.append([*cells, f"{over.value:.3f}" if over is not None else "", f"{r.n:,d}", r.clusters])
        heads = ["", "layer", "held-out PWCCA", "null", "(value - null) / (1 - null)", "frames", "clusters"]
        made.append(html.folded(f"Numbers {f'on {points.corpus}' if points.corpus else ''}".strip(), html.table(heads, rows)))
    return "".join(made)


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


def _against(own: Reading, null: Reading) -> str:
    if own.low > null.high:
        return "above chance"
    return "below chance" if own.high < null.low else "not told from chance"


def _milliseconds(setting: str) -> float:
    return float(setting.rpartition("lag")[2].removesuffix("ms"))
