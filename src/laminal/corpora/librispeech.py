"""LibriSpeech: the standard tree, any subset, with the TextGrids of LibriSpeech-Alignments (Panayotov et al. 2015; Lugosch et al. 2019)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from laminal.corpora.base import Corpus
from laminal.corpora.recordings import Recording, Tiers, corpus, files
from laminal.corpora.transcripts import audio_root, trans
from laminal.errors import RequestError

SUBSETS = ("dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360", "train-other-500")
FACTS: dict[str, object] = {
    "licence": "CC BY 4.0",
    "source": "LibriSpeech (Panayotov et al. 2015): audio https://www.openslr.org/12, alignments https://zenodo.org/records/2619474",
}
_NAME = re.compile(r"(\d+)-(\d+)-\d+")  # SPEAKER-CHAPTER-UTTERANCE


def librispeech(
    root: str | Path,
    alignments: str | Path | None = None,
    subsets: str | Sequence[str] | None = None,
    word_tier: str | int = "words",
    phone_tier: str | int = "phones",
    name: str = "librispeech",
) -> Corpus:
    """Load LibriSpeech from `root`, which is the tree itself, a folder with `audio/` and `alignments/`, or one subset.

    `alignments`: the folder of the TextGrids (SUBSET/SPEAKER/CHAPTER/ID.TextGrid, or without SUBSET); None looks for `root/alignments`
    and then in the tree; "none" loads audio and transcripts only, so words and phones are empty. `subsets`: dev-clean ... train-other-500;
    None takes all there are. Raises RequestError where a folder or subset is missing, or more than 5 % of the files are bad.
    """
    root = Path(root)
    tree = audio_root(root)
    if tree == root and (root / "LibriSpeech").is_dir():  # as the archives unpack
        tree = root / "LibriSpeech"
    grids = _grids(root, tree, alignments)
    recordings = [
        Recording(path.stem, path, match[1], text, None if grids is None else grids.get(path.stem))
        for folder in _folders(tree, [subsets] if isinstance(subsets, str) else subsets)
        for path, text in _chapters(folder)
        if (match := _NAME.fullmatch(path.stem))
    ]
    if not recordings:
        raise RequestError(f"{tree} holds no SPEAKER-CHAPTER-UTTERANCE.flac; root= must name the LibriSpeech tree, from {FACTS['source']}")
    return corpus(name, recordings, Tiers(word_tier, phone_tier), grids is not None, FACTS)


def _folders(tree: Path, subsets: Sequence[str] | None) -> list[Path]:
    if subsets is None:
        return [tree]
    unknown = sorted(set(subsets) - set(SUBSETS))
    if unknown:
        raise RequestError(f"LibriSpeech has no subset {', '.join(unknown)}; its subsets are {', '.join(SUBSETS)}")
    missing = [subset for subset in subsets if not (tree / subset).is_dir()]
    if missing:
        there = ", ".join(subset for subset in SUBSETS if (tree / subset).is_dir()) or "none"
        raise RequestError(f"{tree} lacks {', '.join(missing)} (there: {there}); fetch it from openslr.org/12, or leave subsets out")
    return [tree / subset for subset in dict.fromkeys(subsets)]


def _chapters(folder: Path) -> Iterator[tuple[Path, str]]:
    """Audio files with their transcripts, chapter by chapter."""
    chapter, texts = None, {}
    for path in files(folder, frozenset({".flac", ".wav"})):
        if path.parent != chapter:
            chapter, texts = path.parent, trans(path.parent)
        yield path, texts.get(path.stem, "").lower()  # the capitals of LibriSpeech mean nothing


def _grids(root: Path, tree: Path, alignments: str | Path | None) -> dict[str, Path] | None:
    if alignments == "none":
        return None
    if alignments is None:
        places = [root / "alignments"] if (root / "alignments").is_dir() else [tree]
    elif Path(alignments).is_dir():
        places = [Path(alignments)]
    else:
        raise RequestError(f"alignments={alignments} is no folder; name the folder of the TextGrids, or none for audio without words")
    found = {path.stem: path for place in places for path in files(place, frozenset({".textgrid"}))}
    if not found:
        raise RequestError(
            f"{places[0]} holds no TextGrid: unpack LibriSpeech-Alignments (zenodo.org/records/2619474) and name it by alignments=, "
            f"or run python -m laminal.corpora.align root={root}, or say alignments=none for audio without words"
        )
    return found
