"""The embedded stand-in for emotion: styles of speaking that are planted by espeak-ng, every sentence in all of them by every speaker.

They are settings of a synthesiser, no emotions: what they show is whether rate, pitch, intonation and voicing are left in the tokens.
Levels are those of the speaker, the same in every style, so loudness says nothing; nor does the text.
"""

import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from laminal.atomic import write_json
from laminal.corpora import espeak, espeak_phones, spoken_text, spoken_voices
from laminal.corpora.base import Utterance
from laminal.corpora.labelled import LabelledCorpus
from laminal.errors import DataError, RequestError
from laminal.lexicon import base as lexicon
from laminal.lexicon import pronounce
from laminal.progress import track
from laminal.usual_folder import usual_folder

SHORTEST, LONGEST = 4, 8  # words of a sentence
FIRST = 100_000  # number of the first voice: none of them is a speaker of the spoken corpus
FACTS: dict[str, object] = {
    "source": "espeak-ng reading WordNet 3.0's example sentences in planted styles: a stand-in for emotion, not emotion",
    "licence": "audio made on this machine by espeak-ng (GPL-3 program, not shipped); sentences: WordNet licence",
}


@dataclass(frozen=True, slots=True)
class Style:
    """What a style changes of a speaker's own voice: rate by a factor, pitch and its range (0..100) by a sum, the variant if named."""

    rate: float = 1.0
    pitch: int = 0
    pitch_range: int = 0
    variant: str | None = None

    def of(self, voice: espeak.Voice) -> espeak.Voice:
        """Give the voice in this style."""
        pitch, spread = (int(np.clip(value, 0, 99)) for value in (voice.pitch + self.pitch, voice.pitch_range + self.pitch_range))
        variant = voice.variant if self.variant is None else self.variant
        return replace(voice, variant=variant, rate=round(voice.rate * self.rate), pitch=pitch, pitch_range=spread)


STYLES = {
    "plain": Style(), "fast": Style(rate=1.35), "slow": Style(rate=0.74), "high": Style(pitch=25), "flat": Style(pitch_range=-80),
    "whispered": Style(variant="whisper"),
}  # fmt: skip


def styles(speakers: int, sentences: int, seed: int = 0, cache: str | Path | None = None) -> LabelledCorpus:
    """Give `sentences` of each of `speakers` in all STYLES, from the cache where they are, else made now (some seconds).

    The cache is the folder `cache`, else $LAMINAL_CACHE/styles, else ~/.cache/laminal/styles. Raises RequestError on impossible sizes and
    where espeak-ng is missing.
    """
    if speakers < 2 or sentences < 1:
        raise RequestError(
            f"speakers={speakers} sentences={sentences}: at least 2 speakers, since classes are told by others, and 1 sentence"
        )
    arguments = {"speakers": speakers, "sentences": sentences, "seed": seed}
    folder = usual_folder("styles", cache) / _key(arguments)
    if not (folder / "manifest.json").is_file():
        _make(folder, **arguments)
    return _load(folder)


def _key(arguments: Mapping[str, int]) -> str:
    """Hash all that the corpus follows from: arguments, the code that chooses and says the sentences, the lexicon, espeak."""
    engine = espeak.engine()
    digest = hashlib.sha256(json.dumps([arguments, engine.version], sort_keys=True).encode())
    code = [Path(__file__), *(Path(str(module.__file__)) for module in (espeak, espeak_phones, spoken_text, spoken_voices))]
    for part in (*code, *sorted(lexicon.DATA.glob("*.gz")), *(engine.data / name for name in espeak.DATA)):
        digest.update(part.read_bytes())
    return digest.hexdigest()[:16]


def _make(folder: Path, speakers: int, sentences: int, seed: int) -> None:
    """Make the corpus beside its place and put it there whole; another process that did the same meanwhile made the same bytes."""
    part = folder.with_name(f".{folder.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        rows, failed = [], []
        offered = sorted({text for text, _, _ in spoken_text.material().examples if _fits(text)})
        for number in track(range(speakers), "styles of speaking", speakers):
            who = spoken_voices.speaker(FIRST + number, seed)
            drawn = np.random.default_rng([seed, 6, number]).choice(len(offered), size=sentences, replace=False)
            for place, index in enumerate(drawn.tolist()):
                for turn, (label, style) in enumerate(STYLES.items()):
                    name = f"style{number:03d}-{place:03d}-{label}"
                    try:
                        seconds = _say(part / f"{name}.flac", offered[index], who, style, (seed, 7, number, place, turn))
                    except DataError as error:
                        failed.append([name, str(error)])
                        continue
                    rows.append({"id": name, "speaker": f"style{number:03d}", "text": offered[index], "label": label, "seconds": seconds})
        if len(failed) > 0.05 * len(rows):
            raise RequestError(f"{len(failed)} of {len(rows)} sentences could not be said; the first: {failed[0][1]}")
        told = {name: {key: value for key, value in asdict(style).items() if value is not None} for name, style in STYLES.items()}
        write_json(part / "manifest.json", {"utterances": rows, "skipped": failed, "styles": told})
        try:
            part.rename(folder)
        except OSError:
            if not (folder / "manifest.json").is_file():
                raise
    except OSError as error:
        raise RequestError(f"{folder}: the styles could not be written ({error}); free some space or set LAMINAL_CACHE") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fits(text: str) -> bool:
    return SHORTEST <= len(spoken_text.tokens(text)) <= LONGEST


def _say(path: Path, text: str, who: spoken_voices.Speaker, style: Style, draw: tuple[int, ...]) -> float:
    said = espeak.engine().say(text, style.of(who.voice), pronounce.pronunciations)
    made = spoken_voices.record(said, who, draw)
    coded = io.BytesIO()
    soundfile.write(coded, made.samples, spoken_voices.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(coded.getvalue())
    return len(made.samples) / spoken_voices.SAMPLE_RATE


def _load(folder: Path) -> LabelledCorpus:
    try:
        held = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        rows = sorted(held["utterances"], key=lambda row: row["id"])
        made = tuple(
            Utterance(row["id"], folder / f"{row['id']}.flac", row["speaker"], (), (), row["text"], row["seconds"]) for row in rows
        )
        labels = {row["id"]: row["label"] for row in rows}
        facts = FACTS | {"styles": held["styles"], "hours": round(sum(each.seconds for each in made) / 3600, 4)}
        return LabelledCorpus("styles", made, tuple((name, why) for name, why in held["skipped"]), facts, labels, "planted style")
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"{folder}: not a whole corpus of styles ({error}); delete it and start again") from error
