"""espeak-ng through ctypes: text to samples, with the exact sample at which every word and phone begins.

The library is GPL-3 and comes with the extra `laminal[spoken]`; nothing of it is shipped here.
"""

import ctypes
import re
import threading
from _ctypes import dlclose
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rapidfuzz.distance import Levenshtein

from laminal.errors import DataError, RequestError

ACCENTS = ("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc")
RHOTIC = frozenset({"en-us", "en-gb-scotland"})
DATA = ("en_dict", "phondata", "phontab", "phonindex", "intonations")  # of espeak-ng-data: what English is said by
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
_WORD, _PHONEME, _END = 1, 7, 0
_SYNCHRONOUS, _PHONEME_EVENTS = 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER; volume is left alone: levels are set on the samples


@dataclass(frozen=True, slots=True)
class Voice:
    """How to speak: accent (one of ACCENTS), variant of espeak ("" for none), words a minute, pitch and its range in 0..100."""

    accent: str
    variant: str
    rate: int
    pitch: int
    pitch_range: int

    @property
    def name(self) -> str:
        """The name that espeak knows the voice by."""
        return f"{self.accent}+{self.variant}" if self.variant else self.accent

    @property
    def file(self) -> str:
        """The same as a file of `_lean`'s folder, variant included."""
        return f"gmw/{self.name}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A word or phone between two samples."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Speech:
    """What espeak said: int16 samples, their rate in Hz, words and phones; pauses are left out of both."""

    samples: np.ndarray
    sample_rate: int
    words: tuple[Segment, ...]
    phones: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class _Event:
    kind: int
    position: int  # of its word in the text, from 1
    sample: int
    name: str  # of the phoneme, without stress marks


class _Identifier(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _RawEvent(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int), ("identifier", ctypes.c_uint), ("position", ctypes.c_int), ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int), ("user", ctypes.c_void_p), ("id", _Identifier),
    ]  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_RawEvent))


