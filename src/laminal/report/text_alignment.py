"""The text section: CKA of every layer with a text space inside the null of permutations, beside its controls, and in words."""

from collections.abc import Iterator, Sequence

import pandas as pd

from laminal.report import charts, frames, html, words
from laminal.report.board import Board, row
from laminal.report.frames import Points
from laminal.report.selection import SLICES, Checkpoint, Reading
from laminal.results import layer_order

PROBE = "text_alignment"
LINES = {  # what is drawn: (setting, metric)
    "text space": ("text", "cka"),
    "speech input of the language model": ("llm_input", "cka"),
    "text space, beyond form": ("text", "beyond_form"),
    "text space, beyond all controls": ("text", "beyond_controls"),
    "bag of phones instead of text": ("bag_of_phones", "cka"),
    "random vectors instead of text": ("random", "cka"),
}
LEVELS = {"bag of phones instead of speech": ("phones_as_speech", "cka"), "word duration instead of speech": ("duration_as_speech", "cka")}
NULLS = {"permuted": ("text", "null"), "permuted within one length": ("text", "null_by_length")}
COLUMNS = ["kind", "label", "layer", *frames.NUMBERS, "n", "slice", "corpus"]
SURE = 0.05
BEYOND = {"beyond_form": "phones, length and duration", "beyond_controls": "form, first phones, speakers and times in utterances"}


def section(board: Board) -> str:
    """Chart, curve over n, numbers and sentences; nothing where the probe has no scores."""
    table = pd.concat([frame(points) for points in board.corpora] or [pd.DataFrame(columns=COLUMNS)], ignore_index=True)
    layered = table[table["kind"] != "curve"]
    if layered.empty:
        return ""
    board.tables[PROBE] = frames.columns(table)
    labels = [label for label in (*LINES, *LEVELS) if label in set(layered["label"])]
    choices = row(board.choices(PROBE, layered, ["slice", "corpus"]))
    drawn = board.chart(PROBE, PROBE, by_layer(layer_order(layered["layer"]), labels, board.axis), "plain", ["slice", "corpus"])
    curve = table[table["kind"] == "curve"]
    if len(curve):
        drawn += board.chart(PROBE, PROBE, over_words(list(dict.fromkeys(curve["label"]))), "plain", ["slice", "corpus"], {"kind": "curve"})
    says = (
        "Debiased linear CKA between word types: 0 where the two spaces have nothing in common, 1 where they differ by rotation and scale. "
        "Bars are 95 % intervals over words; dashes stand in the place of speech; the grey bands hold 95 % of 1,000 permutations, light "
        "ones within words of one length."
    )
    said = [line[:1].upper() + line[1:] for points in board.corpora for line in spoken(points.all[-1])]
    content = f'{html.listing(said)}<p class="soft">{says}</p>{choices}{drawn}{numbers(board.corpora)}'
    return html.section("text", "Text alignment", content)


def frame(points: Points) -> pd.DataFrame:
    """Rows of the last checkpoint: lines, levels repeated at each layer, bands, and the curve over n at the first and last layer."""
    rows: list[tuple] = []
    point = points.all[-1]
    table = point.table[(point.table["probe"] == PROBE) & point.table["layer_mode"].isin(("", "cumulative"))]
    for slice in [name for name in SLICES if name in set(table["slice"])]:
        here = table[table["slice"] == slice]
        layers = layer_order(here.loc[here["layer"] != "", "layer"])
        for kind, named in (("line", LINES), ("level", LEVELS), ("null", NULLS)):
            for label, (setting, metric) in named.items():
                for layer in layers:
                    found = point.find(PROBE, metric, setting, "" if kind == "level" else layer, slice=slice)
                    if found is not None:
                        rows.append((kind, label, layer, found.value, found.low, found.high, found.n, slice, points.corpus))
        numbered = [layer for layer in layers if layer.isdigit()]
        for layer in dict.fromkeys([*numbered[:1], *numbered[-1:]]):
            rows += [("curve", point.named(layer), str(n), *values, n, slice, points.corpus) for n, *values in curve(point, layer, slice)]
    return pd.DataFrame(rows, columns=COLUMNS)


