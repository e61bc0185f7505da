"""Vega-Lite charts of the page; colours come from the page, which knows whether it is dark."""

from collections.abc import Sequence
from typing import Any

from laminal.report.headlines import SETTINGS

Spec = dict[str, Any]
COLOURS = {"same_word": 0, "near_homophone": 1, "synonym": 2, "synonym_core": 3, "same_speaker": 4}  # places in the page's palette
INTERVAL = [{"field": "low", "format": ".4~g"}, {"field": "high", "format": ".4~g"}, {"field": "n", "format": ",d"}]


def base(height: int) -> Spec:
    """Make a chart as wide as the page allows."""
    return {"width": "container", "height": height, "data": {"name": "rows"}, "autosize": {"type": "fit", "contains": "padding"}}


def layer_axis(layers: Sequence[str], title: str) -> Spec:
    """Layers in order; the unquantised latent stands first."""
    return {"field": "layer", "type": "ordinal", "sort": list(layers), "title": title, "axis": {"labelAngle": 0, "labelOverlap": True}}


def word_curves(layers: Sequence[str], metric: str, title: str, axis: str) -> Spec:
    """One line a setting with its interval as band, matched random grey, the latent apart as grey points."""
    x = layer_axis(layers, axis)
    y = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": metric != "mean"}, "axis": {"minExtent": 44}}
    legend = {"orient": "top", "columns": "@columns", "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}
    colour = {
        "field": "label", "type": "nominal", "title": None,
        "scale": {"domain": list(SETTINGS.values()), "range": [f"@series{place}" for place in COLOURS.values()]},
        "legend": legend if metric == "mean" else None,
    }  # fmt: skip
    tip = [{"field": "label", "title": "pairs"}, {"field": "layer"}, {"field": "value", "format": ".4~g"}, *INTERVAL]
    numbered, apart = (
        {"filter": "datum.random == 'no' && datum.layer != 'latent'"},
        {"filter": "datum.random == 'no' && datum.layer == 'latent'"},
    )
    low, high = {"field": "low", "type": "quantitative", "title": title}, {"field": "high"}
    marks: list[Spec] = [
        {"transform": [numbered], "mark": {"type": "area", "opacity": 0.18}, "encoding": {"y": low, "y2": high, "color": colour}},
        {"transform": [numbered], "mark": {"type": "line", "point": {"size": 26}}, "encoding": {"y": y, "color": colour, "tooltip": tip}},
    ]
    if metric == "mean":
        dashes = {"type": "line", "color": "@muted", "strokeDash": [4, 3], "strokeWidth": 1}
        random = {"filter": "datum.random == 'yes' && datum.layer != 'latent'"}
        marks.insert(0, {"transform": [random], "mark": dashes, "encoding": {"y": y, "detail": {"field": "setting"}}})
    if "latent" in layers:
        point = {"type": "point", "filled": True, "fill": "@muted", "size": 55, "strokeWidth": 2, "opacity": 1}
        marks.append({"transform": [apart], "mark": {"type": "rule", "color": "@muted"}, "encoding": {"y": low, "y2": high}})
        marks.append({"transform": [apart], "mark": point, "encoding": {"y": y, "stroke": colour, "tooltip": tip}})
    marks = [each | {"encoding": {"x": x} | each["encoding"]} for each in marks]
    if metric != "mean":
        marks.insert(0, {"mark": {"type": "rule", "color": "@muted"}, "encoding": {"y": {"datum": 0}}})
    return base(260 if metric == "mean" else 230) | {"layer": marks}


def word_map(layers: Sequence[str], moments: Sequence[str], axis: str) -> Spec:
    """Checkpoint by layer; a number where the interval leaves out 0, a dot where it holds 0, a question mark where it is too wide."""
    x = {"field": "at", "type": "ordinal", "sort": list(moments), "title": None, "axis": {"labelAngle": 0, "labelOverlap": True}}
    y = {"field": "layer", "type": "ordinal", "sort": list(layers), "title": axis}
    colour = {
        "field": "shade", "type": "quantitative", "title": "% over random",
        "scale": {"domain": "@limits", "range": ["@closer", "@surface", "@further"], "interpolate": "lab", "nice": False},
        "legend": {"orient": "top", "gradientLength": 160},
    }  # fmt: skip
    tip = [{"field": "at", "title": "checkpoint"}, {"field": "layer"}, {"field": "percent", "format": ".3~g", "title": "% over random"},
           {"field": "low", "format": ".3~g"}, {"field": "high", "format": ".3~g"}, {"field": "n", "format": ",d"}]  # fmt: skip
    marks = [
        {"mark": {"type": "rect"}, "encoding": {"color": colour, "tooltip": tip}},
        {"mark": {"type": "text", "fontSize": 11}, "encoding": {"text": {"field": "text"}, "color": {"value": "@ink"}, "tooltip": tip}},
    ]
    return base(34 + 24 * len(layers) + 46) | {"encoding": {"x": x, "y": y}, "layer": marks}


def by_layer(layers: Sequence[str], title: str, x_title: str, zero: bool, chance: bool) -> Spec:
    """One metric over layers: the last checkpoint coloured, the first grey, its chance level dashed."""
    x = layer_axis(layers, x_title)
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": zero, "padding": 6}}
    low = {"field": "low", "type": "quantitative", "title": None}
    tip = [{"field": "at", "title": "checkpoint"}, {"field": "layer"}, {"field": "value", "format": ".4~g"}, *INTERVAL]
    marks: list[Spec] = [
        {"mark": {"type": "rule"}, "encoding": {"y": low, "y2": {"field": "high"}}},
        {"mark": {"type": "line", "point": {"size": 26}}, "encoding": {"y": y, "tooltip": tip}},
    ]
    if chance:
        tip.append({"field": "chance", "format": ".3~g"})
        level = {"y": {"field": "chance", "type": "quantitative"}, "color": {"value": "@muted"}}
        dashes = {"type": "line", "strokeDash": [3, 3]}
        marks.append({"transform": [{"filter": "datum.when == 'last' && isValid(datum.chance)"}], "mark": dashes, "encoding": level})
    return base(150) | {"title": title, "encoding": {"x": x, "color": moment()}, "layer": marks}


def by_codec(names: Sequence[str], x_title: str, height: int, field: str = "run") -> Spec:
    """One line a codec (or whatever `field` tells apart) with its interval as band, over a quantitative axis."""
    x = {"field": "x", "type": "quantitative", "title": x_title, "scale": {"zero": False, "nice": False, "padding": 8}}
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False, "padding": 6}}
    low, high = {"field": "low", "type": "quantitative", "title": None}, {"field": "high"}
    legend = {"orient": "top", "columns": "@columns", "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1, "labelLimit": 400}
    palette = [f"@series{place % 8}" for place in range(len(names))]
    colour = {"field": field, "type": "nominal", "title": None, "legend": legend, "scale": {"domain": list(names), "range": palette}}
    tip = [{"field": field}, {"field": "layer"}, {"field": "value", "format": ".4~g"}, *INTERVAL]
    marks: list[Spec] = [
        {"mark": {"type": "area", "opacity": 0.15}, "encoding": {"x": x, "y": low, "y2": high, "color": colour}},
        {"mark": {"type": "line", "point": {"size": 22}}, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip}},
    ]
    return base(height) | {"layer": marks}


