"""CREMA-D: 91 actors say twelve sentences in six emotions (Cao et al. 2014); the name of a file says all of it."""

from pathlib import Path

from laminal.corpora.labelled import LabelledCorpus, labelled, named
from laminal.corpora.recordings import Recording, files
from laminal.errors import RequestError

EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LEVELS = ("LO", "MD", "HI", "XX", "X")  # of the emotion: low, medium, high, not said
SENTENCES = {
    "IEO": "it's eleven o'clock", "TIE": "that is exactly what happened", "IOM": "i'm on my way to the meeting",
    "IWW": "i wonder what this is about", "TAI": "the airplane is almost full", "MTI": "maybe tomorrow it will be cold",
    "IWL": "i would like a new alarm clock", "ITH": "i think i have a doctor's appointment", "DFA": "don't forget a jacket",
    "ITS": "i think i've seen this before", "TSI": "the surface is slick", "WSI": "we'll stop in a couple of minutes",
}  # fmt: skip
RULE = "ACTOR_SENTENCE_EMOTION_LEVEL.wav, as 1001_DFA_ANG_XX.wav"
SOURCE = "https://github.com/CheyneyComputerScience/CREMA-D (AudioWAV)"
FACTS: dict[str, object] = {"licence": "Open Database License 1.0", "source": f"CREMA-D (Cao et al. 2014), {SOURCE}"}


def crema_d(root: str | Path, name: str = "crema_d") -> LabelledCorpus:
    """Load CREMA-D from `root`, the repository or its AudioWAV; the emotion is the one that the actor was asked for.

    Raises RequestError where there are no such files.
    """
    folder = Path(root) / "AudioWAV" if (Path(root) / "AudioWAV").is_dir() else Path(root)
    if not folder.is_dir():
        raise RequestError(f"root={root} is no folder; fetch {SOURCE} and name the folder")
    found, bad = named(files(folder, frozenset({".wav", ".flac"})), _read, RULE)
    if not found:
        raise RequestError(f"{folder} holds no labelled file of CREMA-D: its files are called {RULE}; fetch {SOURCE}")
    return labelled(name, "emotion", found, FACTS, bad)


def _read(path: Path) -> tuple[Recording, str] | None:
    parts = path.stem.split("_")
    if len(parts) != 4 or not parts[0].isdigit() or parts[2] not in EMOTIONS or parts[3] not in LEVELS:
        return None
    return Recording(path.stem, path, f"crema{parts[0]}", SENTENCES.get(parts[1], ""), None), EMOTIONS[parts[2]]