class Engine:
    """The one espeak of this process. The library keeps state that nothing resets (the phase of its flutter, for one).

    So each sentence is said by a copy loaded anew, 0.3 ms: what was said before changes no sample.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise RequestError("espeak-ng is not here: the spoken corpus needs it; pip install 'laminal[spoken]'") from error
        self.data = Path(espeakng_loader.get_data_path())
        self._path = espeakng_loader.get_library_path()
        self._folder = _lean(self.data)
        self._libc = ctypes.CDLL(None)
        self._lock = threading.Lock()
        self._samples: list[bytes] = []
        self._events: list[_Event] = []
        self._callback = _CALLBACK(self._receive)  # kept: ctypes does not
        with self._loaded() as (library, rate):
            self.sample_rate = rate
            library.espeak_Info.restype = ctypes.c_char_p
            self.version = library.espeak_Info(None).decode()

    @contextmanager
    def _loaded(self) -> Iterator[tuple[ctypes.CDLL, int]]:
        """Load a fresh copy of the library and give it with its sample rate."""
        try:
            library = ctypes.CDLL(self._path)
        except OSError as error:
            raise RequestError(f"espeak-ng does not load ({error}); pip install --force-reinstall 'laminal[spoken]'") from error
        try:
            rate = library.espeak_Initialize(_SYNCHRONOUS, 0, self._folder.name.encode(), _PHONEME_EVENTS)
            if rate <= 0:
                raise RequestError(f"espeak-ng finds no data in {self.data}; pip install --force-reinstall 'laminal[spoken]'")
            library.espeak_SetSynthCallback(self._callback)
            yield library, rate
            library.espeak_Terminate()
        finally:
            dlclose(library._handle)

    def _receive(self, wav, count: int, events) -> int:  # type: ignore[no-untyped-def]
        if wav and count > 0:
            self._samples.append(ctypes.string_at(wav, 2 * count))
        index = 0
        while events[index].kind != _END:
            event = events[index]
            if event.kind in (_WORD, _PHONEME):
                name = event.id.string.decode().lstrip("',%=") if event.kind == _PHONEME else ""
                self._events.append(_Event(event.kind, event.position, event.sample, name))
            index += 1
        return 0

    def raw(self, text: str, voice: Voice) -> tuple[np.ndarray, list[_Event]]:
        """Give samples and events of `text` (ASCII), the same on every call, whatever was said before."""
        with self._lock, self._loaded() as (library, _):
            if voice.accent not in ACCENTS or library.espeak_SetVoiceByName(voice.file.encode()) != 0:
                raise RequestError(f"voice {voice.name!r}: espeak-ng has none of that name; accents are {', '.join(ACCENTS)}")
            for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
                library.espeak_SetParameter(parameter, value, 0)
            library.espeak_ng_SetRandSeed(1)  # breath and some consonants draw from it
            self._libc.srand(1)  # and the Klatt voices from C's own
            self._samples, self._events = [], []
            line = text.encode("ascii")
            if library.espeak_Synth(line, len(line) + 1, 0, 1, 0, 1, None, None) != 0:
                raise DataError(f"{text!r}: espeak-ng could not say it with {voice.name}; leave the sentence out")
            return np.frombuffer(b"".join(self._samples), dtype="<i2"), self._events

    def say(self, text: str, voice: Voice, pronunciations: Callable[[str], tuple[tuple[str, ...], ...]]) -> Speech:
        """Say `text` (lower case); `pronunciations` cuts words that espeak runs into one ("in the") apart.

        Raises DataError where a word got no phone or a phoneme is unknown.
        """
        samples, events = self.raw(text, voice)
        words, phones = _words(text, _phones(samples, events, voice.accent), pronunciations)
        return Speech(samples, self.sample_rate, words, phones)


def _lean(data: Path) -> TemporaryDirectory:
    """Link what ACCENTS need of espeak's data into a folder, the voices in lower case as espeak asks for them.

    It finds a voice there at once; in its own folder it reads all 280 voices first, 3 ms each time.
    """
    folder = TemporaryDirectory(prefix="laminal-espeak-")
    lean = Path(folder.name) / data.name
    (lean / "lang" / "gmw").mkdir(parents=True)
    for file in (*(data / name for name in DATA), data / "voices"):
        (lean / file.name).symlink_to(file)
    for file in (data / "lang" / "gmw").iterdir():
        if file.name.lower() in ACCENTS:
            (lean / "lang" / "gmw" / file.name.lower()).symlink_to(file)
    return folder


@cache
def engine() -> Engine:
    """Start espeak-ng; raises RequestError where the extra is missing."""
    return Engine()


def arpabet(phoneme: str, accent: str) -> tuple[str, ...]:
    """One or two ARPAbet phones of espeak's `phoneme` in `accent`; raises DataError where it is unknown."""
    if accent not in RHOTIC and phoneme in NON_RHOTIC:
        return NON_RHOTIC[phoneme]
    if phoneme not in ARPABET:
        raise DataError(f"phoneme {phoneme!r} of {accent}: not in the table of ARPAbet phones; add it to ARPABET in espeak.py")
    return ARPABET[phoneme]


def _silence(samples: np.ndarray, end: int, start: int) -> int:
    """First sample of the run of (near) zeros that ends at `end`, not before `start`."""
    loud = np.flatnonzero(np.abs(samples[start:end].astype(np.int32)) > 2)
    return start + int(loud[-1]) + 1 if len(loud) else start


def _phones(samples: np.ndarray, events: list[_Event], accent: str) -> list[tuple[int, Segment]]:
    """Phones with the text position of their word.

    espeak tells of a stop at its burst. Its closure belongs to it: from the event of the word where the stop begins one (or
    another phone, after its short pause), else from the beginning of the silence in front of the burst.
    A phoneme that is two phones in ARPAbet (@L = AH L) is cut in its middle.
    """
    starts: list[tuple[int, int, str]] = []  # position, sample, phoneme
    opened = -1  # sample of the word event that waits for its first phoneme
    position = 1  # of the last word event: a phoneme's own may be left from the sentence before, where an accent drops the word's h
    for event in events:
        if event.kind == _WORD:
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


def _words(
    text: str, phones: list[tuple[int, Segment]], pronunciations: Callable[[str], tuple[tuple[str, ...], ...]]
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
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


def _cut(names: list[str], phones: list[Segment], pronunciations: Callable[[str], tuple[tuple[str, ...], ...]]) -> list[list[Segment]]:
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