def moment() -> Spec:
    """Colour of a checkpoint: the last stands out."""
    scale = {"domain": ["first", "last"], "range": ["@muted", "@accent"]}
    return {"field": "when", "type": "nominal", "scale": scale, "legend": None}


def pareto() -> Spec:
    """Cost or quality against closeness of core synonyms; a point a count of codebooks."""
    y = {"field": "percent", "type": "quantitative", "title": "core synonyms closer than random, %"}
    x = {"field": "x", "type": "quantitative", "title": "@kind", "scale": {"zero": False, "nice": False, "padding": 24}}
    colour = moment()
    tip = [{"field": "at", "title": "checkpoint"}, {"field": "layer", "title": "codebooks"}, {"field": "x", "format": ".4~g"},
           {"field": "percent", "format": ".3~g", "title": "% closer"}, {"field": "n", "format": ",d"}]  # fmt: skip
    marks = [
        {"mark": {"type": "rule", "color": "@muted", "strokeDash": [3, 3]}, "encoding": {"y": {"datum": 0}}},
        {"mark": "rule", "encoding": {"x": x, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": colour}},
        {"mark": {"type": "line", "point": {"size": 40}, "opacity": 0.85},
         "encoding": {"x": x, "y": y, "color": colour, "order": {"field": "rank", "type": "quantitative"}, "tooltip": tip}},
        {"mark": {"type": "text", "dx": 8, "dy": -8}, "encoding": {"x": x, "y": y, "text": {"field": "layer"}, "color": colour}},
    ]  # fmt: skip
    return base(280) | {"layer": marks}


def training(title: str, several: bool) -> Spec:
    """Draw one training number by generator step, with a legend where it has several series."""
    legend = {"orient": "bottom", "columns": 3} if several else None
    series = {"field": "series", "type": "nominal", "title": None, "legend": legend}
    tip = [{"field": "series"}, {"field": "step", "format": ",d"}, {"field": "value", "format": ".4~g"}]
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}}
    x = {"field": "step", "type": "quantitative", "title": "generator step"}
    return base(150) | {
        "title": title,
        "mark": {"type": "line", "point": False},
        "encoding": {"x": x, "y": y, "color": series, "tooltip": tip},
    }
