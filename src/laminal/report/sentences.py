"""What a table of scores means, in sentences and in a table for the terminal."""

import io
from collections.abc import Iterator, Sequence

import pandas as pd

from laminal.report import articulation, tasks, text_alignment, words
from laminal.report.alarms import alarms, healthy
from laminal.report.headlines import RECONSTRUCTION, TIERS, UNITS, counted, ends, headlines, rebuilt, rebuilt_layers, tiers
from laminal.report.selection import Checkpoint, Reading, checkpoints, corpora


def summary(scores: pd.DataFrame) -> list[str]:
    """Say in sentences what the last checkpoint is like and, where there are several, what changed since the first; corpus by corpus."""
    names = corpora(scores) if len(scores) else []
    if not names:
        return ["There are no scores yet."]
    said = []
    for name in names:
        head = f"On {name}: " if len(names) > 1 and name else ""
        points = checkpoints(scores, name)
        elsewhere = {_opened(line) for line in articulation.said(points[-1])} if points else set()  # they name the tracts' own corpus
        said += [line if line in elsewhere else head + line for line in of_corpus(points)]
    return said


def of_corpus(points: Sequence[Checkpoint]) -> list[str]:
    """Sentences of the checkpoints of one corpus."""
    if not points:
        return ["There are no scores yet."]
    first, last = points[0] if len(points) > 1 else None, points[-1]
    lines = [
        *_layers(last),
        *_moves(first, last),
        *_tiers(last),
        *articulation.said(last),
        *text_alignment.spoken(last),
        *_speech(first, last),
        *tasks.said(last),
        *_units(last),
        *_health(last),
    ]
    return [_opened(line) for line in lines] or ["No score here has a sentence; see the table."]


def _opened(line: str) -> str:
    return line[:1].upper() + line[1:]


def _layers(point: Checkpoint) -> Iterator[str]:
    for layer in ends(point.layers("word_pairs", "over_random")):
        line = layer_sentence(point, layer)
        if line:
            yield line


def layer_sentence(point: Checkpoint, layer: str) -> str:
    """Say whether a layer is phonetic or semantic, as far as its intervals go; empty where it has no such score."""
    sound = point.find("word_pairs", "over_random", setting="near_homophone", layer=layer)
    core = point.find("word_pairs", "over_random", setting="synonym_core", layer=layer)
    meaning = point.find("word_pairs", "over_random", setting="synonym", layer=layer) or core
    parts: list[str] = []
    for name, reading in (("near-homophones", sound), ("synonyms", meaning)):
        if reading is not None:
            parts.append(_clause(name, reading, not parts))
    end = f": {words.verdict(sound, meaning)}" if sound is not None and meaning is not None else ""
    return f"at {point.named(layer)} {', '.join(parts)}{end}." if parts else ""


def _clause(name: str, reading: Reading, opens: bool) -> str:
    if not words.told(reading):
        return f"{name} ({words.cannot_tell(reading)})"
    middle = f"are {words.size(reading)} than random" if opens else words.size(reading)
    return f"{name} {middle} ({words.support(reading)})"


def _moves(first: Checkpoint | None, last: Checkpoint) -> Iterator[str]:
    """How both distances moved at the first codebook."""
    for layer in ends(last.layers("word_pairs", "over_random"))[:1] if first is not None else []:
        assert first is not None
        for setting, name in (("near_homophone", "near-homophones"), ("synonym_core", "core synonyms")):
            before, after = (point.find("word_pairs", "over_random", setting=setting, layer=layer) for point in (first, last))
            if before is None or after is None or not (words.told(before) and words.told(after)):
                continue
            moved = words.change(before, after).replace("higher", "further from each other").replace("lower", "closer to each other")
            yield (
                f"from {first.label} to {last.label} {name} at {last.named(layer)} went from {words.size(before)} than random "
                f"to {words.size(after)} ({moved})."
            )


