"""IEMOCAP: ten actors in five sessions of dialogue, each turn with the emotion that its raters agreed on (Busso et al. 2008)."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from laminal.corpora.labelled import LabelledCorpus, labelled
from laminal.corpora.recordings import Recording, files
from laminal.corpora.transcripts import decoded
from laminal.errors import RequestError

FOUR = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}  # the usual four, excitement with happiness
SOURCE = "https://sail.usc.edu/iemocap (on request)"
FACTS: dict[str, object] = {"licence": "IEMOCAP's release form: no redistribution", "source": f"IEMOCAP (Busso et al. 2008), {SOURCE}"}
_TURN = re.compile(r"^\[\d+\.\d+ - \d+\.\d+\]\s+(Ses\d\d[FM]_\S+)\s+([a-z]{3})\s", re.MULTILINE)  # [start - end] TURN emotion [v, a, d]
_SAID = re.compile(r"^(Ses\d\d[FM]_\S+) \[[^\]]*\]:\s*(.*)$", re.MULTILINE)
_NAME = re.compile(r"Ses(\d\d)[FM]_.*_([FM])\d+")  # Ses01F_impro01_M003: session 1, said by its man


def iemocap(root: str | Path, classes: Mapping[str, str] | None = None, name: str = "iemocap") -> LabelledCorpus:
    """Load the turns of IEMOCAP from `root`, which holds Session1 .. Session5 (dialog/EmoEvaluation, sentences/wav).

    `classes`: the archive's three letters to a class, None for the usual four; turns of other emotions are left out. Raises RequestError
    where the labels or the audio are missing.
    """
    folder = Path(root)
    sessions = sorted(path for path in folder.glob("Session*") if path.is_dir())
    if not sessions:
        raise RequestError(f"{root} holds no Session1; name the folder IEMOCAP_full_release, from {SOURCE}")
    kept, taken = classes or FOUR, []
    for session in sessions:
        labels = _labels(session)
        texts = dict(pair for text in _texts(session / "dialog" / "transcriptions") for pair in _SAID.findall(text))
        waves = session / "sentences" / "wav"
        if not waves.is_dir():
            raise RequestError(f"{session} has no sentences/wav, the audio of its turns; unpack the full release")
        for path in files(waves, frozenset({".wav", ".flac"})):
            label, match = kept.get(labels.get(path.stem, "")), _NAME.fullmatch(path.stem)
            if label is not None and match is not None:
                taken.append((Recording(path.stem, path, f"iemocap{match[1]}{match[2]}", texts.get(path.stem, "").lower(), None), label))
    if not taken:
        raise RequestError(f"{root}: no turn has one of the classes {', '.join(sorted(kept))}; give classes= letters of EmoEvaluation")
    return labelled(name, "emotion", taken, FACTS)


def _labels(session: Path) -> dict[str, str]:
    folder = session / "dialog" / "EmoEvaluation"
    labels = dict(pair for text in _texts(folder) for pair in _TURN.findall(text))
    if not labels:
        raise RequestError(f"{folder} says no emotion of any turn: the labels are missing; unpack dialog/EmoEvaluation of the full release")
    return labels


def _texts(folder: Path) -> Iterator[str]:
    return (decoded(path) for path in sorted(folder.glob("Ses*.txt")))
