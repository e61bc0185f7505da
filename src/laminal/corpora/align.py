"""Write TextGrids for a folder of audio with transcripts, resumable, with figures of quality for every utterance.

python -m laminal.corpora.align root=DIR [out=DIR] [manifest=FILE] [transcripts=DIR] [dictionary=FILE] [unknown=spell|skip] [jobs=N]
"""

import csv
import inspect
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from laminal import audio
from laminal.atomic import write_text
from laminal.corpora import textgrid
from laminal.corpora.forced import RATE, Aligner
from laminal.corpora.recordings import Recording
from laminal.corpora.textgrid import TextGrid, Tier
from laminal.corpora.transcripts import recordings_beside, recordings_of
from laminal.errors import DataError, RequestError

QUALITY = "quality.tsv"
COLUMNS = ("id", "seconds", "words", "speech", "score", "worst_word", "worst_score", "shortest", "longest", "spelled", "reason")


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run did: TextGrids written, found there, and refused (id, reason); seconds of audio aligned, and of work."""

    written: int
    there: int
    refused: tuple[tuple[str, str], ...]
    audio_seconds: float
    seconds: float

    def __str__(self) -> str:
        """Say it in a sentence."""
        speed = f", {self.audio_seconds / self.seconds:.0f} x real time" if self.written else ""
        return f"{self.written} TextGrids written{speed}; {self.there} were there; {len(self.refused)} utterances refused"


def align_recordings(
    recordings: Iterable[Recording], out: Path, dictionary: Path | None = None, unknown: str = "spell", jobs: int = 1
) -> Summary:
    """Align what has no TextGrid below `out` yet, and write `out`/ID.TextGrid and a row of `out`/quality.tsv for each.

    `dictionary`: lines `word PH PH ...`; `unknown`: "spell" (words in no dictionary are pronounced as spelled, and named in the table) or
    "skip" (their utterances are refused). Refused utterances have a row with the reason and are tried again by the next run.
    Raises RequestError on a wrong argument.
    """
    if unknown not in ("spell", "skip"):
        raise RequestError(f"unknown={unknown} is neither spell nor skip; spell pronounces unknown words as spelled, skip refuses them")
    began = time.monotonic()
    pronunciations = read_dictionary(dictionary) if dictionary else {}
    wanted = {recording.id: recording for recording in recordings}
    waiting = [recording for recording in wanted.values() if not _place(out, recording.id).exists()]
    table = _Table(out / QUALITY)
    refused, written, heard = [], 0, 0.0
    for row, grid in _aligned(waiting, pronunciations, unknown == "spell", jobs):
        table.add(row)  # before the TextGrid: who is killed here aligns this one again, and no TextGrid is without its row
        if grid is None:
            refused.append((row["id"], row["reason"]))
            continue
        textgrid.write(_place(out, row["id"]), grid)
        written += 1
        heard += float(row["seconds"])
    table.close()
    return Summary(written, len(wanted) - len(waiting), tuple(refused), heard, time.monotonic() - began)


def _place(out: Path, name: str) -> Path:
    return out / f"{name}.TextGrid"


def read_dictionary(path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Read lines `word PH PH ...` (a word may have several); raises RequestError where the file or a line is none."""
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"dictionary={path} cannot be read ({error}); give a text file with lines like: kine K AY N") from error
    for line in filter(str.strip, lines):
        word, *phones = line.split()
        if not phones:
            raise RequestError(f"dictionary {path}: {line!r} has no phones; write lines like: kine K AY N")
        word = word.lower().split("(")[0]
        found[word] = (*found.get(word, ()), tuple(phone.upper().rstrip("012") for phone in phones))
    return found


