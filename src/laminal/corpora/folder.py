"""Any folder of audio with transcripts: with TextGrids, with the built-in alignment, or without words."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from laminal.corpora.align import align_recordings
from laminal.corpora.base import Corpus
from laminal.corpora.recordings import Recording, Tiers, corpus, files
from laminal.corpora.transcripts import COLUMNS, audio_root, recordings_beside, recordings_of
from laminal.errors import RequestError


def folder(
    root: str | Path,
    alignments: str | Path | None = None,
    transcripts: str | Path | None = None,
    manifest: str | Path | None = None,
    speaker: str | None = None,
    align: bool = False,
    word_tier: str | int = "words",
    phone_tier: str | int = "phones",
    name: str | None = None,
    licence: str = "",
    source: str = "",
) -> Corpus:
    """Load a folder of audio: any format of libsndfile, any rate, mono or not; `root/audio` where there is one, else `root` itself.

    `manifest`: a CSV or TSV file with columns path, text[, speaker][, textgrid]; else every audio file, with its text in NAME.txt or
    NAME.lab beside it (or below `transcripts`), or in a *.trans.txt of its folder.
    `alignments`: the folder of the TextGrids, laid out as the audio or flat; None looks for `root/alignments`, then beside the audio;
    "none" loads without words. `align`: make the missing ones first, into `alignments` (default `root/alignments`).
    `speaker`: None takes the manifest's column where there is one, else "parent": the folder that holds the file; "manifest"; or a regular
    expression whose group 1 finds it in the id (the path below the audio folder). `phone_tier` "" where there are none.
    Raises RequestError where something is missing, or more than 5 % of the files are bad.
    """
    root = Path(root)
    audio_root(root)
    if speaker == "manifest" and manifest is None:
        raise RequestError("speaker=manifest needs manifest=FILE with a column speaker; give it, or say speaker=parent")
    if manifest is None:
        found = recordings_beside(root, None if transcripts is None else Path(transcripts))
    else:
        found = recordings_of(root, Path(manifest), COLUMNS[:3] if speaker == "manifest" else COLUMNS[:2])
    recordings, bad = _named(found, speaker)
    aligned = alignments != "none"
    if aligned:
        place = Path(alignments) if alignments is not None else None
        recordings = _with_grids(root, recordings, place)
        missing = [recording for recording in recordings if recording.textgrid is None]
        if missing and align:
            align_recordings(missing, place or root / "alignments")
            recordings = _with_grids(root, recordings, place)
        elif recordings and len(missing) == len(recordings):
            where = place or root / "alignments"
            command = f"python -m laminal.corpora.align root={root} out={where}{f' manifest={manifest}' if manifest else ''}"
            raise RequestError(
                f"no audio file of {root} has a TextGrid in {where} or beside it: run {command}, or say align=true, "
                "or alignments=none for audio without words"
            )
    facts: dict[str, object] = {"licence": licence or "not said (licence=)", "source": source or "not said (source=)"}
    return corpus(name or root.resolve().name, recordings, Tiers(word_tier, phone_tier), aligned, facts, bad)


def _named(recordings: Iterable[Recording], speaker: str | None) -> tuple[list[Recording], list[tuple[str, str]]]:
    """Give every recording its speaker; also those refused, with reasons."""
    if speaker in (None, "manifest"):
        return list(recordings), []
    if speaker == "parent":
        return [replace(recording, speaker=recording.audio.parent.name) for recording in recordings], []
    try:
        pattern = re.compile(str(speaker))
    except re.error as error:
        raise RequestError(f"speaker={speaker} is no regular expression ({error}); say parent, manifest, or one with a group") from error
    if pattern.groups < 1:
        raise RequestError(f"speaker={speaker} has no group; say parent, manifest, or a regular expression with a group, as (p\\d+)_")
    named, bad = [], []
    for recording in recordings:
        match = pattern.search(recording.id)
        if match and match[1]:
            named.append(replace(recording, speaker=match[1]))
        else:
            bad.append((str(recording.audio), f"{recording.audio}: speaker={speaker} finds no speaker in {recording.id!r}; correct it"))
    return named, bad


def _with_grids(root: Path, recordings: list[Recording], alignments: Path | None) -> list[Recording]:
    """Fill in where the TextGrids lie: by the path below a folder of TextGrids, or by name alone where that is unique."""
    if alignments is None:
        places = [place for place in (root / "alignments", audio_root(root)) if place.is_dir()]
    else:
        places = [alignments] if alignments.is_dir() else []
    inner: dict[str, Path] = {}
    by_name: dict[str, list[Path]] = {}
    for key, path in _grids(places):
        if inner.setdefault(key, path) is path:
            by_name.setdefault(path.stem, []).append(path)

    def find(recording: Recording) -> Path | None:
        same = by_name.get(Path(recording.id).name, [])
        return recording.textgrid or inner.get(recording.id) or (same[0] if len(same) == 1 else None)

    return [replace(recording, textgrid=find(recording)) for recording in recordings]


def _grids(places: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for place in places:
        for path in files(place, frozenset({".textgrid"})):
            yield path.relative_to(place).with_suffix("").as_posix(), path
