"""RAVDESS: 24 actors say two sentences in eight emotions (Livingstone & Russo 2018); the name of a file says all of it."""

from collections.abc import Sequence
from pathlib import Path

from laminal.corpora.labelled import LabelledCorpus, labelled, named
from laminal.corpora.recordings import Recording, files
from laminal.errors import RequestError

EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
CHANNELS = {"01": "speech", "02": "song"}
STATEMENTS = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
RULE = "MODALITY-CHANNEL-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR.wav, as 03-01-06-01-02-01-12.wav"
SOURCE = "https://zenodo.org/records/1188976 (Audio_Speech_Actors_01-24.zip)"
FACTS: dict[str, object] = {"licence": "CC BY-NC-SA 4.0", "source": f"RAVDESS (Livingstone & Russo 2018), {SOURCE}"}


def ravdess(root: str | Path, channel: str = "speech", emotions: Sequence[str] | None = None, name: str = "ravdess") -> LabelledCorpus:
    """Load RAVDESS from `root`, which holds Actor_01 .. Actor_24 with the audio-only files of the archive.

    `channel`: speech or song; `emotions`: some of the eight, None for all. Raises RequestError where there are no such files.
    """
    if channel not in CHANNELS.values():
        raise RequestError(f"channel={channel}: RAVDESS has speech and song")
    unknown = sorted(set(emotions or ()) - set(EMOTIONS.values()))
    if unknown:
        raise RequestError(f"emotions={', '.join(unknown)}: RAVDESS has {', '.join(EMOTIONS.values())}")
    folder = Path(root)
    if not folder.is_dir():
        raise RequestError(f"root={root} is no folder; unpack {SOURCE} and name the folder that holds Actor_01")
    found, bad = named(files(folder, frozenset({".wav", ".flac"})), _read, RULE)
    kept = [each for each in found if _channel(each[0]) == channel and (emotions is None or each[1] in emotions)]
    if not kept:
        raise RequestError(f"{root} holds no labelled {channel} of RAVDESS: its files are called {RULE}; unpack {SOURCE}")
    return labelled(name, "emotion", kept, FACTS, bad)


def _read(path: Path) -> tuple[Recording, str] | None:
    parts = path.stem.split("-")
    if len(parts) != 7 or parts[1] not in CHANNELS or parts[2] not in EMOTIONS or not parts[6].isdigit():
        return None
    text = STATEMENTS.get(parts[4], "")
    return Recording(path.stem, path, f"ravdess{int(parts[6]):02d}", text, None), EMOTIONS[parts[2]]


def _channel(recording: Recording) -> str:
    return CHANNELS[recording.id.split("-")[1]]