def _tiers(point: Checkpoint) -> Iterator[str]:
    """Say what the synonym loss taught: the pairs it saw, other pairs of the words it saw, or words it never saw."""
    for layer in ends(point.layers("word_pairs", "over_random"))[:1]:
        found = tiers(point, layer)
        every = point.find("word_pairs", "over_random", setting="synonym_core", layer=layer)
        if not found and every is not None:
            yield f"{_clause('core synonyms', every, True)} at {point.named(layer)}."
        if not found:
            continue
        how = next(iter(found.values())).slice
        where = {"features": ", cut from whole utterances", "audio": ", each word cut and encoded alone"}.get(how, "")
        parts: list[str] = []
        for name, reading in found.items():
            what = f"{words.size(reading)} than random ({words.support(reading)}, n = {reading.n})"
            parts.append(f"{TIERS[name]} {what if words.told(reading) else f'({words.cannot_tell(reading)})'}")
        yield f"core synonyms at {point.named(layer)}{where}: {'; '.join(parts)}. {_generalises(found)}".rstrip()


def _generalises(found: dict[str, Reading]) -> str:
    """Say how far closeness reaches; not why: a tokenizer without a synonym loss has the same tiers."""
    sides = {name: words.side(reading) for name, reading in found.items()}
    if sides.get("new_word") == -1:
        return "Synonyms are closer than random even among words that no lexical loss saw."
    if sides.get("new_pair") == -1:
        beyond = "words new to training are not" if sides.get("new_word") in (0, 1) else "of words new to training one cannot tell"
        return f"Synonyms that were never paired are closer than random where both words were in training; {beyond}."
    if sides.get("trained") == -1:
        held = [sides.get("new_pair"), sides.get("new_word")]
        if all(each in (0, 1) for each in held):
            return "Trained pairs are closer than random; nothing shows beyond them."
        return "Trained pairs are closer than random; how far beyond them one cannot tell."
    if all(sides.get(name) in (0, 1) for name in TIERS):
        return "In no tier are synonyms closer than random."
    return ""


def _speech(first: Checkpoint | None, last: Checkpoint) -> Iterator[str]:
    """Quality of rebuilt speech; what moved is told apart from what did not."""
    for layer in rebuilt_layers(last)[-1:]:
        said: dict[str, list[str]] = {}
        for metric, name in RECONSTRUCTION.items():
            after = rebuilt(last, metric, layer)
            before = rebuilt(first, metric, layer) if first is not None else None
            if after is not None and before is not None:
                said.setdefault(f"{words.change(before, after)}: ", []).append(
                    f"{name} {words.number(before.value)} to {words.number(after.value)}"
                )
            elif after is not None:
                said.setdefault("", []).append(f"{name} {words.number(after.value)} ({words.between(after)})")
        when = f", {first.label} to {last.label}" if first is not None else ""
        if said:
            parts = "; ".join(kind + ", ".join(each) for kind, each in said.items())
            yield f"speech rebuilt from {counted(layer)}{when}: {parts}."


def _units(point: Checkpoint) -> Iterator[str]:
    for metric, name in UNITS.items():
        for layer in ends(point.layers("units", metric))[:1]:
            reading = point.find("units", metric, layer=layer)
            if reading is not None:
                level = f"; chance {words.number(reading.chance)}" if reading.chance == reading.chance else ""
                said = words.against_chance(reading)
                end = f": {said}" if said else ""
                yield f"{name} at {point.named(layer)} is {words.number(reading.value)} ({words.between(reading)}{level}){end}."


def _health(point: Checkpoint) -> Iterator[str]:
    yield from (f"{line}." for line in alarms(point))
    line = healthy(point)
    if line:
        yield line


def table(scores: pd.DataFrame, width: int = 120) -> str:
    """Draw the headline numbers for the terminal: first and last checkpoint, interval, chance, and a verdict in words."""
    from rich.console import Console
    from rich.table import Table

    drawn = io.StringIO()
    console = Console(file=drawn, width=width, color_system=None, emoji=False, markup=False, highlight=False)
    for name in corpora(scores) if len(scores) else []:
        points = checkpoints(scores, name)
        first, last = points[0].label or "first", points[-1].label or "value"
        heads = ["", *([first] if len(points) > 1 else []), last, "interval", "chance", "in words"]
        grid = Table(*heads, title=f"scores on {name}" if name else "scores", title_justify="left")
        group = ""
        for line in headlines(points):
            if line.group != group:
                grid.add_section()
                group = line.group
            before = [line.value(line.first)] if len(points) > 1 else []
            grid.add_row(line.label, *before, line.value(line.last), line.interval, line.chance, line.verdict)
        console.print(grid)
    return drawn.getvalue()
