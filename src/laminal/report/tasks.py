"""Tasks on the page and in words: where each codebook lies on the line from log-mel (or a copy) to a teacher (or the best there can be)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from laminal.report import charts, frames, html, words
from laminal.report.board import Board, row
from laminal.report.selection import Checkpoint
from laminal.results import layer_order

FLOOR, CEILING, CHANCE = "floor", "ceiling", "chance"
ALONE, TOGETHER = "each codebook alone", "codebooks 1 to k"


@dataclass(frozen=True, slots=True)
class Task:
    """One number of a task, and which settings are the ends of its line, with their names."""

    probe: str
    metric: str
    label: str
    floor: tuple[str, str] = ("log_mel", "log-mel")
    ceiling: tuple[str, str] = ("teacher", "the teacher")
    distance: str = ""


_SOURCE, _TARGET = ("source", "the source unconverted"), ("target", "the target speaker's own")
TASKS = (
    Task("transcription", "cer", "characters wrong (CER)"),
    Task("transcription", "wer", "words wrong (WER)"),
    Task("transcription", "per", "phones wrong (PER)"),
    Task("speaker_verification", "eer", "speaker trials wrong (EER)"),
    Task("speaker_verification", "eer", "speaker trials wrong, through a head (EER)", distance="lda"),
    Task("speaker_verification", "eer_same_recording", "trials within a recording wrong (EER)"),
    Task("speaker_verification", "eer_same_recording", "trials within a recording wrong, through a head (EER)", distance="lda"),
    Task("paralinguistic", "uar", "class of speaking told (UAR)"),
    Task("voice_conversion", "similarity_to_target", "converted voice: similarity to the target", _SOURCE, _TARGET),
    Task("voice_conversion", "mcd", "converted voice: MCD to the target's saying (dB)", _SOURCE, _TARGET),
    Task("voice_conversion", "f0_correlation", "converted voice: F0 correlation with the source", _TARGET, _SOURCE),
    Task("voice_conversion", "wer", "converted voice: words wrong (WER)", _TARGET, _SOURCE),
)
PROBES = frozenset(task.probe for task in TASKS)


@dataclass(frozen=True, slots=True)
class Number:
    """One value with its interval."""

    value: float
    low: float
    high: float
    n: int

    @property
    def said(self) -> str:
        """Value and interval in words."""
        return f"{words.number(self.value)} ({words.number(self.low)} to {words.number(self.high)})"

    def apart(self, other: "Number") -> bool:
        """Whether the two intervals leave a gap."""
        return self.low > other.high or self.high < other.low


@dataclass(frozen=True)
class Line:
    """A task of one checkpoint: its ends, and the layers that lie between them, alone and accumulated."""

    task: Task
    floor: Number | None
    ceiling: Number | None
    chance: float
    alone: Mapping[str, Number]
    together: Mapping[str, Number]

    @property
    def spans(self) -> bool:
        """Whether the ceiling is told to be better than the floor: else nothing can lie between them."""
        return self._apart and not self.upside_down

    @property
    def upside_down(self) -> bool:
        """Whether what should be the ceiling is told to be worse than the floor, as a teacher can be that knows little of a task."""
        if not self._apart or self.floor is None or self.ceiling is None:
            return False
        return (self.ceiling.value < self.floor.value) is not _lower_is_better(self)

    @property
    def _apart(self) -> bool:
        return self.floor is not None and self.ceiling is not None and self.floor.apart(self.ceiling)

    def way(self, number: Number) -> float:
        """How far a value is from the floor (0) to the ceiling (1); NaN where the line has no length."""
        if not self.spans or self.floor is None or self.ceiling is None:
            return math.nan
        return (number.value - self.floor.value) / (self.ceiling.value - self.floor.value)

    def place(self, number: Number) -> str:
        """Say where a value lies; "" where the line has no length."""
        share = self.way(number)
        if math.isnan(share) or self.floor is None or self.ceiling is None:
            return ""
        if not number.apart(self.floor):
            return f"not told from {self.task.floor[1]}"
        if share < 0:
            return f"worse than {self.task.floor[1]}"
        if share > 1 and number.apart(self.ceiling):
            return f"better than {self.task.ceiling[1]}"
        return f"{min(100 * share, 100):.0f} % of the way"


def label(probe: str, metric: str) -> str:
    """Name a number of a task in words; "" where it is none."""
    return next((task.label for task in TASKS if (task.probe, task.metric) == (probe, metric)), "")


def lines(point: Checkpoint) -> list[Line]:
    """Lines of all tasks that the checkpoint has numbers of."""
    return [line for line in (_line(point, task) for task in TASKS) if line is not None]


def _line(point: Checkpoint, task: Task) -> Line | None:
    table = point.table
    here = table[(table["probe"] == task.probe) & (table["metric"] == task.metric) & (table["distance"] == task.distance)]
    own = here[here["setting"] == ""]
    if own.empty:
        return None
    ends = {setting: _number(rows) for setting, rows in here[here["setting"] != ""].groupby("setting", sort=False)}
    modes = {
        mode: {str(r.layer): Number(r.value, r.low, r.high, int(r.n)) for r in rows.itertuples()}
        for mode, rows in own.groupby("layer_mode")
    }
    known = own["chance"].dropna()
    chance = float(known.iloc[0]) if len(known) and task.probe in ("speaker_verification", "paralinguistic") else math.nan
    return Line(task, ends.get(task.floor[0]), ends.get(task.ceiling[0]), chance, modes.get("single", {}), modes.get("cumulative", {}))


def _number(rows: pd.DataFrame) -> Number:
    first = rows.iloc[0]
    return Number(float(first["value"]), float(first["low"]), float(first["high"]), int(first["n"]))


def said(point: Checkpoint) -> Iterator[str]:
    """Say of each task where the first codebook lies, the best of the others, and all of them."""
    for line in lines(point):
        parts = [_clause(line, point, layer, number, alone) for layer, number, alone in _told(line)]
        ends = "; ".join(f"{name} {end.said}" for name, end in _ends(line))
        between = "" if line.spans or not ends else ", which intervals do not tell apart"
        if line.upside_down:
            between = f": {line.task.ceiling[1]} is worse than {line.task.floor[1]}, so nothing lies between them"
        yield f"{line.task.label}: {'; '.join(parts)}{f' ({ends}{between})' if ends else ''}."


def _told(line: Line) -> Iterator[tuple[str, Number, bool]]:
    """First codebook alone, the best other one alone, all together; of an encoder without codes its best layer."""
    numbers = sorted((layer for layer in line.together if layer.isdigit()), key=int)
    if line.alone:
        better = min if _lower_is_better(line) else max
        first, *others = sorted(line.alone, key=int)
        yield first, line.alone[first], True
        if others:
            best = better(others, key=lambda layer: line.alone[layer].value)
            yield best, line.alone[best], True
        if len(numbers) > 1:
            yield numbers[-1], line.together[numbers[-1]], False
    elif line.task.probe == "voice_conversion":
        yield from ((layer, line.together[layer], False) for layer in numbers[:1])
    elif numbers:
        best = (min if _lower_is_better(line) else max)(numbers, key=lambda layer: line.together[layer].value)
        yield best, line.together[best], False


def _lower_is_better(line: Line) -> bool:
    return line.task.metric != "uar" and not line.task.metric.startswith(("similarity", "f0"))


def _clause(line: Line, point: Checkpoint, layer: str, number: Number, alone: bool) -> str:
    if line.task.probe == "voice_conversion":
        name = f"content from {'codebook 1' if layer == '1' else f'codebooks 1 to {layer}'}"
    elif alone:
        name = f"codebook {layer} alone"
    else:
        name = f"codebooks 1 to {layer}" if line.alone else f"layer {layer}"
    place = line.place(number)
    return f"{name} {number.said}{f', {place}' if place else ''}"


def _ends(line: Line) -> list[tuple[str, Number]]:
    """Floor and ceiling with their names, as far as they are there."""
    pairs = ((line.task.floor[1], line.floor), (line.task.ceiling[1], line.ceiling))
    return [(name, end) for name, end in pairs if end is not None]


def section(board: Board) -> str:
    """Make a chart for each task, sentences, and all numbers."""
    table = by_layer(board)
    if table.empty:
        return ""
    board.tables["tasks"] = frames.columns(table)
    made = [html.listing([line for points in board.corpora for line in said(points.all[-1])])]
    chosen = row(board.choices("tasks", table, ["corpus"]))
    drawn = [
        board.chart("tasks", "tasks", layer_chart(rows), "plain", ["corpus"], {"task": str(task)})
        for task, rows in table.groupby("task", sort=False)
    ]
    says = (
        "Read-outs are trained on some speakers and tested on others. Floor: the same task on log-mel (conversion: the other speaker's "
        "copy); ceiling: on a teacher (conversion: the same speaker's copy). Dashed: floor and ceiling, dotted: chance, bars: 95 % "
        "intervals over speakers."
    )
    numbers = [
        html.folded(f"Numbers {f'on {points.corpus}' if points.corpus else ''}".strip(), numbers_of({"": points.all[-1]}))
        for points in board.corpora
    ]
    content = f'{"".join(made)}{chosen}<div class="grid">{"".join(drawn)}</div><p class="soft">{says}</p>{"".join(numbers)}'
    return html.section("tasks", "Tasks", content)


def by_layer(board: Board) -> pd.DataFrame:
    """Rows of the charts: what lies at each layer, with floor, ceiling and chance repeated at all of them."""
    found = []
    for points in board.corpora:
        for line in lines(points.all[-1]):
            layers = layer_order([*line.alone, *line.together])
            levels = {FLOOR: line.floor, CEILING: line.ceiling}
            for what, numbers in ((ALONE, line.alone), (TOGETHER, line.together)):
                found += [
                    (points.corpus, line.task.label, what, layer, each.value, each.low, each.high, line.place(each) or "-", each.n)
                    for layer, each in numbers.items()
                ]
            for layer in layers:
                found += [
                    (points.corpus, line.task.label, what, layer, each.value, each.low, each.high, "-", each.n)
                    for what, each in levels.items()
                    if each is not None
                ]
                if math.isfinite(line.chance):
                    found.append((points.corpus, line.task.label, CHANCE, layer, line.chance, line.chance, line.chance, "-", 0))
    return pd.DataFrame(found, columns=["corpus", "task", "what", "layer", *frames.NUMBERS, "place", "n"])


def layer_chart(rows: pd.DataFrame) -> charts.Spec:
    """One task over layers: codebooks alone and accumulated, between the lines of floor and ceiling."""
    x = charts.layer_axis(layer_order(rows["layer"]), "codebook or layer")
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False, "padding": 6}}
    names = [ALONE, TOGETHER, FLOOR, CEILING, CHANCE]
    palette = ["@accent", "@series2", "@series3", "@series1", "@muted"]
    legend = {"orient": "top", "columns": 2, "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1, "labelLimit": 300}
    colour = {"field": "what", "type": "nominal", "title": None, "legend": legend, "scale": {"domain": names, "range": palette}}
    tip = [
        {"field": "what"},
        {"field": "layer"},
        {"field": "value", "format": ".3~g"},
        *charts.INTERVAL,
        {"field": "place", "title": "lies"},
    ]
    low = {"y": {"field": "low", "type": "quantitative", "title": None}, "y2": {"field": "high"}}
    own, chance = f"datum.what == '{ALONE}' || datum.what == '{TOGETHER}'", f"datum.what == '{CHANCE}'"
    flat = f"datum.what == '{FLOOR}' || datum.what == '{CEILING}'"
    marks: list[charts.Spec] = [
        {"transform": [{"filter": flat}], "mark": {"type": "line", "strokeDash": [6, 4]}, "encoding": {"y": y, "tooltip": tip}},
        {"transform": [{"filter": chance}], "mark": {"type": "line", "strokeDash": [2, 3]}, "encoding": {"y": y, "tooltip": tip}},
        {"transform": [{"filter": own}], "mark": {"type": "rule"}, "encoding": low},
        {"transform": [{"filter": own}], "mark": {"type": "line", "point": {"size": 26}}, "encoding": {"y": y, "tooltip": tip}},
    ]
    marks = [each | {"encoding": {"x": x, "color": colour} | each["encoding"]} for each in marks]
    return charts.base(190) | {"title": str(rows["task"].iloc[0]), "layer": marks}


def numbers_of(points: Mapping[str, Checkpoint]) -> str:
    """Tables of all numbers, a task each: a row for each codec and way of taking its layers, floor and ceiling below."""
    made = []
    every = {run: lines(point) for run, point in points.items()}
    for task in TASKS:
        mine = {run: line for run, of in every.items() for line in of if line.task == task}
        if not mine:
            continue
        layers = layer_order(layer for line in mine.values() for layer in (*line.alone, *line.together))
        rows: list[Sequence[str]] = []
        for run, line in mine.items():
            for what, numbers in ((ALONE, line.alone), (TOGETHER, line.together)):
                cells = [_cell(line, numbers.get(layer)) for layer in layers]
                if numbers:
                    rows.append([", ".join(part for part in (run, what) if part), *cells])
            if task.probe == "voice_conversion":
                rows += [
                    [", ".join(part for part in (run, name) if part), end.said, *[""] * (len(layers) - 1)] for name, end in _ends(line)
                ]
        if task.probe != "voice_conversion":
            ends = {run: _ends(line) for run, line in mine.items()}
            alike = all(each == ends[next(iter(ends))] for each in ends.values())  # not where runs are tested on other speakers
            for run, each in list(ends.items())[: 1 if alike else None]:
                named = "" if alike else run
                rows += [[", ".join(part for part in (named, name) if part), end.said, *[""] * (len(layers) - 1)] for name, end in each]
        made.append(f"<h4>{html.text(task.label)}</h4>{html.table(['', *layers], rows)}")
    return "".join(made)


def _cell(line: Line, number: Number | None) -> str:
    if number is None:
        return ""
    place = line.place(number)
    return f"{number.said}{f': {place}' if place else ''}"


def side_by_side(points: Mapping[str, Checkpoint]) -> str:
    """Give the section of the page of several codecs."""
    made = numbers_of(points)
    says = '<p class="soft">Floor, ceiling and what "of the way" means: from log-mel to the teacher, or from one copy to the other.</p>'
    return html.section("tasks", "Tasks", says + made) if made else ""
