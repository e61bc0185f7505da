"""Sections of the page: each gives its HTML, its charts and the tables that the charts draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from laminal.report import charts, frames, html, words
from laminal.report.alarms import alarms, healthy
from laminal.report.frames import Points
from laminal.report.headlines import RECONSTRUCTION, SETTINGS, UNITS, Headline, headlines
from laminal.report.selection import DISTANCES, MODES, SLICES, TIERS, layer_name
from laminal.report.sentences import of_corpus
from laminal.results import layer_order

NAMES = {"split": "pairs", "slice": "word features", "distance": "distance", "layer_mode": "layers", "corpus": "corpus", "at": "checkpoint"}
SAID = {
    "all": "all", "trained": "trained pairs", "new_pair": "new pairs of trained words", "new_word": "words new to training",
    "cross": "one word new to training", "audio": "each word cut and encoded alone", "features": "cut from the encoded utterance",
    "scaled": "euclidean over the layer's spread", "cumulative": "codebooks 1 to k", "single": "codebook k alone", "residual": "codebooks 2 to k",
}  # fmt: skip
ORDER: dict[str, Sequence[str]] = {"split": TIERS, "slice": SLICES, "distance": DISTANCES, "layer_mode": MODES}
METRICS = RECONSTRUCTION | UNITS | {
    "phone_purity": "phone purity", "cluster_purity": "cluster purity", "spellings_per_token": "spellings per token", "usage": "share of codes used",
    "perplexity": "perplexity of the codes", "dead": "codes never used",
}  # fmt: skip


@dataclass(slots=True)
class Page:
    """What the sections have made so far."""

    corpora: Sequence[Points]
    tables: dict[str, Any] = field(default_factory=dict)
    drawn: list[dict[str, Any]] = field(default_factory=list)

    def chart(
        self, section: str, table: str, spec: charts.Spec, derive: str, choose: Sequence[str] = (), where: dict[str, str] | None = None
    ) -> str:
        """Register a chart and give the place it is drawn in."""
        name = f"chart-{len(self.drawn)}"
        self.drawn.append({"id": name, "section": section, "table": table, "spec": spec, "derive": derive, "choose": list(choose), "where": where or {}})
        return f'<div class="chart" id="{name}"></div>'

    def choices(self, section: str, table: pd.DataFrame, names: Sequence[str], last: str = "") -> str:
        """Make the choices of a section from what its table holds."""
        made = []
        for name in names:
            found = list(dict.fromkeys(table[name].astype(str)))
            order = [each for each in ORDER.get(name, ()) if each in found] + [each for each in found if each not in ORDER.get(name, ())]
            made.append(html.select(section, name, NAMES.get(name, name), {each: SAID.get(each, each) for each in order}, last or order[0]))
            last = ""
        return f'<div class="choices">{"".join(made)}</div>' if any(made) else ""


def top(page: Page) -> str:
    """Headline numbers and sentences, corpus by corpus."""
    made = []
    for points in page.corpora:
        lines = headlines(points.all)
        title = f"<h3>On {html.text(points.corpus)}</h3>" if len(page.corpora) > 1 else ""
        cards = "".join(card(line, points) for line in lines)
        made.append(f'{title}<div class="cards">{cards}</div>{html.listing(of_corpus(points.all))}')
    return html.section("headlines", "What the numbers say", "".join(made))


def card(line: Headline, points: Points) -> str:
    """One headline number with its interval and arrow."""
    arrow = f' <span class="{line.tone}">{line.arrow}</span>' if line.arrow else ""
    first = points.ends.get("first")
    before = f"{line.value(line.first)} at {first.label}; " if first is not None and line.first is not None else ""
    return (
        f'<div class="card"><div class="what">{html.text(line.label)}</div><div class="value">{html.text(line.value(line.last))}{arrow}</div>'
        f'<div class="from">{html.text(before)}interval {html.text(line.interval)}</div><div class="verdict">{html.text(line.verdict)}</div></div>'
    )


def curves(page: Page) -> str:
    """Layer curves as in the study's Fig. 2, and the map of checkpoint by layer."""
    table = frames.word_curves(page.corpora)
    if table.empty:
        return ""
    page.tables["curves"] = frames.columns(table)
    layers = layer_order(table["layer"])
    latest = page.corpora[0].all[-1].label or "as it is"
    names = [*frames.CHOICES, "at"]
    choices = page.choices("words", table, ["at"], latest) + page.choices("words", table, frames.CHOICES)
    choices = choices.replace('</div><div class="choices">', "")
    says = (
        "Lower is closer. Bands are 95 % intervals over word types; grey dashes are random pairs matched to each setting in phones, duration and "
        "split; grey points with a coloured rim are the unquantised latent."
    )
    above = page.chart("words", "curves", charts.word_curves(layers, "mean", "mean distance"), "curves", names, {"metric": "mean"})
    below = page.chart("words", "curves", charts.word_curves(layers, "minus_random", "minus random"), "curves", names, {"metric": "minus_random"})
    content = f'<p class="soft">{says}</p>{choices}{above}{below}{word_numbers(page)}'
    return html.section("words", "Sound or meaning, layer by layer", content)


