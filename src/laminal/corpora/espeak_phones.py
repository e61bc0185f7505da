"""What espeak-ng's events say: phones in ARPAbet and words, with the samples where they begin and end."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from rapidfuzz.distance import Levenshtein

from laminal.errors import DataError

WORD, PHONEME = 1, 7  # espeak_EVENT_TYPE
Pronunciations = Callable[[str], tuple[tuple[str, ...], ...]]
RHOTIC = frozenset({"en-us", "en-gb-scotland"})
PAUSES = frozenset({"_", "_:", "_::", "_!", "_|", "|", "||", ""})
GLIDE = ";"  # a palatal glide with no time of its own to speak of: part of the phone before it
STOPS = frozenset(["p", "b", "t", "d", "k", "g", "t2", "t[", "tS", "dZ", "?"])
# espeak's phonemes (all that these accents say) as ARPAbet without stress; the lexical category, whatever an accent makes of it
ARPABET = {
    name: tuple(phones.split())
    for name, phones in (entry.split("=") for entry in (
        "p=P", "b=B", "t=T", "d=D", "k=K", "g=G", "m=M", "n=N", "N=NG", "f=F", "v=V", "T=TH", "D=DH", "s=S", "z=Z", "S=SH", "Z=ZH",
        "h=HH", "tS=CH", "dZ=JH", "j=Y", "w=W", "l=L", "l#=L", "r=R", "r-=R", "t#=T", "t2=T", "t[=TH", "?=T", "x=K", "w#=W", "n-=AH N",
        "a=AE", "aa=AE", "a#=AH", "A:=AA", "A@=AA R", "o=OW", "A~=AA", "0=AA", "O=AO", "O~=AO", "O:=AO", "O2=AO", "O@=AO R", "o@=AO R",
        "oU=OW", "OI=OY", "V=AH", "VR=ER", "E=EH", "e@=EH R", "eI=EY", "I=IH", "I2=IH", "I#=IH", "IR=ER", "i=IY", "i:=IY", "i@=IY AH",
        "i@3=IH R", "U=UH", "U@=UH R", "u:=UW", "aU=AW", "aI=AY", "aI2=AY", "aI@=AY AH", "aI3=AY ER", "3=ER", "3:=ER",
        "@=AH", "@2=AH", "@5=UH", "@-=AH", "@L=AH L", ";=Y",
    ))
}  # fmt: skip
# where r after a vowel is not said, its colour is a schwa or nothing
NON_RHOTIC = {
    "A@": ("AA",), "O@": ("AO",), "o@": ("AO",), "e@": ("EH",), "i@3": ("IH", "AH"), "U@": ("UH", "AH"), "3": ("AH",),
    "aI3": ("AY", "AH"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """A word or phone between two samples."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Event:
    """One event of espeak: a word begins, or a phoneme."""

    kind: int
    position: int  # of its word in the text, from 1
    sample: int
    name: str  # of the phoneme, without stress marks


