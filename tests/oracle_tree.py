"""Small trees of audio with transcripts and TextGrids, for tests of the corpora."""

from pathlib import Path

import numpy as np
import soundfile

import oracle_textgrid

RATE = 16_000


def noise(path: Path, seconds: float = 1.0, rate: int = RATE, channels: int = 1, seed: int = 0) -> Path:
    """Quiet noise at `path`, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = np.random.default_rng(seed).normal(0, 0.05, (round(seconds * rate), channels))
    soundfile.write(str(path), np.clip(wav, -1, 1), rate)
    return path


def grid(path: Path, text: str, end: float = 1.0) -> Path:
    """TextGrid at `path`: the words of `text` share 0.2 s to 0.8 s; each has two phones, K and AE1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spoken = text.lower().split()
    edges = np.linspace(0.2, 0.8, len(spoken) + 1).round(4).tolist()
    words = [(0.0, 0.2, "")] + [(a, b, word) for word, a, b in zip(spoken, edges, edges[1:])] + [(0.8, end, "")]
    phones = [(0.0, 0.2, "sil")]
    for a, b in zip(edges, edges[1:]):
        phones += [(a, (a + b) / 2, "K"), ((a + b) / 2, b, "AE1")]
    phones.append((0.8, end, "sp"))
    path.write_text(oracle_textgrid.long([("words", words), ("phones", phones)], end))
    return path


def librispeech(
    tree: Path, grids: Path | None, subsets: tuple[str, ...] = (), speakers: int = 2, chapters: int = 2, each: int = 3
) -> list[str]:
    """LibriSpeech-like tree; without `subsets` the speakers lie directly in it. Gives the ids in order."""
    ids = []
    for number, subset in enumerate(subsets or ("",)):
        for speaker in range(100 * (number + 1), 100 * (number + 1) + speakers):
            for chapter in range(1, chapters + 1):
                inner = Path(subset, str(speaker), str(chapter))
                lines = []
                for index in range(each):
                    name = f"{speaker}-{chapter}-{index:04d}"
                    noise(tree / inner / f"{name}.flac")
                    if grids is not None:
                        grid(grids / inner / f"{name}.TextGrid", "HELLO WORLD")
                    lines.append(f"{name} HELLO WORLD\n")
                    ids.append(name)
                (tree / inner / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return sorted(ids)
