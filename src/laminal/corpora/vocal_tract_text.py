"""What the simulated vocal tract says: WordNet's example sentences as segments of VocalTractLab, with words and phones in time."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from laminal.corpora import spoken_text
from laminal.corpora.base import Interval
from laminal.lexicon import pronounce

PAUSE = 0.2  # s before, between and after sentences
LAST = 1.3  # times as long is the last word of a sentence, from its last vowel on
SPREAD = 0.12  # of the logarithm of durations
# VocalTractLab knows German segments: each phone is the nearest of them, in shares of its length (r is uvular, w a short u)
_NEAREST = """
AA=a AE=E: AH=6 AO=O AW=aU AY=aI EH=E ER=@*0.6+R*0.4 EY=e*0.6+I*0.4 IH=I IY=i: OW=o*0.6+U*0.4 OY=OY UH=U UW=u:
B=b CH=tS D=d DH=D F=f G=g HH=h JH=dZ K=k L=l M=m N=n NG=N P=p R=R S=s SH=S T=t TH=T V=v W=u Y=j Z=z ZH=Z
"""
_LENGTHS = """
0.085: AA AE AO AH EH IH UH; 0.12: IY UW ER EY OW; 0.16: AW AY OY; 0.07: P T K B D G M N NG HH; 0.095: F S SH TH CH JH;
0.065: V Z ZH DH L R W Y
"""


def _segments(text: str) -> tuple[tuple[str, float], ...]:
    parts = (part.partition("*") for part in text.split("+"))
    return tuple((name, float(share or 1)) for name, _, share in parts)


SEGMENTS = {phone: _segments(said) for phone, _, said in (each.partition("=") for each in _NEAREST.split())}
SECONDS = {phone: float(length) for length, _, phones in (row.partition(":") for row in _LENGTHS.split(";")) for phone in phones.split()}
VOWELS = frozenset(phone for phone in SEGMENTS if phone[0] in "AEIOU")


@dataclass(frozen=True, slots=True)
class Line:
    """One track: segments (name, seconds) for the tool, and what they are."""

    text: str
    segments: tuple[tuple[str, float], ...]
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]
    seconds: float


@cache
def sentences() -> tuple[str, ...]:
    """Every example sentence that may be said, once, in a fixed order."""
    return tuple(sorted({text for text, *_ in spoken_text.material().examples}))


def line(texts: list[str], rng: np.random.Generator, rate: float) -> Line:
    """Lay sentences out in time, each duration drawn about its phone's; `rate` 1.1 speaks a tenth faster."""
    segments, words, phones = [("", PAUSE)], [], []
    now = PAUSE
    for text in texts:
        said = spoken_text.tokens(text)
        for number, word in enumerate(said):
            listed = pronounce.pronunciations(word)[0]
            start, long = now, False
            final = (
                max((place for place, phone in enumerate(listed) if phone in VOWELS), default=0) if number == len(said) - 1 else len(listed)
            )
            for place, phone in enumerate(listed):
                long = long or place >= final
                seconds = round(float(SECONDS[phone] / rate * np.exp(SPREAD * rng.standard_normal()) * (LAST if long else 1)), 4)
                segments += [(name, share * seconds) for name, share in SEGMENTS[phone]]
                phones.append(Interval(phone, now, now + seconds))
                now += seconds
            words.append(Interval(word, start, now))
        segments.append(("", PAUSE))
        now += PAUSE
    return Line(", ".join(texts), tuple(segments), tuple(words), tuple(phones), now)
