"""Praat TextGrids: read long and short text files, written long; bad grids are told apart from good ones here."""

import codecs
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laminal.atomic import write_text
from laminal.corpora.base import Interval
from laminal.errors import DataError

SILENCE = frozenset({"", "sil", "sp", "spn"})  # labels of no word and of no phone, in any case
PAST_END = 0.05  # s: how far a grid may run past its audio (aligners count whole frames) before it is taken for another file's
SLACK = 1e-6  # s: neighbours whose times were rounded apart do not overlap

# Praat's rule for both formats: only quoted texts, <flags> and numbers that stand free count; all else is decoration.
# A lone quote is kept: there the file was cut. One capturing group and few starts keep this at C speed.
_TOKEN = re.compile(r'[^"<!\d+-]*(?:("[^"]*(?:""[^"]*)*"|"|<\w+>|(?<!\S)[-+]?\d[\d.]*(?:[eE][-+]?\d+)?(?!\S))|![^\n]*|.|\Z)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier, intervals in order of time (points of a point tier have no length)."""

    name: str
    intervals: tuple[Interval, ...]
    points: bool = False


@dataclass(frozen=True, slots=True)
class TextGrid:
    """Tiers between `start` and `end`, in seconds."""

    start: float
    end: float
    tiers: tuple[Tier, ...]

    def tier(self, which: str | int) -> Tier:
        """Find a tier by name (any case; also `SPEAKER - words`, as MFA writes) or by number from 1, as Praat counts; raises DataError."""
        if isinstance(which, int):
            found = [self.tiers[which - 1]] if 1 <= which <= len(self.tiers) else []
        else:
            wanted = which.casefold()
            names = [tier.name.casefold() for tier in self.tiers]
            found = [t for t, name in zip(self.tiers, names) if name == wanted] or [
                t for t, name in zip(self.tiers, names) if name.endswith(f" - {wanted}")
            ]
        if len(found) != 1:
            there = ", ".join(repr(tier.name) for tier in self.tiers) or "none"
            raise DataError(f"{len(found)} tiers are called {which!r}, one is needed; the tiers are {there}: name one of them")
        if found[0].points:
            raise DataError(f"tier {which!r} is a point tier and words and phones need intervals; name an interval tier")
        return found[0]


def decode(raw: bytes) -> str:
    """Text of a TextGrid file: UTF-16 by its byte order mark, else UTF-8, else (old Praat) Latin-1."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read(path: Path) -> TextGrid:
    """Read the TextGrid at `path`, times in seconds; raises DataError where it is none, or broken."""
    try:
        return parse(decode(path.read_bytes()))
    except (DataError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from error


def parse(text: str) -> TextGrid:
    """Read the text of a TextGrid, long or short; raises DataError where it is none, truncated or out of order."""
    if not re.match(r'\s*(File type\s*=\s*)?"ooTextFile( short)?"', text):
        raise DataError(f'not a TextGrid: it starts with {text[:20]!r} and not with File type = "ooTextFile"; save it as text in Praat')
    tokens = _Tokens([token for token in _TOKEN.findall(text) if token])
    tokens.text()
    kind = tokens.text()
    if kind != "TextGrid":
        raise DataError(f"object class {kind!r} is no TextGrid; save the TextGrid itself as text in Praat")
    start, end = tokens.number(), tokens.number()
    tiers = tuple(_tier(tokens) for _ in range(tokens.count())) if tokens.flag() == "exists" else ()
    return TextGrid(start, end, tiers)


class _Tokens:
    """The texts, flags and numbers of a TextGrid, taken one by one."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.at = tokens, 0

    def take(self, count: int) -> list[str]:
        taken = self.tokens[self.at : self.at + count]
        self.at += count
        if len(taken) < count or (taken and taken[-1] == '"'):
            raise DataError("truncated: it ends in the middle of a tier; make or fetch it again")
        return taken

    def text(self) -> str:
        return _label(self.take(1)[0])

    def flag(self) -> str:
        return self.take(1)[0].strip("<>")

    def number(self) -> float:
        return _number(self.take(1)[0])

    def count(self) -> int:
        count = self.number()
        if count < 0 or not count.is_integer():
            raise DataError(f"{count:g} is no count of tiers or intervals; make it again, or save it as text in Praat")
        return int(count)


def _label(token: str) -> str:
    if token[0] != '"':
        raise DataError(f"a text was due where {token} stands; make it again, or save it as text in Praat")
    return token[1:-1].replace('""', '"')


def _number(token: str) -> float:
    try:
        return float(token)
    except ValueError:
        raise DataError(f"a number was due where {token} stands; make it again, or save it as text in Praat") from None


def _tier(tokens: _Tokens) -> Tier:
    kind, name = tokens.text(), tokens.text()
    if kind not in ("IntervalTier", "TextTier"):
        raise DataError(f"tier class {kind!r} is neither IntervalTier nor TextTier; save it again as text in Praat")
    tokens.take(2)  # its bounds are those of the grid
    count = tokens.count()
    width = 3 if kind == "IntervalTier" else 2
    block = tokens.take(width * count)
    starts = [_number(token) for token in block[::width]]
    ends = [_number(token) for token in block[1::width]] if width == 3 else starts
    labels = [_label(token) for token in block[width - 1 :: width]]
    last = -math.inf
    for label, start, end in zip(labels, starts, ends, strict=True):
        if end < start:
            raise DataError(f"tier {name!r}: {label!r} ends at {end:g} s, before its start at {start:g} s; correct it in Praat")
        if start < last - SLACK:
            raise DataError(f"tier {name!r}: {label!r} starts at {start:g} s, before its neighbour ends at {last:g} s; correct it in Praat")
        last = end
    return Tier(name, tuple(map(Interval, labels, starts, ends)), points=kind == "TextTier")


def labelled(tier: Tier, seconds: float) -> tuple[Interval, ...]:
    """Intervals of `tier` that are no silence, ends clipped to the `seconds` of the audio; raises DataError where they lie outside it."""
    kept = []
    for interval in tier.intervals:
        label = interval.label.strip()
        if label.casefold() in SILENCE:
            continue
        if interval.start < -SLACK or interval.end > seconds + PAST_END or interval.start >= seconds:
            raise DataError(
                f"tier {tier.name!r}: {label!r} at {interval.start:g}-{interval.end:g} s lies outside the {seconds:.3f} s of its audio "
                f"(at most {PAST_END} s past the end); pair the grid with its own audio"
            )
        if interval.end == interval.start:
            raise DataError(f"tier {tier.name!r}: {label!r} at {interval.start:g} s has no length; correct it in Praat")
        kept.append(Interval(label, max(interval.start, 0.0), min(interval.end, seconds)))
    return tuple(kept)


def words(tier: Tier, seconds: float) -> tuple[Interval, ...]:
    """Words of `tier` in lower case, silences left out; raises DataError as `labelled`."""
    return tuple(Interval(i.label.lower(), i.start, i.end) for i in labelled(tier, seconds))


def phones(tier: Tier, seconds: float) -> tuple[Interval, ...]:
    """Phones of `tier` as ARPAbet without stress digits, silences left out; raises DataError as `labelled`."""
    return tuple(Interval(i.label.upper().rstrip("012"), i.start, i.end) for i in labelled(tier, seconds))


def filled(intervals: Sequence[Interval], end: float) -> tuple[Interval, ...]:
    """Put '' where `intervals` (in order, from 0 to `end` s) leave gaps, as a TextGrid needs."""
    full: list[Interval] = []
    at = 0.0
    for interval in intervals:
        if interval.start > at + SLACK:
            full.append(Interval("", at, interval.start))
        full.append(interval)
        at = interval.end
    if at < end - SLACK:
        full.append(Interval("", at, end))
    return tuple(full)


def write(path: Path, grid: TextGrid) -> None:
    """Write interval tiers in the long text format, UTF-8, whole or not at all."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", f"xmin = {grid.start!r}", f"xmax = {grid.end!r}"]
    lines += ["tiers? <exists>", f"size = {len(grid.tiers)}", "item []:"]
    for number, tier in enumerate(grid.tiers, 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(tier.name)}"]
        lines += [f"        xmin = {grid.start!r}", f"        xmax = {grid.end!r}", f"        intervals: size = {len(tier.intervals)}"]
        for position, interval in enumerate(tier.intervals, 1):
            lines += [f"        intervals [{position}]:", f"            xmin = {interval.start!r}"]
            lines += [f"            xmax = {interval.end!r}", f"            text = {_quoted(interval.label)}"]
    write_text(path, "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