def word_numbers(page: Page) -> str:
    """Numbers of the last checkpoint with the usual choices, as a table."""
    made = []
    for points in page.corpora:
        point = points.all[-1]
        heads = ["", *(layer_name(layer).replace("the unquantised ", "") for layer in ["latent", *point.layers("word_pairs", "over_random")])]
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


def word_map(page: Page) -> str:
    """Heat map of checkpoint by layer."""
    table = frames.word_map(page.corpora)
    if table.empty:
        return ""
    table = table.drop(columns="metric")
    page.tables["map"] = frames.columns(table)
    moments = [point.label or "as it is" for points in page.corpora for point in frames.thinned(points.all)]
    settings = [name for name in ("near_homophone", "synonym", "synonym_core", "same_word", "same_speaker") if name in set(table["setting"])]
    choice = html.select("map", "setting", "pairs of", {name: SETTINGS[name] for name in settings}, settings[0])
    choices = f'<div class="choices">{choice}</div>' if choice else ""
    choices = (choices + page.choices("map", table, frames.CHOICES)).replace('</div><div class="choices">', "")
    says = (
        "Distance over random in %: blue is closer. A dot: the interval holds 0. A question mark: its half-width exceeds "
        f"{100 * words.NARROW:g} % of random, so nothing can be told."
    )
    spec = charts.word_map(layer_order(table["layer"]), list(dict.fromkeys(moments)))
    chart = page.chart("map", "map", spec, "map", ["setting", *frames.CHOICES], {} if choice else {"setting": settings[0]})
    return html.section("map", "Checkpoint by layer", f'<p class="soft">{says}</p>{choices}{chart}')


def codebooks(page: Page) -> str:
    """Codebook health with alarms in words, then what the codes say of phones and words."""
    said = []
    for points in page.corpora:
        bad, good = alarms(points.all[-1]), healthy(points.all[-1])
        said += [f'<p class="alarm">{html.text(line)}</p>' for line in bad] + ([f"<p>{html.text(good)}</p>"] if good else [])
    content = layered(page, "units", "codebook")
    return html.section("codebooks", "Codebook health and units", "".join(said) + content) if content else ""


def reconstruction(page: Page) -> str:
    """Quality of rebuilt speech by how many codebooks it was rebuilt from."""
    return html.section("speech", "Rebuilt speech", layered(page, "reconstruction", "codebooks decoded"))


def others(page: Page) -> str:
    """A section for every other probe that has scores of layers."""
    titles = {"articulation": "Articulation by layer", "text_alignment": "Text alignment"}
    known = {"word_pairs", "units", "reconstruction"}
    probes = sorted({str(name) for points in page.corpora for point in points.all for name in point.table["probe"]} - known)
    sections = [(probe, layered(page, probe, "layer")) for probe in sorted(probes, key=lambda name: (name not in titles, name))]
    return "".join(html.section(f"probe-{place}", titles.get(probe, probe), content) for place, (probe, content) in enumerate(sections))


