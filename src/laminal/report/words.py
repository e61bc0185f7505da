"""Numbers in words: what an interval supports, and nothing more."""

import math

from laminal.report.selection import Reading

NARROW = 0.025  # of random: published effects are no larger, so a wider interval that holds 0 decides nothing (PROBES.md)

ROUNDING = 1e-9  # smaller numbers are what float64 leaves of 0


def percent(share: float) -> str:
    """Write a share: two digits below 10 %, whole numbers from there."""
    return f"{_digits(100 * share)} %"


def _digits(value: float) -> str:
    """Two digits, but nothing short of 100 is written as 100."""
    if 99 < abs(value) < 100:
        return f"{math.copysign(min(abs(value), 99.9), value):.1f}"
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"


def number(value: float) -> str:
    """Write a number with three significant digits (whole from 100 on), NaN as a dash."""
    if not math.isfinite(value):
        return "-"
    if abs(value) < ROUNDING:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def counted(count: int, what: str) -> str:
    """Write a count of things: `1 speaker`, `6 speakers`."""
    return f"{count:,d} {what}{'' if count == 1 else 's'}"


def between(reading: Reading) -> str:
    """Write the interval."""
    return f"{number(reading.low)} to {number(reading.high)}"


def told(reading: Reading) -> bool:
    """Whether a share of random decides anything: its interval leaves 0 out, which shows the side, or is narrow enough for a null."""
    return reading.half_width <= NARROW or reading.low > 0 or reading.high < 0  # False for NaN


def cannot_tell(reading: Reading) -> str:
    """Say why nothing is said."""
    return f"cannot tell: n = {reading.n}, half-width {percent(reading.half_width)}"


def side(reading: Reading) -> int | None:
    """-1: closer than random, 1: further, 0: the interval holds 0; None: it is too wide to tell."""
    if not told(reading):
        return None
    return -1 if reading.high < 0 else int(reading.low > 0)


def size(reading: Reading) -> str:
    """Write a distance over random: `18 % closer`."""
    return f"{percent(abs(reading.value))} {'further' if reading.value > 0 else 'closer'}"


def support(reading: Reading) -> str:
    """Write the interval of a distance over random: `15 to 21 %`, or that it holds 0."""
    if reading.low <= 0 <= reading.high:
        return "interval holds 0"
    low, high = sorted((abs(100 * reading.low), abs(100 * reading.high)))
    digits = 1 if high - low < 5 else 0
    return f"{low:.{digits}f} to {high:.{digits}f} %"


def verdict(sound: Reading, meaning: Reading) -> str:
    """One word for a layer, from near-homophones and synonyms over random."""
    hears, means = side(sound), side(meaning)
    if hears is None and means is None:
        return "cannot tell"
    if means is None:
        return "sound shows, of meaning one cannot tell" if hears == -1 else "no sound shows, of meaning one cannot tell"
    if hears is None:
        return "meaning shows, of sound one cannot tell" if means == -1 else "no meaning shows, of sound one cannot tell"
    if hears == -1 and means == -1:
        if sound.high < meaning.low:
            return "more phonetic than semantic"
        return "more semantic than phonetic" if meaning.high < sound.low else "both phonetic and semantic"
    if hears == -1:
        return "phonetic"
    return "semantic" if means == -1 else "neither sound nor meaning shows"


def against_chance(reading: Reading) -> str:
    """Say whether the interval leaves out the chance level, and on which side the value is."""
    if not all(math.isfinite(each) for each in (reading.chance, reading.low, reading.high)):
        return ""
    if reading.low <= reading.chance <= reading.high:
        return "not told from chance"
    above = reading.low > reading.chance
    if reading.better is None:
        return "above chance" if above else "below chance"
    return "better than chance" if above == reading.better else "worse than chance"


def change(first: Reading, last: Reading) -> str:
    """Say whether the last value is another than the first: by the paired difference where the items are kept, else by both intervals.

    Chance that changes with the codes in use is taken off both: more codes alone would raise PNMI.
    """
    moved = last.floor - first.floor
    low, high = last.change or (last.low - first.high - moved, last.high - first.low - moved)
    up, down = low > 0, high < 0
    if not (up or down):
        return "no difference beyond the interval"
    if last.better is None:
        return "higher beyond the interval" if up else "lower beyond the interval"
    return "better beyond the interval" if up == last.better else "worse beyond the interval"
