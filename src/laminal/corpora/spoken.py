"""The embedded corpus: English sentences said by espeak-ng in many voices, with exact words and phones, made once and cached.

Bit-exact from its arguments on one installation: every utterance depends on its sentence, its speaker and its number alone.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from rich.console import Console
from rich.progress import track

from laminal.atomic import write_json
from laminal.corpora import espeak, spoken_plan, spoken_text, spoken_voices
from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.errors import DataError, RequestError
from laminal.lexicon import base as lexicon
from laminal.lexicon import pronounce
from laminal.usual_folder import usual_folder

BAD = 0.05  # share of sentences that may fail before the build does


def spoken(speakers: int = 40, utterances: int = 7600, seed: int = 0, examples: float = 0.5, cache: str | Path | None = None) -> Corpus:
    """Give the corpus, from the cache where it is there, else made now (about a minute and 280 MB at the default size).

    `examples` is the share of sentences from WordNet's examples, the rest are filled templates. The cache is the folder `cache`, else
    $LAMINAL_CACHE/spoken, else ~/.cache/laminal/spoken. Raises RequestError on impossible sizes and where espeak-ng is missing.
    """
    if speakers < 1 or utterances < speakers:
        raise RequestError(f"speakers={speakers} utterances={utterances}: at least 1 speaker and an utterance for each; raise utterances")
    if not 0 <= examples <= 1:
        raise RequestError(f"examples={examples}: the share of WordNet's examples is in [0, 1], the rest are templates")
    arguments = {"speakers": speakers, "utterances": utterances, "seed": seed, "examples": float(examples)}
    folder = usual_folder("spoken", cache) / _key(arguments)
    if not (folder / "manifest.json").exists():
        with _locked(folder):
            if not (folder / "manifest.json").exists():  # another process may have made it while this one waited
                _make(folder, arguments)
    return _load(folder)


def _key(arguments: Mapping[str, int | float]) -> str:
    """Hash all that the corpus follows from: arguments, this code, the lexicon, espeak and its data, the libraries that write it."""
    engine = espeak.engine()
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode())
    digest.update(engine.version.encode())
    here = Path(__file__).parent
    parts = sorted(here.glob("espeak*.py")) + sorted(here.glob("spoken*.py"))
    parts += sorted(lexicon.DATA.parent.glob("*.py")) + sorted(lexicon.DATA.glob("*.gz"))
    parts += [engine.data / name for name in espeak.DATA]
    for part in parts:
        digest.update(part.name.encode() + hashlib.sha256(part.read_bytes()).digest())
    for package in ("numpy", "scipy", "soxr", "soundfile"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One builder at a time; the kernel frees the lock of a process that dies, and what it left half made is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.parent.glob(f".{folder.name}.part-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _make(folder: Path, arguments: Mapping[str, int | float]) -> None:
    part = folder.with_name(f".{folder.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        _build(part, **arguments)  # type: ignore[arg-type]
        if folder.exists():  # without a manifest: not a whole corpus
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise RequestError(f"{folder}: the spoken corpus could not be written ({error}); free some space or set LAMINAL_CACHE") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _build(folder: Path, speakers: int, utterances: int, seed: int, examples: float) -> None:
    source = spoken_text.material()
    vocabulary = spoken_text.vocabulary(source, spoken_plan.vocabulary_size(utterances))
    lines = spoken_plan.plan(vocabulary, speakers, utterances, seed, examples)
    voices = [spoken_voices.speaker(number, seed) for number in range(speakers)]
    rows, failed, digest = [], [], hashlib.sha256()
    for voice in voices:
        (folder / "audio" / voice.name).mkdir(parents=True)

    def make(number: int) -> tuple[spoken_voices.Recording, bytes] | DataError:
        try:
            return _make_one(lines[number].text, voices[lines[number].speaker], (seed, 5, number))
        except DataError as error:
            return error

    pool = ThreadPoolExecutor(max_workers=2)  # one speaks while the other filters and writes: both leave Python's lock
    try:
        made = track(pool.map(make, range(len(lines))), "spoken corpus", len(lines), console=Console(stderr=True), transient=True)
        for number, (line, one) in enumerate(zip(lines, made, strict=True)):
            speaker = voices[line.speaker].name
            name = f"{speaker}-{number:06d}"
            if isinstance(one, DataError):
                failed.append([name, str(one)])
                continue
            recording, coded = one
            path = f"audio/{speaker}/{name}.flac"
            (folder / path).write_bytes(coded)
            digest.update(coded)
            seconds = len(recording.samples) / spoken_voices.SAMPLE_RATE
            rows.append((name, path, speaker, line.text, line.source, seconds, *_columns(recording)))
    finally:
        pool.shutdown(cancel_futures=True)  # a full disk or Ctrl-C ends it at once
    if len(failed) > BAD * len(lines):
        raise RequestError(f"{len(failed)} of {len(lines)} sentences could not be said, at most {BAD:.0%} may; the first: {failed[0][1]}")
    names = ["id", "path", "speaker", "text", "source", "seconds", *(f"{tier}_{part}" for tier in ("word", "phone") for part in _PARTS)]
    pd.DataFrame(rows, columns=names).sort_values("id").to_parquet(folder / "utterances.parquet", index=False, compression="zstd")
    arguments = {"speakers": speakers, "utterances": utterances, "seed": seed, "examples": examples}
    made_of = {"audio_sha256": digest.hexdigest(), "skipped": failed, "arguments": arguments}
    write_json(folder / "manifest.json", _facts(rows, vocabulary, voices) | made_of)


def _make_one(text: str, who: spoken_voices.Speaker, draw: tuple[int, ...]) -> tuple[spoken_voices.Recording, bytes]:
    recording = spoken_voices.record(espeak.engine().say(text, who.voice, pronounce.pronunciations), who, draw)
    coded = io.BytesIO()  # soundfile waits for the disk after each file that it writes itself
    soundfile.write(coded, recording.samples, spoken_voices.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return recording, coded.getvalue()


_PARTS = ("label", "start", "end")


def _columns(made: spoken_voices.Recording) -> list[list]:
    return [[segment[part] for segment in tier] for tier in (made.words, made.phones) for part in range(3)]


def _facts(rows: list[tuple], vocabulary: spoken_text.Vocabulary, voices: list[spoken_voices.Speaker]) -> dict[str, object]:
    return {
        "source": "espeak-ng reading WordNet 3.0's example sentences and laminal's templates",
        "licence": "audio made on this machine by espeak-ng (GPL-3 program, not shipped); sentences: WordNet licence, Apache-2.0",
        "alignment": "exact: espeak-ng's phoneme events",
        "espeak": espeak.engine().version,
        "hours": round(sum(row[5] for row in rows) / 3600, 4),
        "vocabulary": list(vocabulary.words),
        "voices": {v.name: f"{v.voice.name} rate={v.voice.rate} pitch={v.voice.pitch} tract={v.tract:.3f}" for v in voices},
    }


def _load(folder: Path) -> Corpus:
    """Read what `_build` wrote; raises RequestError where it was tampered with."""
    try:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        table = pd.read_parquet(folder / "utterances.parquet")
        present = sum(len(files) for _, _, files in os.walk(folder / "audio"))
        if present != len(table):
            raise ValueError(f"{present} audio files for {len(table)} utterances")
        found = tuple(_utterance(folder, row) for row in table.to_dict("records"))
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{folder}: not a whole spoken corpus ({error}); delete it and start again") from error
    return Corpus("spoken", found, tuple((name, reason) for name, reason in facts.pop("skipped")), facts)


def _utterance(folder: Path, row: dict) -> Utterance:
    words, phones = (tuple(map(Interval, *(np.asarray(row[f"{tier}_{part}"]).tolist() for part in _PARTS))) for tier in ("word", "phone"))
    return Utterance(row["id"], folder / row["path"], row["speaker"], words, phones, row["text"], row["seconds"])
