"""Any recordings with vocal-tract distances that somebody has measured: SPEAKER/NAME.npz beside SPEAKER/NAME.wav."""

import zipfile
from pathlib import Path

import numpy as np

from laminal import audio
from laminal.audio import SUFFIXES
from laminal.corpora import textgrid
from laminal.corpora.base import Interval, Utterance
from laminal.corpora.recordings import files
from laminal.corpora.tract import Tract, TractCorpus, same_length, tract_corpus
from laminal.errors import DataError, RequestError


def vtd_arrays(
    root: str | Path, fps: float | None = None, word_tier: str | int = 1, phone_tier: str | int = 2, licence: str = "",
    name: str | None = None,
) -> TractCorpus:  # fmt: skip
    """Load every NAME.npz below `root` with the audio NAME.* (and, where there is one, NAME.TextGrid) beside it; speaker: its folder.

    An .npz holds `vtd` (frames, lines; NaN where there is none), may hold `fps` (else the argument), `first` (number of its first frame,
    from 0), `frames` (their numbers, rising, where some are missing) and `offset` (s). A bad track is skipped and listed; raises
    RequestError where over 5 % are, or nothing says the rate.
    """
    root = Path(root)
    if not root.is_dir():
        raise RequestError(f"root={root} is no folder; name the one that holds SPEAKER/NAME.npz")
    found: dict[str, tuple[Utterance, Tract]] = {}
    bad: list[tuple[str, str]] = []
    for path in files(root, frozenset({".npz"})):
        key = path.relative_to(root).with_suffix("").as_posix()
        try:
            tract = read_tract(path, fps)
            found[key] = (_utterance(path, key, tract, word_tier, phone_tier), tract)
        except DataError as error:
            bad.append((str(path), str(error)))
    return tract_corpus(name or root.resolve().name, found, bad, {"licence": licence or "not said (licence=)"})


def read_tract(path: Path, fps: float | None) -> Tract:
    """Read one .npz; raises DataError where it is none, has no rate, or frame numbers that do not rise."""
    try:
        with np.load(path, allow_pickle=False) as held:
            given = {each: held[each] for each in ("vtd", "fps", "first", "frames", "offset") if each in held}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no .npz of plain arrays ({error}); write it by numpy.savez") from error
    vtd = given.get("vtd")
    if vtd is None or vtd.ndim != 2 or not vtd.size or vtd.dtype.kind not in "fiu":
        raise DataError(f"{path}: vtd is {'missing' if vtd is None else vtd.shape}; give numbers (frames, lines)")
    if np.isinf(vtd).any():
        raise DataError(f"{path}: vtd is infinite in {int(np.isinf(vtd).any(1).sum())} frames; NaN says that there is no value")
    rate = float(given["fps"]) if "fps" in given else fps
    if rate is None or not rate > 0:
        raise DataError(f"{path}: fps={rate}; say the frames per second in the file or by fps=")
    first = int(given.get("first", 0))
    if "frames" in given:
        frames = given["frames"].astype(np.int64)
        if frames.shape != (len(vtd),) or frames[0] < 0 or (np.diff(frames) < 1).any():
            raise DataError(f"{path}: frames are {frames.shape} numbers for {len(vtd)} rows and must rise from 0; mend them")
        first = int(frames[0])
        whole = np.full((int(frames[-1]) - first + 1, vtd.shape[1]), np.nan)
        whole[frames - first] = vtd
        vtd = whole
    return Tract(vtd.astype(np.float32), rate, first, float(given.get("offset", 0.0)))


def _utterance(path: Path, key: str, tract: Tract, word_tier: str | int, phone_tier: str | int) -> Utterance:
    sound = next((path.with_suffix(suffix) for suffix in sorted(SUFFIXES) if path.with_suffix(suffix).is_file()), None)
    if sound is None:
        raise DataError(f"{path}: no audio {path.stem}.wav or .flac beside it; put it there")
    seconds = audio.check(sound).seconds
    same_length(str(path), tract, seconds)
    words: tuple[Interval, ...] = ()
    phones: tuple[Interval, ...] = ()
    grid = path.with_suffix(".TextGrid")
    if grid.is_file():
        read = textgrid.read(grid)
        words, phones = textgrid.words(read.tier(word_tier), seconds), textgrid.phones(read.tier(phone_tier), seconds)
    return Utterance(key, sound, path.parent.name, words, phones, " ".join(word.label for word in words), seconds)
