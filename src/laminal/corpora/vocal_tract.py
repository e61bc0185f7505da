"""The simulated vocal tract: sentences said by VocalTractLab, which gives the audio and the tract that made it, at known times.

VocalTractLab (Birkholz) is GPL-3: an extra (`vocaltract`) that runs in processes of its own and is never shipped. Its English is German:
every phone is the nearest German segment (`vocal_tract_text`), so this is evidence about sound and tract, not about English.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from laminal import audio
from laminal.atomic import replacing, write_json
from laminal.corpora import spoken_text, vocal_tract_say, vocal_tract_text
from laminal.corpora.base import Interval, Utterance
from laminal.corpora.tract import Tract, TractCorpus, read_arrays, tract_corpus
from laminal.errors import DataError, RequestError
from laminal.lexicon import base as lexicon
from laminal.measures.clock import MRI_RATE, frame_times
from laminal.measures.vtd import Outline, gridlines, mean_contour, vocal_tract_distance
from laminal.usual_folder import usual_folder

RATE, SAMPLE_RATE = 44_100, 16_000  # Hz: of the tool, and as kept
LEVEL = 4.0  # gain: the tool's loudest vowels reach 0.15
MM = 10.0  # in a cm
REACH = 30.0  # mm: half a gridline
PITCH = 80.0  # semitones above 1 Hz: 102 Hz
SMALL, LARGE = (0.82, 0.92), (0.94, 1.06)  # size of a woman's and a man's tract over the tool's own speaker, a man
FACTS: dict[str, object] = {
    "source": "VocalTractLab (vocaltractlab-cython) saying WordNet's example sentences; distances by laminal's own code",
    "licence": "made on this machine by a GPL-3 program that is not shipped; sentences: WordNet licence",
    "alignment": "exact: the segments given; gestures set in up to 60 ms before them",
}


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker: size over the tool's own, height of the palate besides, mean pitch in semitones above 1 Hz, rate of speech."""

    name: str
    scale: float
    palate: float
    pitch: float
    rate: float


def vocal_tract(
    speakers: int, tracks: int, seconds: float, seed: int = 0, cache: str | Path | None = None, processes: int | None = None
) -> TractCorpus:
    """Make `tracks` recordings of about `seconds` s by each of `speakers`, or take them from the cache.

    The same arguments give the same bytes. A second takes 3 to 5 s of one core; `processes` of them at once (None: as many as cores). The
    cache is the folder `cache`, else $LAMINAL_CACHE/vocal_tract, else ~/.cache/laminal/vocal_tract. Raises RequestError where the tool is
    missing, DataError where it fails.
    """
    if speakers < 1 or tracks < 1 or seconds < 1:
        raise RequestError(f"speakers={speakers} tracks={tracks} seconds={seconds:g}: at least 1 of each")
    arguments = {"speakers": speakers, "tracks": tracks, "seconds": float(seconds), "seed": seed}
    folder = _folder(usual_folder("vocal_tract", cache), _key(arguments))
    voices = [voice(number, seed) for number in range(speakers)]
    jobs = [(one, number, folder / f"{one.name}-{number:03d}") for one in voices for number in range(tracks)]
    missing = [job for job in jobs if not job[2].with_suffix(".json").is_file()]
    if missing:
        _available()
        with ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
            list(pool.map(lambda job: _make(job[0], job[1], job[2], float(seconds), seed), missing))
    return _load(folder, voices, tracks)


def voice(number: int, seed: int) -> Voice:
    """Draw speaker `number`: men and women in turn; the first is the tool's own."""
    rng = np.random.default_rng([seed, 1, number])
    woman = bool(number % 2)
    scale = float(rng.uniform(*(SMALL if woman else LARGE))) if number else 1.0
    palate = float(rng.uniform(0.92, 1.0)) if number else 1.0
    pitch = PITCH + (9.0 if woman else 0.0) + float(rng.uniform(-2, 2))
    return Voice(
        f"tract{number:02d}{'f' if woman else 'm'}", round(scale, 4), round(palate, 4), round(pitch, 3), float(rng.uniform(0.9, 1.1))
    )


def _key(arguments: Mapping[str, int | float]) -> str:
    """Hash what the recordings follow from: arguments, and the code that draws the voices, chooses the sentences and says them."""
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode())
    code = [Path(__file__), *(Path(str(module.__file__)) for module in (vocal_tract_say, vocal_tract_text, spoken_text))]
    for part in (*code, *sorted(lexicon.DATA.glob("*.gz"))):
        digest.update(part.read_bytes())
    return digest.hexdigest()[:16]


