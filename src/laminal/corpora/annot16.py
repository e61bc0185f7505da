"""75-Speaker Annot-16: annotated contours of real-time MRI beside the audio of the 75-Speaker set (Lim et al. 2021; Shi et al. 2025).

The data may not be redistributed: this reads the trees as the archives unpack (docs/articulation.md says where they are).
"""

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from laminal import audio
from laminal.atomic import replacing
from laminal.corpora import textgrid
from laminal.corpora.base import Interval, Utterance
from laminal.corpora.tract import Tract, TractCorpus, numbers, one_number, read_arrays, same_length, tract_corpus
from laminal.errors import DataError, RequestError
from laminal.measures.clock import MRI_RATE
from laminal.measures.vtd import Grid, Outline, gridlines, regular, resampled, vocal_tract_distance, within_reach

PIXEL = 2.4  # mm
HALF = 42.0  # pixels: contours count from the middle of 84 x 84
REACH = 15.0  # pixels: half a gridline
POINTS = 240
SEGMENT_IDS = {1: range(1, 7), 2: range(1, 5), 3: range(1, 6)}  # the fourth is not used here
LOWER = ((1, 4, -1), (1, 3, -1), (1, 2, -1), (1, 1, -1), (1, 6, -1))  # lower lip, incisor, tongue, epiglottis, trachea: (segment, id, way)
UPPER = ((3, 5, 1), (3, 1, 1), (3, 2, 1), (2, 2, -1), (2, 1, -1), (2, 4, -1))  # upper lip, hard palate, velum, rear wall, pharynx, low
FACTS: dict[str, object] = {
    "source": "75-Speaker (Lim et al. 2021) with Annot-16 (Shi et al. 2025); distances by laminal",
    "licence": "as the archives say; no redistribution",
}


@dataclass(frozen=True, slots=True)
class Track:
    """Annotated frames of one recording: numbers from 0, rising, and both walls from lips to larynx, in pixels of the image.

    A wall is one polyline where all its parts are there; where one is lost it is in pieces, and the lines that it misses have no distance.
    """

    frames: tuple[int, ...]
    outlines: tuple[Outline, ...]


def annot16(
    root: str | Path,
    recordings: str | Path | None = None,
    grids: str | Path | None = None,
    offsets: Mapping[str, Any] | None = None,
    subjects: list[str] | None = None,
    cache: str | Path | None = None,
    name: str = "annot16",
) -> TractCorpus:
    """Load the Annot-16 tree `root` (subNNN/track, subNNN/alignment) with the audio of the 75-Speaker tree `recordings` (None: as `root`).

    `grids`: a folder of subNNN.npy, gridlines (g, 2, 2) in pixels, the lower side's end first; None lays them through each speaker's mean
    contours. `offsets`: seconds by which the tract of a track (by its id) is late. `subjects`: None takes all. `cache`: a folder for the
    distances, which take about 2 ms a frame. A bad track is skipped and listed; raises RequestError where over 5 % are, or an offset is of
    no track here or no time.
    """
    root = Path(root)
    sound = Path(recordings) if recordings is not None else root
    there = sorted(path.parent.name for path in root.glob("sub*/track"))
    if not there:
        raise RequestError(f"root={root} holds no subNNN/track; name the folder that Annot-16 unpacks to")
    if unknown := sorted(set(subjects or ()) - set(there)):
        raise RequestError(f"subjects={','.join(unknown)}: subjects here are {', '.join(there)}")
    late = _offsets(offsets or {}, {path.name.removesuffix("_track.mat") for path in root.glob("sub*/track/*_track.mat")})
    found: dict[str, tuple[Utterance, Tract]] = {}
    bad: list[tuple[str, str]] = []
    for subject in subjects or there:
        files = sorted((root / subject / "track").glob("*_track.mat"))
        for path, made in _subject(subject, files, grids, cache, bad):
            key = path.stem.removesuffix("_track")
            try:
                tract = Tract(made[0], MRI_RATE, made[1], late.get(key, 0.0))
                found[key] = (_utterance(key, subject, root, sound, tract), tract)
            except DataError as error:
                bad.append((str(path), str(error)))
    return tract_corpus(name, found, bad, FACTS)


