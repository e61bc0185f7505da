"""espeak-ng through ctypes: text to samples, with the exact sample at which every word and phone begins.

The library is GPL-3 and comes with the extra `laminal[spoken]`; nothing of it is shipped here.
"""

import ctypes
import threading
from _ctypes import dlclose
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from laminal.corpora.espeak_phones import PHONEME, WORD, Event, Pronunciations, Segment, segments
from laminal.errors import DataError, RequestError

ACCENTS = ("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc")
DATA = ("en_dict", "phondata", "phontab", "phonindex", "intonations")  # of espeak-ng-data: what English is said by
_END = 0  # of a list of events
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
class Speech:
    """What espeak said: int16 samples, their rate in Hz, words and phones; pauses are left out of both."""

    samples: np.ndarray
    sample_rate: int
    words: tuple[Segment, ...]
    phones: tuple[Segment, ...]


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
        self._events: list[Event] = []
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
            if event.kind in (WORD, PHONEME):
                name = event.id.string.decode().lstrip("',%=") if event.kind == PHONEME else ""
                self._events.append(Event(event.kind, event.position, event.sample, name))
            index += 1
        return 0

    def raw(self, text: str, voice: Voice) -> tuple[np.ndarray, list[Event]]:
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

    def say(self, text: str, voice: Voice, pronunciations: Pronunciations) -> Speech:
        """Say `text` (lower case); `pronunciations` cuts words that espeak runs into one ("in the") apart.

        Raises DataError where a word got no phone or a phoneme is unknown.
        """
        samples, events = self.raw(text, voice)
        words, phones = segments(text, samples, events, voice.accent, pronunciations)
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