class _Table:
    """The quality table: a row appended at once for each utterance, at the end sorted, the last row of an id kept."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = dict(self._read()) if path.exists() else {}
        self._write()  # also drops a row that a kill cut short
        self.file = path.open("a", encoding="utf-8")

    def _read(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        with self.path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if None not in row.values() and row.keys() == set(COLUMNS):
                    yield row["id"], row

    def add(self, row: Mapping[str, str]) -> None:
        self.rows[row["id"]] = row
        self.file.write(_line(row))
        self.file.flush()

    def close(self) -> None:
        self.file.close()
        self._write()

    def _write(self) -> None:
        write_text(self.path, "\t".join(COLUMNS) + "\n" + "".join(_line(self.rows[name]) for name in sorted(self.rows)))


def _line(row: Mapping[str, str]) -> str:
    return "\t".join(" ".join(row[column].split()) for column in COLUMNS) + "\n"


def _aligned(
    recordings: Sequence[Recording], dictionary: Mapping[str, tuple[tuple[str, ...], ...]], spell: bool, jobs: int
) -> Iterator[tuple[dict[str, str], TextGrid | None]]:
    if not recordings:
        return
    if jobs == 1 or len(recordings) == 1:
        yield from map(partial(_one, Aligner(dictionary, spell)), recordings)
        return
    context = multiprocessing.get_context("spawn")  # no fork: torch's threads may hold locks
    with ProcessPoolExecutor(jobs, context, _start, (dictionary, spell)) as pool:
        yield from pool.map(_job, recordings, chunksize=4)


_aligner: Aligner | None = None  # of a worker process


def _start(dictionary: Mapping[str, tuple[tuple[str, ...], ...]], spell: bool) -> None:
    global _aligner
    _aligner = Aligner(dictionary, spell)


def _job(recording: Recording) -> tuple[dict[str, str], TextGrid | None]:
    assert _aligner is not None, "_start runs first in every worker"
    return _one(_aligner, recording)


def _one(aligner: Aligner, recording: Recording) -> tuple[dict[str, str], TextGrid | None]:
    """Align one recording: its row of the table, and its TextGrid, None where it is refused."""
    row = dict.fromkeys(COLUMNS, "") | {"id": recording.id}
    try:
        if not recording.text:
            raise DataError("it has no transcript; write one beside it (.txt, .lab), or list it in a manifest")
        seconds = audio.check(recording.audio).seconds
        found = aligner.align(audio.read(recording.audio, RATE), recording.text)
    except DataError as error:
        return row | {"reason": str(error)}, None
    tiers = tuple(Tier(name, textgrid.filled(tier, seconds)) for name, tier in (("words", found.words), ("phones", found.phones)))
    speech = sum(word.end - word.start for word in found.words) / seconds
    figures = {"seconds": seconds, "speech": speech, "score": found.score, "worst_score": found.worst_score}
    figures |= {"shortest": found.shortest, "longest": found.longest}
    row |= {name: f"{value:.3f}" for name, value in figures.items()}
    row |= {"words": str(len(found.words)), "worst_word": found.worst_word, "spelled": " ".join(found.spelled)}
    return row, TextGrid(0.0, seconds, tiers)


def align(
    root: str,
    out: str | None = None,
    manifest: str | None = None,
    transcripts: str | None = None,
    dictionary: str | None = None,
    unknown: str = "spell",
    jobs: str = "1",
) -> Summary:
    """Align the audio below `root` into `out` (default `root`/alignments); raises RequestError on a wrong argument."""
    folder = Path(root)
    if manifest:
        recordings = list(recordings_of(folder, Path(manifest)))
    else:
        recordings = list(recordings_beside(folder, Path(transcripts) if transcripts else None))
    if not recordings:
        raise RequestError(f"root={root} holds no audio; name the folder that holds audio and transcripts")
    if not jobs.isdigit() or int(jobs) < 1:
        raise RequestError(f"jobs={jobs} is no count of processes; say jobs=1 or more")
    place = Path(out) if out else folder / "alignments"
    return align_recordings(recordings, place, Path(dictionary) if dictionary else None, unknown, int(jobs))


def main(arguments: Sequence[str]) -> int:
    """Run the command; exit code 0 done, 1 some utterances were refused, 2 the request was wrong."""
    known = tuple(inspect.signature(align).parameters)
    try:
        given = {name: value for name, _, value in (argument.partition("=") for argument in arguments)}
        wrong = [name for name in given if name not in known or not given[name]]
        if wrong or "root" not in given:
            raise RequestError(f"{', '.join(wrong) or 'nothing'} given; say root=DIR, and any of {', '.join(f'{n}=' for n in known[1:])}")
        summary = align(**given)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    print(summary)
    for name, reason in summary.refused:
        print(f"  {name}: {reason}", file=sys.stderr)
    return 1 if summary.refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