def _offsets(given: Mapping[str, Any], tracks: set[str]) -> dict[str, float]:
    """Check offsets; raises RequestError for a track that is not here, or what is no time."""
    if unknown := sorted(set(given) - tracks):
        near = difflib.get_close_matches(unknown[0], tracks, n=1)
        raise RequestError(f"offsets: {unknown[0]} is no track here{f'; did you mean {near[0]}?' if near else '; name one by its id'}")
    try:
        return {key: one_number(value, f"offsets: {key}", whole=False) for key, value in given.items()}
    except DataError as error:
        raise RequestError(f"{error}; give seconds") from error


def _subject(
    subject: str, files: list[Path], grids: str | Path | None, cache: str | Path | None, bad: list[tuple[str, str]]
) -> Iterator[tuple[Path, tuple[np.ndarray, int]]]:
    """Distances in mm and the first frame of each track of one speaker; the contours of one speaker are held at once."""
    given = None if grids is None else _given(Path(grids) / f"{subject}.npy")
    kept = None if cache is None else Path(cache).expanduser() / f"{subject}-{_key(files, given)}.npz"
    if kept is not None and (held := _held(kept)) is not None:
        bad += [(str(path), str(reason)) for path, reason in held["bad"]]
        yield from ((path, (held[path.stem], int(held[f"{path.stem}@"]))) for path in files if path.stem in held)
        return
    tracks: dict[Path, Track] = {}
    refused: list[tuple[str, str]] = []
    for path in files:
        try:
            tracks[path] = read_track(path)
        except DataError as error:
            refused.append((str(path), str(error)))
    bad += refused
    if not tracks:
        return
    try:
        grid = _grid(tracks) if given is None else given
    except DataError as error:
        bad += [(str(path), f"{subject}: {error}") for path in tracks]
        return
    made = {path: distances(track, grid) for path, track in tracks.items()}
    if kept is not None:
        arrays = {path.stem: vtd for path, (vtd, _) in made.items()} | {
            f"{path.stem}@": np.array(first) for path, (_, first) in made.items()
        }
        with replacing(kept) as temporary:
            np.savez_compressed(temporary, bad=np.array(refused, dtype=np.str_).reshape(-1, 2), **arrays)  # type: ignore[arg-type]
    yield from made.items()


def _held(kept: Path) -> dict[str, np.ndarray] | None:
    """Distances made before; None where there are none, or the file was cut off: they are made anew."""
    try:
        held = read_arrays(kept, "it is made again") if kept.is_file() else None
    except DataError:
        return None
    return held if held is not None and "bad" in held else None


def read_track(path: Path) -> Track:
    """Read one *_track.mat (MAT v5); raises DataError on another file, unknown ids, numbers that are none, frames that do not rise."""
    import scipy.io

    try:
        cells = np.atleast_1d(scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["trackdata"])
    except Exception as error:  # whatever scipy's parser stumbles over
        raise DataError(f"{path}: no MAT v5 file with trackdata ({error}); fetch it again") from error
    frames: list[int] = []
    outlines: list[Outline] = []
    for cell in cells:
        if not hasattr(cell, "frameNo"):
            continue  # a frame that the tracker lost is an empty cell
        try:
            number = int(one_number(cell.frameNo, "a frame number", whole=True)) - 1
            within_reach(frames[0] if frames else number, number)
        except DataError as error:
            raise DataError(f"{path}: {error}; mend or remove the track") from error
        if number < 0 or (frames and number <= frames[-1]):
            before = f"after {frames[-1] + 1}" if frames else "first"
            raise DataError(f"{path}: frame number {number + 1} comes {before}: they must rise from 1; mend or remove the track")
        outline = _outline(path, number + 1, cell)
        if outline is not None:
            frames.append(number)
            outlines.append(outline)
    if not frames:
        raise DataError(f"{path}: none of its {len(cells)} frames has contours; remove the track")
    return Track(tuple(frames), tuple(outlines))


