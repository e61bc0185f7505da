"""Any recordings with vocal-tract distances that somebody has measured: SPEAKER/NAME.npz beside SPEAKER/NAME.wav."""

from pathlib import Path

import numpy as np

from laminal import audio
from laminal.audio import SUFFIXES
from laminal.corpora import textgrid
from laminal.corpora.base import Interval, Utterance
from laminal.corpora.recordings import files
from laminal.corpora.tract import Tract, TractCorpus, numbers, one_number, read_arrays, same_length, tract_corpus
from laminal.errors import DataError, RequestError
from laminal.measures.vtd import regular


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
    """Read one .npz; raises DataError where it is none, has no rate, or what it says of its clock are no numbers, or do not rise."""
    given = read_arrays(path, "write it by numpy.savez")
    vtd = given.get("vtd")
    if vtd is None or vtd.ndim != 2 or not vtd.size or vtd.dtype.kind not in "fiu":
        raise DataError(f"{path}: vtd is {'missing' if vtd is None else vtd.shape}; give numbers (frames, lines)")
    with np.errstate(over="ignore"):
        kept = vtd.astype(np.float32)
    if np.isinf(kept).any():
        raise DataError(f"{path}: vtd is infinite in {int(np.isinf(kept).any(1).sum())} frames; NaN says that there is no value")
    try:
        rate = one_number(given["fps"], "fps", whole=False) if "fps" in given else fps
        first = int(one_number(given.get("first", 0), "first", whole=True))
        offset = one_number(given.get("offset", 0.0), "offset", whole=False)
        if "frames" in given:
            frames = numbers(given["frames"], "frames", whole=True)
            if given["frames"].shape != (len(vtd),) or frames[0] < 0 or (np.diff(frames) < 1).any():
                raise DataError(f"frames are {given['frames'].shape} numbers for {len(vtd)} rows and must rise from 0; mend them")
            whole, first = regular(kept, frames)
            kept = whole.astype(np.float32)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if rate is None or not 0 < rate < np.inf:
        raise DataError(f"{path}: fps={rate}; say the frames per second in the file or by fps=")
    if first < 0:
        raise DataError(f"{path}: first={first}; frames count from 0")
    return Tract(kept, rate, first, offset)


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