def segments(
    text: str, samples: np.ndarray, events: list[Event], accent: str, pronunciations: Pronunciations
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Words and phones of `text`; `pronunciations` cuts words that espeak runs into one ("in the") apart.

    Raises DataError where a word got no phone or a phoneme is unknown.
    """
    return _words(text, _phones(samples, events, accent), pronunciations)


def arpabet(phoneme: str, accent: str) -> tuple[str, ...]:
    """One or two ARPAbet phones of espeak's `phoneme` in `accent`; raises DataError where it is unknown."""
    if accent not in RHOTIC and phoneme in NON_RHOTIC:
        return NON_RHOTIC[phoneme]
    if phoneme not in ARPABET:
        raise DataError(f"phoneme {phoneme!r} of {accent}: not in the table of ARPAbet phones; add it to ARPABET in espeak_phones.py")
    return ARPABET[phoneme]


def _silence(samples: np.ndarray, end: int, start: int) -> int:
    """First sample of the run of (near) zeros that ends at `end`, not before `start`."""
    loud = np.flatnonzero(np.abs(samples[start:end].astype(np.int32)) > 2)
    return start + int(loud[-1]) + 1 if len(loud) else start


def _phones(samples: np.ndarray, events: list[Event], accent: str) -> list[tuple[int, Segment]]:
    """Phones with the text position of their word.

    espeak tells of a stop at its burst. Its closure belongs to it: from the event of the word where the stop begins one (or
    another phone, after its short pause), else from the beginning of the silence in front of the burst.
    A phoneme that is two phones in ARPAbet (@L = AH L) is cut in its middle.
    """
    starts: list[tuple[int, int, str]] = []  # position, sample, phoneme
    opened = -1  # sample of the word event that waits for its first phoneme
    position = 1  # of the last word event: a phoneme's own may be left from the sentence before, where an accent drops the word's h
    for event in events:
        if event.kind == WORD:
            opened, position = event.sample, event.position
            continue
        begin = event.sample
        if event.name not in PAUSES:
            if opened >= 0:
                begin = min(begin, opened)
            elif event.name in STOPS and starts and starts[-1][2] not in PAUSES:
                begin = _silence(samples, event.sample, (starts[-1][1] + event.sample) // 2)
            opened = -1
        starts.append((position, begin, event.name))
    ends = [sample for _, sample, _ in starts[1:]] + [len(samples)]
    return _labelled([(p, name, begin, end) for (p, begin, name), end in zip(starts, ends, strict=True) if name not in PAUSES], accent)


def _labelled(phonemes: list[tuple[int, str, int, int]], accent: str) -> list[tuple[int, Segment]]:
    phones: list[tuple[int, Segment]] = []
    for index, (position, name, begin, end) in enumerate(phonemes):
        labels = arpabet(name, accent)
        before = phones[-1] if phones and phones[-1][0] == position else None
        if before and (name == GLIDE or (name in ("r", "r-") and before[1].label == "ER" and accent in RHOTIC)):
            phones[-1] = (position, Segment(before[1].label, before[1].start, end))
            continue
        follows = phonemes[index + 1][1] if index + 1 < len(phonemes) else ""
        if len(labels) == 2 and labels[1] == "R" and follows in ("r", "r-"):
            labels = labels[:1]  # its r is said by the next phoneme
        cuts = np.linspace(begin, end, len(labels) + 1).round().astype(int).tolist()
        phones += [(position, Segment(label, a, b)) for label, a, b in zip(labels, cuts, cuts[1:], strict=False) if b > a]
    return phones


def _words(text: str, phones: list[tuple[int, Segment]], pronunciations: Pronunciations) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Words from their phones; a run of words that espeak took as one is cut where both halves fit the dictionary best."""
    tokens = [(match.start() + 1, match.group()) for match in re.finditer(r"[a-z']+", text)]
    groups: list[tuple[list[str], list[Segment]]] = []
    for index, (position, word) in enumerate(tokens):
        following = tokens[index + 1][0] if index + 1 < len(tokens) else len(text) + 2
        own = [phone for at, phone in phones if position <= at < following]
        if own or not groups:
            groups.append(([word], own))
        else:
            groups[-1][0].append(word)
    words: list[Segment] = []
    for names, own in groups:
        if len(own) < len(names):
            raise DataError(f"{text!r}: espeak-ng gave {len(own)} phones for {' '.join(names)!r}; leave the sentence out")
        for name, part in zip(names, _cut(names, own, pronunciations), strict=True):
            words.append(Segment(name, part[0].start, part[-1].end))
    return tuple(words), tuple(phone for _, phone in phones)


def _cut(names: list[str], phones: list[Segment], pronunciations: Pronunciations) -> list[list[Segment]]:
    if len(names) == 1:
        return [phones]
    best: tuple[int, list[list[Segment]]] | None = None
    for inner in combinations(range(1, len(phones)), len(names) - 1):
        parts = [phones[a:b] for a, b in zip((0, *inner), (*inner, len(phones)), strict=True)]
        cost = sum(
            min((Levenshtein.distance([p.label for p in part], known) for known in pronunciations(name)), default=len(part))
            for name, part in zip(names, parts, strict=True)
        )
        if best is None or cost < best[0]:
            best = (cost, parts)
    assert best is not None
    return best[1]
