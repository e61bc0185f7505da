"""Forced alignment of one recording: its words and phones in time, by pocketsphinx and its own acoustic model."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from laminal.corpora.base import Interval
from laminal.errors import DataError, RequestError

RATE = 16_000  # Hz: of the acoustic model
FRAMES = 100  # a second
PAD = 0.25  # s of silence at both ends: without it the first and last word take up the edges of the recording
DITHER = 1e-3  # digital silence has no logarithm
BEAMS = {"beam": 1e-200, "pbeam": 1e-200, "wbeam": 1e-150}  # wide: with the text given there is little to search
SHORTEST = 3  # frames: three states a phone

_LETTERS = {
    "tion": "SH AH N", "sion": "ZH AH N", "tch": "CH", "igh": "AY", "eau": "OW", "sch": "SH", "sh": "SH", "ch": "CH", "th": "TH",
    "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "kn": "N", "gh": "G", "dg": "JH", "ee": "IY", "ea": "IY", "oo": "UW",
    "ou": "AW", "ow": "OW", "oi": "OY", "oy": "OY", "ai": "EY", "ay": "EY", "au": "AO", "aw": "AO", "ei": "EY", "ey": "IY", "ie": "IY",
    "er": "ER", "ir": "ER", "ur": "ER", "ar": "AA R", "or": "AO R", "ce": "S EH", "ci": "S IH", "ge": "JH EH", "gi": "JH IH",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M",
    "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_LONGEST = max(map(len, _LETTERS))


class _Entry(NamedTuple):
    """A word that the decoder found: frames, total score, phones (name, first frame, frames)."""

    name: str
    start: int
    frames: int
    score: float
    phones: list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Words and phones in seconds of the recording, silences left out, and what speaks for or against them.

    Scores are log likelihoods a frame, in the units of the acoustic model: 0 is best, about -10 to -25 is usual, below -50 doubtful.
    """

    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]
    score: float  # mean over the frames of the words
    worst_word: str
    worst_score: float
    shortest: float  # share of phones at their least length, 30 ms: many of them mean too many words for the audio
    longest: float  # s: longest phone
    spelled: tuple[str, ...]  # words in no dictionary, pronounced as they are spelled


def spelled(word: str) -> tuple[str, ...]:
    """Pronounce an unknown word roughly as it is spelled: longest letter groups first, double letters once, a last e silent."""
    word = re.sub(r"([^aeo])\1", r"\1", word.replace("'", ""))
    if len(word) > 3 and word.endswith("e") and word[-2] not in "aeiou":
        word = word[:-1]
    phones: list[str] = []
    at = 0
    while at < len(word):
        size = next((size for size in range(_LONGEST, 0, -1) if word[at : at + size] in _LETTERS), 0)
        phones += _LETTERS[word[at : at + size]].split() if size else []
        at += max(size, 1)
    return tuple(phones)


def spoken_words(text: str) -> tuple[str, ...]:
    """Words of a transcript in lower case, without punctuation and accents; raises DataError on digits, whose reading is not known."""
    plain = re.sub(r"[\-\u2010-\u2015_/]", " ", text.replace("\u2019", "'").replace("&", " and "))
    ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode().lower()
    words = []
    for token in ascii_only.split():
        if re.search(r"\d", token):
            raise DataError(f"{token!r} has digits, whose reading is not known; write it out in words")
        word = re.sub(r"[^a-z']", "", token)
        if re.search("[a-z]", word):
            words.append(word)
    return tuple(words)


