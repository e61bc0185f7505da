"""The word-pair sections: layer curves as in the study's Fig. 2, and the map of checkpoint by layer."""

from laminal.report import charts, frames, html, words
from laminal.report.board import SAID, Board, row
from laminal.report.frames import Points
from laminal.report.headlines import SETTINGS
from laminal.report.selection import TIERS
from laminal.results import layer_order


def curves(board: Board) -> str:
    """Layer curves as in the study's Fig. 2, and the map of checkpoint by layer."""
    table = frames.word_curves(board.corpora)
    if table.empty:
        return ""
    board.tables["curves"] = frames.columns(table)
    layers = layer_order(table["layer"])
    latest = board.corpora[0].all[-1].label or "as it is"
    names = [*frames.CHOICES, "at"]
    choices = row(board.choices("words", table, ["at"], latest) + board.choices("words", table, frames.CHOICES))
    says = (
        "Lower is closer. Bands are 95 % intervals over word types; grey dashes are random pairs matched in phones, duration "
        "and split; grey points with a coloured rim are the unquantised latent."
    )
    above = board.chart(
        "words", "curves", charts.word_curves(layers, "mean", "mean distance", board.axis), "curves", names, {"metric": "mean"}
    )
    below = board.chart(
        "words",
        "curves",
        charts.word_curves(layers, "minus_random", "minus random", board.axis),
        "curves",
        names,
        {"metric": "minus_random"},
    )
    content = f'<p class="soft">{says}</p>{choices}{above}{below}{word_numbers(board)}'
    return html.section("words", "Sound or meaning, layer by layer", content)


def word_numbers(board: Board) -> str:
    """Numbers of the last checkpoint with the usual choices, as a table."""
    made = []
    for points in board.corpora:
        point = points.all[-1]
        heads = [
            "",
            *(point.named(layer).replace("the unquantised ", "") for layer in ["latent", *point.layers("word_pairs", "over_random")]),
        ]
        rows = []
        for split in TIERS:
            for setting, name in SETTINGS.items():
                found = [
                    point.find("word_pairs", "over_random", setting=setting, layer=layer, split=split)
                    for layer in ["latent", *point.layers("word_pairs", "over_random")]
                ]
                if any(found):
                    label = name if split == "all" else f"{name}, {SAID[split]}"
                    rows.append([label, *(f"{100 * r.value:+.2f} ({100 * r.low:+.2f} to {100 * r.high:+.2f})" if r else "" for r in found)])
        made.append(html.folded(f"Numbers: % over random {named(points)}".strip(), html.table(heads, rows)))
    return "".join(made)


def named(points: Points) -> str:
    """Corpus and checkpoint in words."""
    return ", ".join(part for part in (points.corpus and f"on {points.corpus}", points.all[-1].label) if part)


def word_map(board: Board) -> str:
    """Heat map of checkpoint by layer."""
    table = frames.word_map(board.corpora)
    if table.empty:
        return ""
    table = table.drop(columns="metric")
    board.tables["map"] = frames.columns(table)
    moments = [point.label or "as it is" for points in board.corpora for point in frames.thinned(points.all)]
    settings = [
        name for name in ("near_homophone", "synonym", "synonym_core", "same_word", "same_speaker") if name in set(table["setting"])
    ]
    choice = html.select("map", "setting", "pairs of", {name: SETTINGS[name] for name in settings}, settings[0])
    choices = row(choice + board.choices("map", table, frames.CHOICES))
    says = (
        "Distance over random in %: blue is closer. A dot: the interval holds 0. A question mark: it does and its half-width "
        f"exceeds {100 * words.NARROW:g} % of random, so nothing can be told."
    )
    spec = charts.word_map(layer_order(table["layer"]), list(dict.fromkeys(moments)), board.axis)
    chart = board.chart("map", "map", spec, "map", ["setting", *frames.CHOICES], {} if choice else {"setting": settings[0]})
    return html.section("map", "Checkpoint by layer", f'<p class="soft">{says}</p>{choices}{chart}')
