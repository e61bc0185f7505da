"""What is said in a folder of audio: transcripts beside the files, LibriSpeech's *.trans.txt, or a CSV/TSV manifest."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from laminal.audio import SUFFIXES
from laminal.corpora.recordings import Recording, files
from laminal.errors import RequestError

BESIDE = (".txt", ".lab")
COLUMNS = ("path", "text", "speaker", "textgrid")  # of a manifest; the last two may be left out


def decoded(path: Path) -> str:
    """Read a text file: UTF-8, UTF-16 where it begins with its mark, else Latin-1."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_text(path: Path) -> str:
    """One transcript file as one line."""
    return " ".join(decoded(path).split())


def trans(folder: Path) -> dict[str, str]:
    """Transcripts by file name (without suffix) of every *.trans.txt in `folder`, as LibriSpeech keeps them."""
    found = {}
    for path in sorted(folder.glob("*.trans.txt")):
        for line in decoded(path).split("\n"):
            name, _, text = line.strip().partition(" ")
            if name:
                found[name] = text.strip()
    return found


def audio_root(root: Path) -> Path:
    """Folder that holds the audio: `root/audio` where there is one, else `root`; raises RequestError where `root` is no folder."""
    if not root.is_dir():
        raise RequestError(f"root={root} is no folder; name the folder that holds the audio")
    return root / "audio" if (root / "audio").is_dir() else root


def recordings_beside(root: Path, texts: Path | None = None) -> Iterator[Recording]:
    """List every audio file below `root`, id: the path below it without suffix; speaker: the folder it lies in.

    The text stands in NAME.txt or NAME.lab beside the audio or at the same place below `texts`, or in a *.trans.txt of its folder.
    """
    base = audio_root(root)
    known: dict[Path, dict[str, str]] = {}
    for path in files(base, SUFFIXES):
        inner = path.relative_to(base).with_suffix("")
        if path.parent not in known:
            known[path.parent] = trans(path.parent)
        text = known[path.parent].get(path.stem, "")
        places = [place.with_name(place.name + suffix) for place in _places(base, texts, inner) for suffix in BESIDE]
        if not text and (found := next((place for place in places if place.is_file()), None)):
            text = read_text(found)
        yield Recording(inner.as_posix(), path, path.parent.name, text, None)


def _places(base: Path, texts: Path | None, inner: Path) -> list[Path]:
    return [base / inner] if texts is None else [texts / inner, texts / inner.name]


def recordings_of(root: Path, path: Path, needed: tuple[str, ...] = COLUMNS[:2]) -> Iterator[Recording]:
    """List what the CSV or TSV file `path` names in columns path, text[, speaker][, textgrid]; paths from `root` or its own folder.

    Raises RequestError where the file or one of its columns is missing.
    """
    if not path.is_file():
        raise RequestError(f"manifest={path} is no file; give a CSV or TSV file with columns {', '.join(COLUMNS)}")
    rows = csv.DictReader(io.StringIO(decoded(path), newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        missing = [column for column in needed if column not in (rows.fieldnames or ())]
        if missing:
            there = ", ".join(rows.fieldnames or ()) or "none"
            raise RequestError(f"manifest {path} has no column {', '.join(missing)} (there: {there}); call them {', '.join(COLUMNS)}")
        for row in rows:
            named = row["path"] or ""
            place = _resolve(root, path.parent, named)
            grid = _resolve(root, path.parent, row["textgrid"]) if row.get("textgrid") else None
            inner = Path(named.lstrip("/").replace("../", "")).with_suffix("")  # ids name files below a folder of TextGrids
            speaker = row.get("speaker") or place.parent.name
            yield Recording(inner.as_posix(), place, speaker, " ".join((row["text"] or "").split()), grid)
    except csv.Error as error:
        raise RequestError(f"manifest {path}, line {rows.line_num}: {error}; mend that line") from error


def _resolve(root: Path, folder: Path, named: str) -> Path:
    """Find a path of a manifest: absolute, below `root`, below its audio folder, or beside the manifest."""
    places = [root / named, audio_root(root) / named, folder / named]
    return next((place for place in places if place.exists()), places[0])