def layered(page: Page, probe: str, axis: str) -> str:
    """One small chart for each metric of a probe that has layers, and the numbers."""
    table = frames.by_layer(page.corpora, probe)
    if table.empty:
        return ""
    page.tables[probe] = frames.columns(table)
    known = list(METRICS)
    pairs = sorted(set(zip(table["metric"], table["setting"])), key=lambda each: (known.index(each[0]) if each[0] in known else 99, each))
    made = []
    for metric, setting in pairs:
        rows = table[(table["metric"] == metric) & (table["setting"] == setting)]
        title = ", ".join(part for part in (METRICS.get(metric, metric), setting) if part)
        spec = charts.by_layer(layer_order(rows["layer"]), title, axis, exact=metric in ("usage", "dead", "perplexity"))
        made.append(page.chart(probe, probe, spec, "plain", ["corpus"], {"metric": metric, "setting": setting}))
    says = '<p class="soft">Last checkpoint in blue, first in grey, chance dashed; bars are 95 % intervals.</p>'
    return f'{says}{page.choices(probe, table, ["corpus"])}<div class="grid">{"".join(made)}</div>{layered_numbers(table, pairs)}'


def layered_numbers(table: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> str:
    """Numbers of the last checkpoint of a probe with layers."""
    layers = layer_order(table["layer"])
    made = []
    for corpus, here in table[table["when"] == "last"].groupby("corpus", sort=False):
        cells = {(r.metric, r.setting, r.layer): r for r in here.itertuples()}
        rows = []
        for metric, setting in pairs:
            found = [cells.get((metric, setting, layer)) for layer in layers]
            label = ", ".join(part for part in (METRICS.get(metric, metric), setting) if part)
            rows.append([label, *(f"{r.value:.4g} ({r.low:.4g} to {r.high:.4g})" if r is not None else "" for r in found)])
        made.append(html.folded(f"Numbers {f'on {corpus}' if corpus else ''}".strip(), html.table(["", *layers], rows)))
    return "".join(made)


def tradeoff(page: Page) -> str:
    """Bit rate or quality against the semantic gap."""
    table = frames.pareto(page.corpora)
    if table.empty:
        return ""
    page.tables["pareto"] = frames.columns(table)
    choices = page.choices("pareto", table, ["kind", "corpus"]).replace(">kind ", ">against ")
    kinds = list(dict.fromkeys(table["kind"]))
    where = {"kind": kinds[0]} if len(kinds) == 1 else {}
    chart = page.chart("pareto", "pareto", charts.pareto(), "pareto", ["kind", "corpus"], where)
    says = (
        "The semantic gap is how much closer than random core synonyms lie; a point is the speech of that many codebooks, "
        "last checkpoint in blue, first in grey. Up is more meaning."
    )
    return html.section("tradeoff", "Meaning against cost and quality", f'<p class="soft">{says}</p>{choices}{chart}')


def training(page: Page, rows: Sequence[dict[str, str]]) -> str:
    """Training curves."""
    table = frames.training(rows)
    if table.empty:
        return ""
    page.tables["training"] = frames.columns(table)
    last = lambda name: ("norm" in name or name.startswith("codebooks"), name)  # noqa: E731
    made = []
    for title in sorted(set(table["chart"]), key=last):
        made.append(page.chart("training", "training", charts.training(title), "plain", [], {"chart": title}))
    says = '<p class="soft">Raw values, before weights; long curves are thinned to means.</p>'
    return html.section("training", "Training curves", f'{says}<div class="grid">{"".join(made)}</div>')


SECTIONS: tuple[Callable[[Page], str], ...] = (top, curves, word_map, others, codebooks, reconstruction, tradeoff)
