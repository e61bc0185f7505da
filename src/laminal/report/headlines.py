"""The few numbers that come first: which they are, how they moved from the first checkpoint to the last, and what that supports."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from laminal.report import words
from laminal.report.selection import Checkpoint, Reading

SETTINGS = {
    "same_word": "same word, other speaker",
    "near_homophone": "near-homophones",
    "synonym": "synonyms",
    "synonym_core": "core synonyms",
    "same_speaker": "same speaker, other word",
}
TIERS = {"trained": "trained pairs", "new_pair": "new pairs of trained words", "new_word": "words new to training"}
RECONSTRUCTION = {
    "mel_distance": "mel distance",
    "stoi": "STOI",
    "estoi": "extended STOI",
    "pesq": "PESQ",
    "si_sdr": "SI-SDR (dB)",
    "mcd": "MCD (dB)",
    "f0_correlation": "F0 correlation",
    "voicing_error": "voicing error",
    "speaker_similarity": "speaker similarity",
    "wer": "word error rate",
}
UNITS = {
    "phone_gain": "phone accuracy above chance (codes as others use them)",
    "pnmi": "PNMI",
    "abx_across": "ABX error across speakers",
    "abx_within": "ABX error within speakers",
    "lexical_auc": "lexical AUC",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """One number at the first and at the last checkpoint; `first` is None where there is one checkpoint."""

    group: str
    label: str
    first: Reading | None
    last: Reading
    relative: bool  # a distance over random, written as `18 % closer`

    def value(self, reading: Reading | None) -> str:
        """Write a value."""
        if reading is None:
            return ""
        return words.size(reading) if self.relative else words.number(reading.value)

    @property
    def interval(self) -> str:
        """The last interval."""
        if not self.relative:
            return words.between(self.last)
        low, high = self.last.low, self.last.high
        if low <= 0 <= high:
            return f"{words.percent(-low)} closer to {words.percent(high)} further"
        return words.support(self.last)

    @property
    def chance(self) -> str:
        """The chance level."""
        return "random" if self.relative else words.number(self.last.chance)

    @property
    def moved(self) -> str:
        """How the number moved; nothing where there is one checkpoint or an interval is too wide."""
        if self.first is None:
            return ""
        if self.relative and not (words.told(self.first) and words.told(self.last)):
            return ""
        moved = words.change(self.first, self.last)
        return (
            moved.replace("lower", "moved closer").replace("higher", "moved further").replace("difference", "move")
            if self.relative
            else moved
        )

    @property
    def verdict(self) -> str:
        """What the intervals support, in words."""
        if not self.relative:
            return "; ".join(part for part in (words.against_chance(self.last), self.moved) if part) or "one checkpoint, no chance level"
        found = words.side(self.last)
        if found is None:
            return words.cannot_tell(self.last)
        said = {-1: "closer than random", 0: "no difference from random (interval holds 0)", 1: "further than random"}[found]
        return "; ".join(part for part in (said, self.moved) if part)

    @property
    def sure(self) -> bool:
        """Whether the last value can be told from random, or from chance where it has a level."""
        return words.side(self.last) not in (None, 0) if self.relative else words.against_chance(self.last) != "not told from chance"

    @property
    def arrow(self) -> str:
        """Direction from first to last: up, down, or even where the intervals meet."""
        if self.first is None or not math.isfinite(self.first.value):
            return ""
        if not self.moved or self.moved.startswith("no "):
            return "→"
        return "↑" if self.last.value > self.first.value else "↓"

    @property
    def tone(self) -> str:
        """How the arrow is coloured: good, bad, or plain where neither direction is better."""
        return {"better": "good", "worse": "bad"}.get(self.moved.split(" ")[0], "plain")


def headlines(points: Sequence[Checkpoint]) -> list[Headline]:
    """Choose the numbers that come first, from the checkpoints of one corpus."""
    return [*_words(points), *_tiers(points), *_speech(points), *_units(points)] if points else []


def ends(layers: Sequence[str]) -> list[str]:
    """First and last numbered layer."""
    return list(dict.fromkeys([layers[0], layers[-1]])) if layers else []


def rebuilt(point: Checkpoint, metric: str, layer: str) -> Reading | None:
    """One number of rebuilt speech at `layer` codebooks."""
    return point.find("reconstruction", metric, layer=layer) or point.find("reconstruction", metric, setting=layer)


def rebuilt_layers(point: Checkpoint) -> list[str]:
    """Give the counts of codebooks that speech was rebuilt from."""
    rows = point.table[point.table["probe"] == "reconstruction"]
    return sorted({name for name in pd.concat([rows["layer"], rows["setting"]]) if str(name).isdigit()}, key=int)


def tiers(point: Checkpoint, layer: str) -> dict[str, Reading]:
    """Core synonyms by tier, all of one slice: frames cut from the whole utterance first, for with new words only context can help."""
    for slice in ("features", None):
        readings = {name: point.find("word_pairs", "over_random", "synonym_core", layer, name, slice) for name in TIERS}
        found = {name: reading for name, reading in readings.items() if reading is not None}
        if found:
            return found
    return {}


def _make(
    group: str, label: str, points: Sequence[Checkpoint], found: Sequence[Reading | None], relative: bool = False
) -> Iterator[Headline]:
    last = found[-1]
    if last is not None:
        yield Headline(group, label, found[0] if len(points) > 1 else None, last, relative)


def _words(points: Sequence[Checkpoint]) -> Iterator[Headline]:
    for layer in ends(points[-1].layers("word_pairs", "over_random")):
        for setting in ("near_homophone", "synonym", "synonym_core"):
            found = [point.find("word_pairs", "over_random", setting=setting, layer=layer) for point in (points[0], points[-1])]
            yield from _make("Sound or meaning", f"{SETTINGS[setting]} at {points[-1].named(layer)}", points, found, relative=True)


def _tiers(points: Sequence[Checkpoint]) -> Iterator[Headline]:
    for layer in ends(points[-1].layers("word_pairs", "over_random"))[:1]:
        both = [tiers(point, layer) for point in (points[0], points[-1])]
        for name, said in TIERS.items():
            found = [each.get(name) for each in both]
            yield from _make(
                "Beyond the training pairs", f"core synonyms, {said}, at {points[-1].named(layer)}", points, found, relative=True
            )


def _speech(points: Sequence[Checkpoint]) -> Iterator[Headline]:
    for layer in rebuilt_layers(points[-1])[-1:]:
        for metric in ("mel_distance", "stoi", "pesq", "speaker_similarity", "wer"):
            found = [rebuilt(point, metric, layer) for point in (points[0], points[-1])]
            yield from _make("Rebuilt speech", f"{RECONSTRUCTION[metric]}, {counted(layer)}", points, found)


def _units(points: Sequence[Checkpoint]) -> Iterator[Headline]:
    for metric in ("phone_gain", "pnmi", "abx_across", "lexical_auc"):
        for layer in ends(points[-1].layers("units", metric))[:1]:
            found = [point.find("units", metric, layer=layer) for point in (points[0], points[-1])]
            yield from _make("Units", f"{UNITS[metric]} at {points[-1].named(layer)}", points, found)
    rate = [point.find("units", "bits_entropy") for point in (points[0], points[-1])]
    yield from _make("Units", "bit/s by entropy of the codes", points, rate)


def counted(layer: str) -> str:
    """Say how many codebooks."""
    return "1 codebook" if layer == "1" else f"{layer} codebooks"