def curve(point: Checkpoint, layer: str, slice: str) -> Iterator[tuple[int, float, float, float]]:
    """CKA at each number of words, up to all of them."""
    rows = point.table[(point.table["probe"] == PROBE) & point.table["metric"].str.startswith("cka_at_")]
    for metric in sorted(set(rows["metric"]), key=lambda name: int(name.removeprefix("cka_at_"))):
        found = point.find(PROBE, metric, "text", layer, slice=slice)
        if found is not None:
            yield found.n, found.value, found.low, found.high
    whole = point.find(PROBE, "cka", "text", layer, slice=slice)
    if whole is not None and len(rows):
        yield whole.n, whole.value, whole.low, whole.high


def by_layer(layers: Sequence[str], labels: Sequence[str], axis: str) -> charts.Spec:
    """Lines and levels over layers, in front of the nulls."""
    x = charts.layer_axis(layers, axis)
    y = {"field": "value", "type": "quantitative", "title": "debiased CKA"}
    low, high = {"field": "low", "type": "quantitative", "title": "debiased CKA"}, {"field": "high"}
    palette = [f"@series{place}" for place in range(len(labels))]
    legend = {"orient": "top", "columns": "@columns", "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1, "labelLimit": 400}
    colour = {"field": "label", "type": "nominal", "title": None, "legend": legend, "scale": {"domain": list(labels), "range": palette}}
    tip = [{"field": "label"}, {"field": "layer"}, {"field": "value", "format": ".4~g"}, *charts.INTERVAL]
    marks: list[charts.Spec] = []
    for name, opacity in (("permuted within one length", 0.18), ("permuted", 0.35)):
        only = [{"filter": f"datum.label == '{name}'"}]
        marks.append(
            {"transform": only, "mark": {"type": "area", "color": "@muted", "opacity": opacity}, "encoding": {"y": low, "y2": high}}
        )
    line, level = [{"filter": "datum.kind == 'line'"}], [{"filter": "datum.kind == 'level'"}]
    dashes = {"type": "line", "strokeDash": [5, 3]}
    marks += [
        {"transform": level, "mark": dashes, "encoding": {"y": y, "color": colour, "tooltip": tip}},
        {"transform": line, "mark": {"type": "rule"}, "encoding": {"y": low, "y2": high, "color": colour}},
        {"transform": line, "mark": {"type": "line", "point": {"size": 26}}, "encoding": {"y": y, "color": colour, "tooltip": tip}},
    ]
    return charts.base(280) | {"encoding": {"x": x}, "layer": marks}


def over_words(labels: Sequence[str]) -> charts.Spec:
    """CKA against the number of words it is computed from."""
    x = {"field": "n", "type": "quantitative", "title": "words", "scale": {"type": "log", "nice": False, "padding": 8}}
    y = {"field": "value", "type": "quantitative", "title": "CKA of some of the words"}
    low, high = {"field": "low", "type": "quantitative", "title": "CKA of some of the words"}, {"field": "high"}
    scale = {"domain": list(labels), "range": [f"@series{place}" for place in range(len(labels))]}
    colour = {"field": "label", "type": "nominal", "title": None, "legend": {"orient": "top"}, "scale": scale}
    tip = [{"field": "label"}, {"field": "n"}, {"field": "value", "format": ".4~g"}, *charts.INTERVAL[:2]]
    marks = [
        {"mark": {"type": "rule"}, "encoding": {"y": low, "y2": high}},
        {"mark": {"type": "line", "point": {"size": 26}}, "encoding": {"y": y, "tooltip": tip}},
    ]
    return charts.base(170) | {"encoding": {"x": x, "color": colour}, "layer": marks}


def spoken(point: Checkpoint) -> Iterator[str]:
    """Say of the first and the last layer whether it is aligned with text, and whether more than its controls are."""
    layers = point.layers(PROBE, "cka") or ["latent"]
    for layer in dict.fromkeys([*layers[:1], *layers[-1:]]):
        found = point.find(PROBE, "cka", "text", layer)
        if found is not None:
            yield _sentence(point, layer, found)
    heard = point.find(PROBE, "cka", "llm_input", layers[-1])
    if heard is not None:
        chance = _p(point, "llm_input", layers[-1])
        yield f"the language model's own speech input has a CKA of {_number(heard)} with its text table{chance}."


def _sentence(point: Checkpoint, layer: str, found: Reading) -> str:
    head = f"CKA of {point.named(layer)} with {space_name(point)} is {_number(found)}, {found.n:,} words{_p(point, 'text', layer, found)}"
    p = point.find(PROBE, "p", "text", layer, slice=found.slice)
    if p is not None and p.value >= SURE:
        return f"{head}: not told from chance."
    said, formed = [], False
    for metric, control, name in (
        ("over_phones", "phones_as_speech", "a bag of phones in its place"),
        ("over_duration", "duration_as_speech", "the duration of the word alone"),
    ):
        over, level = point.find(PROBE, metric, "text", layer, slice=found.slice), point.find(PROBE, "cka", control, slice=found.slice)
        if over is not None and level is not None:
            side = "above" if over.low > 0 else "below" if over.high < 0 else "not told from"
            said.append(f"{side} {name} ({words.number(level.value)})")
    for metric, name in BEYOND.items():
        beyond = point.find(PROBE, metric, "text", layer, slice=found.slice)
        if beyond is not None:
            chance = point.find(PROBE, f"p_{metric}", "text", layer, slice=found.slice)
            sure = chance is not None and chance.value < SURE and beyond.low > 0
            said.append(f"{'' if sure else 'not told from 0 '}beyond {name}: {_number(beyond)}")
            formed = True
        elif formed:
            said.append(f"whether beyond {name} is not known (too few words, or scores from before it was measured)")
    return f"{head}{': ' if said else ''}{'; '.join(said)}."


def space_name(point: Checkpoint) -> str:
    """Name the text space, which the unit of CKA tells."""
    units = point.table.loc[(point.table["probe"] == PROBE) & (point.table["metric"] == "cka"), "unit"]
    return str(units.iloc[0]).removeprefix("CKA with ") if len(units) else "text"


def _number(found: Reading) -> str:
    return f"{words.number(found.value)} ({words.between(found)})"


def _p(point: Checkpoint, setting: str, layer: str, found: Reading | None = None) -> str:
    slice = found.slice if found is not None else None
    plain, length = (point.find(PROBE, f"p{ending}", setting, layer, slice=slice) for ending in ("", "_by_length"))
    if plain is None:
        return ""
    return f" (p {plain.value:.3g}" + (f", within words of one length {length.value:.3g})" if length is not None else ")")


def numbers(corpora: Sequence[Points]) -> str:
    """Numbers of the last checkpoint, a table for each way to cut words."""
    made = []
    for points in corpora:
        point = points.all[-1]
        for slice in SLICES:
            layers = [name for name in ("latent", *point.layers(PROBE, "cka")) if point.find(PROBE, "cka", "text", name, slice=slice)]
            rows = []
            for label, setting, metric in (
                *((label, *which) for label, which in LINES.items()),
                ("over a bag of phones", "text", "over_phones"), ("over duration", "text", "over_duration"),
                ("biased", "text", "cka_biased"), ("RBF", "text", "cka_rbf"), ("mini-batches", "text", "cka_minibatch"),
                ("p", "text", "p"), ("p within one length", "text", "p_by_length"), ("p beyond form", "text", "p_beyond_form"),
                ("p beyond all controls", "text", "p_beyond_controls"),
            ):  # fmt: skip
                found = [point.find(PROBE, metric, setting, layer, slice=slice) for layer in layers]
                if any(found):
                    one = metric.startswith("p")
                    rows.append([label, *((words.number(r.value) if one else _number(r)) if r else "" for r in found)])
            title = " ".join(filter(None, ("Numbers", points.corpus and f"on {points.corpus}", slice and f"({slice})")))
            made.append(html.folded(title, html.table(["", *(point.named(name) for name in layers)], rows)))
    return "".join(made)
