"""Sections of the page: each gives its HTML and adds its charts, and the tables that these draw, to the board."""

from collections.abc import Callable, Sequence

import pandas as pd

from laminal.report import articulation, charts, frames, html, layer_curves, tasks, text_alignment
from laminal.report.alarms import alarms, healthy
from laminal.report.board import Board, row
from laminal.report.frames import Points
from laminal.report.headlines import RECONSTRUCTION, UNITS, Headline, headlines
from laminal.report.sentences import of_corpus
from laminal.results import layer_order

HEALTH = {"usage": "share of codes used", "perplexity": "perplexity of the codes", "dead": "codes never used"}
PURITY = {"phone_purity": "phone purity", "cluster_purity": "cluster purity", "spellings_per_token": "spellings per token"}
METRICS = HEALTH | UNITS | PURITY | RECONSTRUCTION


def top(board: Board) -> str:
    """Headline numbers and sentences, corpus by corpus."""
    made = []
    for points in board.corpora:
        lines = headlines(points.all)
        title = f"<h3>On {html.text(points.corpus)}</h3>" if len(board.corpora) > 1 else ""
        cards = ""
        for group in dict.fromkeys(line.group for line in lines):
            inside = "".join(card(line, points) for line in lines if line.group == group)
            cards += f'<h4>{html.text(group)}</h4><div class="cards">{inside}</div>'
        made.append(f"{title}{cards}<h4>In sentences</h4>{html.listing(of_corpus(points.all))}")
    return html.section("headlines", "What the numbers say", "".join(made))


def card(line: Headline, points: Points) -> str:
    """One headline number with its interval and arrow."""
    arrow = f' <span class="{line.tone}">{line.arrow}</span>' if line.arrow else ""
    first = points.ends.get("first")
    before = f"{line.value(line.first)} at {first.label}; " if first is not None and line.first is not None else ""
    return (
        f'<div class="card"><div class="what">{html.text(line.label)}</div>'
        f'<div class="value{"" if line.sure else " unsure"}">{html.text(line.value(line.last))}{arrow}</div>'
        f'<div class="from">{html.text(before)}interval {html.text(line.interval)}</div>'
        f'<div class="verdict">{html.text(line.verdict)}</div></div>'
    )


def codebooks(board: Board) -> str:
    """Codebook health with alarms in words, then what the codes say of phones and words."""
    said = []
    for points in board.corpora:
        bad, good = alarms(points.all[-1]), healthy(points.all[-1])
        said += [f'<p class="alarm">{html.text(line)}</p>' for line in bad] + ([f"<p>{html.text(good)}</p>"] if good else [])
    content = layered(board, "units", "codebook")
    return html.section("codebooks", "Codebook health and units", "".join(said) + content) if content else ""


def reconstruction(board: Board) -> str:
    """Quality of rebuilt speech by how many codebooks it was rebuilt from."""
    return html.section("speech", "Rebuilt speech", layered(board, "reconstruction", "codebooks decoded"))


def others(board: Board) -> str:
    """Make a section for every other probe that has scores of layers."""
    known = {"word_pairs", "units", "reconstruction", "articulation", "text_alignment"} | tasks.PROBES
    probes = sorted({str(name) for points in board.corpora for point in points.all for name in point.table["probe"]} - known)
    sections = [(probe, layered(board, probe, "layer")) for probe in probes]
    return "".join(html.section(f"probe-{place}", probe, content) for place, (probe, content) in enumerate(sections))


def layered(board: Board, probe: str, axis: str) -> str:
    """One small chart for each metric of a probe that has layers, and the numbers."""
    table = frames.by_layer(board.corpora, probe)
    if table.empty:
        return ""
    board.tables[probe] = frames.columns(table)
    known = list(METRICS)
    pairs = sorted(set(zip(table["metric"], table["setting"])), key=lambda each: (known.index(each[0]) if each[0] in known else 99, each))
    made = []
    for metric, setting in pairs:
        rows = table[(table["metric"] == metric) & (table["setting"] == setting)]
        title = ", ".join(part for part in (METRICS.get(metric, metric), setting) if part)
        zero, chance = metric in ("usage", "dead", "perplexity"), bool(rows["chance"].notna().any())
        spec = charts.by_layer(layer_order(rows["layer"]), title, board.axis if metric.startswith("abx_") else axis, zero, chance)
        made.append(board.chart(probe, probe, spec, "plain", ["corpus"], {"metric": metric, "setting": setting}))
    says = '<p class="soft">Last checkpoint in blue, first in grey, chance dashed; bars are 95 % intervals.</p>'
    return f'{says}{row(board.choices(probe, table, ["corpus"]))}<div class="grid">{"".join(made)}</div>{layered_numbers(table, pairs)}'


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


def tradeoff(board: Board) -> str:
    """Bit rate or quality against the semantic gap."""
    table = frames.pareto(board.corpora)
    if table.empty:
        return ""
    board.tables["pareto"] = frames.columns(table)
    choices = row(board.choices("pareto", table, ["kind", "corpus"]))
    kinds = list(dict.fromkeys(table["kind"]))
    where = {"kind": kinds[0]} if len(kinds) == 1 else {}
    chart = board.chart("pareto", "pareto", charts.pareto(), "pareto", ["kind", "corpus"], where)
    says = (
        "The semantic gap is how much closer than random core synonyms lie; a point is the speech of that many codebooks, "
        "last checkpoint in blue, first in grey. Up is more meaning."
    )
    return html.section("tradeoff", "Meaning against cost and quality", f'<p class="soft">{says}</p>{choices}{chart}')


def training(board: Board, rows: Sequence[dict[str, str]]) -> str:
    """Training curves."""
    table = frames.training(rows)
    if table.empty:
        return ""
    board.tables["training"] = frames.columns(table)
    last = lambda name: ("norm" in name or name.startswith("codebooks"), name)  # noqa: E731
    series = table.groupby("chart")["series"].nunique()
    made = []
    for title in sorted(set(table["chart"]), key=last):
        made.append(board.chart("training", "training", charts.training(title, bool(series[title] > 1)), "plain", [], {"chart": title}))
    says = '<p class="soft">Raw values, before weights; long curves are thinned to means.</p>'
    return html.section("training", "Training curves", f'{says}<div class="grid">{"".join(made)}</div>')


SECTIONS: tuple[Callable[[Board], str], ...] = (
    top,
    layer_curves.curves,
    layer_curves.word_map,
    articulation.section,
    others,
    text_alignment.section,
    codebooks,
    reconstruction,
    tasks.section,
    tradeoff,
)
