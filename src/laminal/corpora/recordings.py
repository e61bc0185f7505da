"""From files to a corpus: recordings are read in parallel, packed, and what is bad is skipped, counted and listed."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from laminal import audio
from laminal.corpora import textgrid
from laminal.corpora.base import Corpus, Interval, Packed, Utterance
from laminal.errors import DataError, RequestError

SHORTEST = 0.1  # s: shorter recordings hold no word
MOST_BAD = 0.05  # share of bad files above which something is wrong with the corpus, not with a file
HEAD = 5  # bad files named in the error
READERS = 8  # threads: a file system answers them together
AHEAD = 4096  # recordings in flight: memory stays flat in the length of the corpus


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file, what is said in it, by whom, and where its TextGrid lies (None: it has none)."""

    id: str
    audio: Path
    speaker: str
    text: str
    textgrid: Path | None


@dataclass(frozen=True, slots=True)
class Tiers:
    """Which tiers of a TextGrid hold words and phones: names, or numbers from 1; no phones: ''."""

    words: str | int = "words"
    phones: str | int = "phones"


def files(root: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Files under `root` with one of `suffixes` (lower case), in a fixed order; hidden ones (also of macOS) are left out."""
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:  # noqa: PTH122 - 10 x faster on long lists
                yield Path(folder, name)


def utterance(recording: Recording, tiers: Tiers, aligned: bool) -> Utterance:
    """Read header and TextGrid of one recording; raises DataError on a bad file, or a missing TextGrid where `aligned`."""
    header = audio.check(recording.audio)
    if header.seconds < SHORTEST:
        raise DataError(f"{recording.audio}: {header.seconds:.4f} s ({header.frames} samples) is shorter than {SHORTEST} s; remove it")
    words: tuple[Interval, ...] = ()
    phones: tuple[Interval, ...] = ()
    if aligned:
        if recording.textgrid is None:
            raise DataError(f"{recording.audio}: no TextGrid {recording.id}.TextGrid; align it, or say alignments=none")
        grid = textgrid.read(recording.textgrid)
        try:
            words = textgrid.words(grid.tier(tiers.words), header.seconds)
            phones = textgrid.phones(grid.tier(tiers.phones), header.seconds) if tiers.phones else ()
        except DataError as error:
            raise DataError(f"{recording.textgrid}: {error}") from error
    text = recording.text or " ".join(word.label for word in words)
    speaker = recording.speaker.replace("|", "/")  # in items a "|" parts two speakers
    return Utterance(recording.id, recording.audio, speaker, words, phones, text, header.seconds)


def corpus(
    name: str, recordings: Sequence[Recording], tiers: Tiers, aligned: bool, facts: dict[str, object], bad: Sequence[tuple[str, str]] = ()
) -> Corpus:
    """Read `recordings` into a corpus ordered by id; `bad` are files (and reasons) that were refused before.

    Raises RequestError where there is nothing, or where more than 5 % of the files are bad, with the head of their list.
    """
    skipped = list(bad)
    single: dict[str, Recording] = {}
    for recording in sorted(recordings, key=lambda recording: (recording.id, recording.audio)):
        if single.setdefault(recording.id, recording) is not recording:
            skipped.append((str(recording.audio), f"{recording.audio}: {single[recording.id].audio} has the same name; keep one of them"))
    good = Packed(_read(list(single.values()), partial(utterance, tiers=tiers, aligned=aligned), skipped))
    total = len(good) + len(skipped)
    if not total:
        raise RequestError(f"corpus {name!r} holds no audio file; root= must name a folder that does")
    if len(skipped) > MOST_BAD * total:
        head = "; ".join(reason for _, reason in skipped[:HEAD])
        more = f"; and {len(skipped) - HEAD} more" if len(skipped) > HEAD else ""
        raise RequestError(
            f"corpus {name!r}: {len(skipped)} of {total} files are bad, at most {MOST_BAD:.0%} may be: repair or remove them: {head}{more}"
        )
    return Corpus(name, good, tuple(skipped), facts | _counts(good, len(skipped)))


def _read(recordings: Sequence[Recording], read: Callable[[Recording], Utterance], skipped: list[tuple[str, str]]) -> Iterator[Utterance]:
    def attempt(recording: Recording) -> Utterance | tuple[str, str]:
        try:
            return read(recording)
        except DataError as error:
            return str(recording.audio), str(error)

    waiting = iter(recordings)
    with ThreadPoolExecutor(READERS) as pool:
        while some := list(islice(waiting, AHEAD)):
            for result in pool.map(attempt, some):
                if isinstance(result, Utterance):
                    yield result
                else:
                    skipped.append(result)


def _counts(utterances: Packed, skipped: int) -> dict[str, object]:
    words, transcribed = int(utterances.word_counts.sum()), sum(len(text.split()) for text in utterances.texts)
    return {
        "utterances": len(utterances),
        "skipped": skipped,
        "hours": round(float(utterances.seconds.sum()) / 3600, 4),
        "speakers": len(set(utterances.speakers)),
        "words": words,
        "phones": int(utterances.phone_counts.sum()),
        "transcribed": sum(map(bool, utterances.texts)),
        "aligned_utterances": round(int((utterances.word_counts > 0).sum()) / max(len(utterances), 1), 4),  # shares
        "aligned_words": round(words / transcribed, 4) if transcribed else 0.0,  # of the words of the transcripts
    }