def _folder(root: Path, key: str) -> Path:
    """Name the folder of the recordings by the tool's version too; without the tool, one that any version of it has made will do."""
    try:
        version = importlib.metadata.version(vocal_tract_say.PACKAGE.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        made = sorted(root.glob(f"{key}-*"))
        return made[-1] if made else root / key
    return root / f"{key}-{version}"


def _available() -> None:
    if importlib.util.find_spec(vocal_tract_say.PACKAGE) is None:
        raise RequestError(
            "corpus vocal_tract needs VocalTractLab, which is not installed: pip install 'laminal[vocaltract]' (GPL-3), "
            "or take the table that comes with laminal: probes.articulation.tract=null"
        )


def _make(one: Voice, number: int, path: Path, seconds: float, seed: int) -> None:
    """Write the audio, the outlines, and last the text of one recording: where that is, the others are whole."""
    speaker = int(one.name[5:7])
    rng = np.random.default_rng([seed, 2, speaker, number])
    known = vocal_tract_text.sentences()
    texts: list[str] = []
    while True:
        texts.append(known[int(rng.integers(len(known)))])
        line = vocal_tract_text.line(texts, np.random.default_rng([seed, 3, speaker, number]), one.rate)
        if line.seconds >= seconds:
            break
    times = frame_times(int(line.seconds * MRI_RATE), MRI_RATE)
    job = {"segments": line.segments, "pitch": _tune(line.seconds, one.pitch, rng), "scale": one.scale, "palate": one.palate}
    with tempfile.TemporaryDirectory() as folder:
        work, made = Path(folder) / "job.json", Path(folder) / "made.npz"
        work.write_text(json.dumps(job | {"times": times.tolist()}), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", vocal_tract_say.__name__, str(work), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode or not made.is_file():
            said = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise DataError(f"VocalTractLab ended with {done.returncode} on {path.name} ({said}); run again, or choose another seed")
        with np.load(made) as found:
            wav = audio.resample(LEVEL * found["audio"], RATE, SAMPLE_RATE)[: round(line.seconds * SAMPLE_RATE)]  # it sounds on for a while
            walls = {name: found[name] for name in ("upper", "lower", "tongue", "epiglottis")}
    audio.write(path.with_suffix(".flac"), wav, SAMPLE_RATE)
    with replacing(path.with_suffix(".npz")) as temporary:
        np.savez(temporary, **walls)
    tiers = {name: [[each.label, each.start, each.end] for each in tier] for name, tier in (("words", line.words), ("phones", line.phones))}
    write_json(path.with_suffix(".json"), tiers | {"text": line.text, "seconds": len(wav) / SAMPLE_RATE})


def _tune(seconds: float, pitch: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw a pitch that wanders and falls, knowing nothing of what is said."""
    tune, now = [], 0.0
    while now < seconds:
        length = float(rng.uniform(0.2, 0.5))
        tune.append((pitch + float(rng.normal(0, 1.5)) - 3 * now / seconds, length))
        now += length
    return tune


def _load(folder: Path, voices: list[Voice], tracks: int) -> TractCorpus:
    found = {}
    for one in voices:
        paths = [folder / f"{one.name}-{number:03d}" for number in range(tracks)]
        for path, vtd in zip(paths, distances([outlines(path.with_suffix(".npz")) for path in paths]), strict=True):
            told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            words, phones = (tuple(Interval(*each) for each in told[tier]) for tier in ("words", "phones"))
            utterance = Utterance(path.name, path.with_suffix(".flac"), one.name, words, phones, told["text"], told["seconds"])
            found[path.name] = (utterance, Tract(vtd, MRI_RATE))
    return tract_corpus("vocal_tract", found, (), FACTS)


def outlines(path: Path) -> list[Outline]:
    """Read the walls of each frame in mm, both from lips to larynx."""
    try:
        held = read_arrays(path, "delete its folder, it is made again")
        upper, lower, tongue, epiglottis = (MM * held[name].astype(np.float64) for name in ("upper", "lower", "tongue", "epiglottis"))
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: not whole ({error}); delete its folder, it is made again") from error
    return [Outline((lower_wall(*sides),), (top[::-1],)) for *sides, top in zip(lower, tongue, epiglottis, upper)]


def lower_wall(lower: np.ndarray, tongue: np.ndarray, epiglottis: np.ndarray) -> np.ndarray:
    """Join larynx, epiglottis, tongue, and teeth and lip before its tip into one wall, from lips to larynx.

    The tool's `lower` runs from the larynx below the tongue to the lip, `tongue` from root to tip.
    """
    larynx = lower[: int(np.argmax(lower[:, 1] > epiglottis[0, 1]))]
    return np.concatenate([larynx, epiglottis, tongue, lower[lower[:, 0] >= tongue[-1, 0]]])[::-1]


def distances(tracks: list[list[Outline]]) -> list[Float32[np.ndarray, "_ g"]]:
    """Lay one grid over the mean walls of a speaker and measure every frame of every track."""
    frames = [outline for track in tracks for outline in track]
    grid = gridlines(mean_contour([each.lower[0] for each in frames]), mean_contour([each.upper[0] for each in frames]), REACH)
    return [np.stack([vocal_tract_distance(outline, grid) for outline in track]).astype(np.float32) for track in tracks]