def _outline(path: Path, frame: int, cell: Any) -> Outline | None:
    """Both walls of a frame, in pieces where the tracker lost a part; None where it lost one of them whole."""
    points: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number, known in SEGMENT_IDS.items():
        where = f"{path}: frame {frame}, segment {number}"
        try:
            segment = np.atleast_1d(cell.contours.segment)[number - 1]
            v, given = np.asarray(segment.v, float), np.atleast_1d(segment.i)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path}: frame {frame} has no contours.segment{{1..4}} of v and i ({error}); fetch it again") from error
        if v.size and (v.ndim != 2 or v.shape[1] != 2 or len(v) != len(given)):
            raise DataError(f"{where}: {v.shape} points and {len(given)} ids; fetch it again")
        try:
            ids = numbers(given, "an id", whole=True) if v.size else np.zeros(0, np.int64)
        except DataError as error:
            raise DataError(f"{where}: {error}; fetch it again") from error
        if unknown := sorted(set(ids.tolist()) - set(known)):
            raise DataError(f"{where} has the unknown id {unknown[0]}; ids are {known[0]} to {known[-1]}")
        if not np.isfinite(v).all():
            raise DataError(f"{where} has a point that is not finite; mend or remove the track")
        points[number] = (v.reshape(-1, 2), ids)
    lower, upper = (_pieces(points, parts) for parts in (LOWER, UPPER))
    return Outline(lower, upper) if lower and upper else None


def _pieces(points: Mapping[int, tuple[np.ndarray, np.ndarray]], parts: Sequence[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    """Join the parts of a wall in their order, in pixels of the image; one that was lost (under 2 points) breaks it there.

    Joined across, it would be a straight wall that nobody saw.
    """
    runs: list[list[np.ndarray]] = [[]]
    for segment, number, way in parts:
        found = points[segment][0][points[segment][1] == number][::way]
        if len(found) > 1:
            runs[-1].append(found)
        else:
            runs.append([])
    return tuple(np.concatenate(run) * [1.0, -1.0] + HALF for run in runs if run)


def distances(track: Track, grid: Grid) -> tuple[np.ndarray, int]:
    """Measure every frame in mm on the whole clock, NaN where there is none, and say which frame is the first."""
    found = np.stack([vocal_tract_distance(outline, grid) for outline in track.outlines])
    whole, first = regular(PIXEL * found, track.frames)
    return whole.astype(np.float32), first


def _grid(tracks: Mapping[Path, Track]) -> Grid:
    """Grid of a speaker through the mean of his frames whose walls are whole; raises DataError where there is none."""
    whole = [each for track in tracks.values() for each in track.outlines if len(each.lower) == 1 == len(each.upper)]
    if not whole:
        raise DataError("in no frame is every part of both walls there, so no grid can be laid through them; give gridlines by grids=")
    lower, upper = np.zeros((POINTS, 2)), np.zeros((POINTS, 2))
    for outline in whole:
        lower += resampled(outline.lower[0], POINTS)
        upper += resampled(outline.upper[0], POINTS)
    return gridlines(lower / len(whole), upper / len(whole), REACH)


def _given(path: Path) -> Grid:
    try:
        grid = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError) as error:
        raise RequestError(f"grids: {path} is not readable ({error}); give (g, 2, 2) gridlines for each subject") from error
    if grid.ndim != 3 or grid.shape[1:] != (2, 2) or not np.isfinite(grid).all():
        raise RequestError(f"grids: {path} has shape {grid.shape}; gridlines are (g, 2, 2), finite, in pixels, the lower side's end first")
    return grid


def _key(files: list[Path], grid: Grid | None) -> str:
    """Hash what the distances follow from: the files (name, size, time) and the grid."""
    digest = hashlib.sha256(b"annot16 2" if grid is None else b"annot16 2" + grid.tobytes())
    for path in files:
        about = path.stat()
        digest.update(f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _utterance(key: str, subject: str, root: Path, sound: Path, tract: Tract) -> Utterance:
    """Find audio and TextGrid of a track; raises DataError where the audio is missing or of another length, or the TextGrid is broken."""
    folder = sound / subject / "2drt" / "audio"
    places = [folder / f"{key}{ending}{suffix}" for ending in ("_audio", "") for suffix in (".wav", ".flac")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(f"{key}: no {places[0]}; fetch the audio of the 75-Speaker set, or name its folder by recordings=")
    seconds = audio.check(path).seconds
    same_length(key, tract, seconds)
    grid = root / subject / "alignment" / f"{key}_text.TextGrid"
    words: tuple[Interval, ...] = ()
    phones: tuple[Interval, ...] = ()
    if grid.is_file():
        read = textgrid.read(grid)
        try:
            words = textgrid.words(read.tier(1), seconds)
            phones = textgrid.phones(read.tier(2), seconds) if len(read.tiers) > 1 else ()
        except DataError as error:
            raise DataError(f"{grid}: {error}") from error
    return Utterance(key, path, subject, words, phones, " ".join(word.label for word in words), seconds)