class Aligner:
    """A pocketsphinx decoder with a dictionary; `dictionary` adds pronunciations (word: ARPAbet phones without stress, one or more)."""

    def __init__(self, dictionary: Mapping[str, tuple[tuple[str, ...], ...]] | None = None, spell: bool = True):
        """Load the acoustic model (0.1 s); words in no dictionary are spelled, or refused where not `spell`.

        Raises RequestError where pocketsphinx is not installed.
        """
        self.dictionary = dict(dictionary or {})
        self.spell = spell
        self._start()

    def _start(self) -> None:
        self._decoder: Any = _decoder()
        self._guessed: set[str] = set()

    def align(self, wav: Float[np.ndarray, " t"], text: str) -> Alignment:
        """Align `text` with `wav`, (t,) at 16 kHz; the same input gives the same output, whatever was aligned before.

        Raises DataError where the text has no words, unknown ones, or does not fit the audio.
        """
        words, guessed = self._known(spoken_words(text))
        if not words:
            raise DataError("its transcript has no words; write down what is said")
        try:
            found = self._force(_samples(wav), words)
        except RuntimeError as error:
            self._start()  # a search that failed leaves the decoder in the middle of an utterance
            raise DataError(f"{len(words)} words do not fit {len(wav) / RATE:.2f} s of audio ({error}); check the transcript") from error
        return _alignment(found, words, guessed, len(wav) / RATE)

    def _known(self, words: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
        """Words as the decoder knows them, and which it knows by their spelling only; raises DataError where that is not allowed."""
        known = []
        for word in words:
            bare = word.strip("'")
            name = next((name for name in (word, bare) if self._decoder.lookup_word(name)), bare)
            if not self._decoder.lookup_word(name):
                self._add(name)
            known.append(name)
        return known, tuple(dict.fromkeys(name for name in known if name in self._guessed))

    def _add(self, word: str) -> None:
        pronunciations = self.dictionary.get(word, ())
        if not pronunciations:
            if not self.spell:
                raise DataError(f"{word!r} is in no dictionary; add it to a file for dictionary=, or say unknown=spell")
            pronunciations = (spelled(word),)
            self._guessed.add(word)
        for number, phones in enumerate(pronunciations, 1):
            try:
                self._decoder.add_word(word if number == 1 else f"{word}({number})", " ".join(phones), update=number == len(pronunciations))
            except RuntimeError as error:
                raise DataError(f"{word!r} cannot be pronounced {' '.join(phones)!r}; use ARPAbet phones without stress") from error

    def _force(self, samples: bytes, words: list[str]) -> list[_Entry]:
        """Find the words, then their phones: two searches over the same audio. Raises RuntimeError where one finds no way through."""
        self._decoder.set_align_text(" ".join(words))
        self._search(samples)
        if self._decoder.hyp() is None:
            raise RuntimeError("no path")
        self._decoder.set_alignment()
        self._search(samples)
        # Read while iterating: entries that outlive their alignment point into freed memory.
        return [
            _Entry(re.sub(r"\(\d+\)$", "", word.name), word.start, word.duration, word.score, [(p.name, p.start, p.duration) for p in word])
            for word in self._decoder.get_alignment()
        ]

    def _search(self, samples: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples, full_utt=True)
        self._decoder.end_utt()


def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise RequestError("alignment needs pocketsphinx; pip install 'laminal[align]'") from error
    # Batch means, so that no utterance hears the one before it; the best path is a lattice that shortens silences below what a state takes.
    return Decoder(lm=None, cmn="batch", bestpath=False, loglevel="FATAL", **BEAMS)


def _samples(wav: np.ndarray) -> bytes:
    pad = np.zeros(round(PAD * RATE), np.float32)
    padded = np.concatenate([pad, wav, pad])
    padded += DITHER * np.random.default_rng(0).standard_normal(len(padded)).astype(np.float32)
    return (np.clip(padded, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def _alignment(found: list[_Entry], words: list[str], guessed: tuple[str, ...], seconds: float) -> Alignment:
    spoken = [entry for entry in found if entry.name[0] not in "<["]  # not <sil>, <s>, [NOISE]
    if [entry.name for entry in spoken] != words:
        raise DataError(f"{len(spoken)} of {len(words)} words were found; check the transcript")

    def interval(label: str, start: int, frames: int) -> Interval:
        first, last = start / FRAMES - PAD, (start + frames) / FRAMES - PAD
        return Interval(label, round(max(first, 0.0), 4), min(round(last, 4), seconds))

    lengths = [frames for entry in spoken for _, _, frames in entry.phones]
    worst = min(spoken, key=lambda entry: entry.score / entry.frames)
    return Alignment(
        words=tuple(interval(entry.name, entry.start, entry.frames) for entry in spoken),
        phones=tuple(interval(*phone) for entry in spoken for phone in entry.phones),
        score=sum(entry.score for entry in spoken) / sum(entry.frames for entry in spoken),
        worst_word=worst.name,
        worst_score=worst.score / worst.frames,
        shortest=sum(length <= SHORTEST for length in lengths) / len(lengths),
        longest=max(lengths) / FRAMES,
        spelled=guessed,
    )
