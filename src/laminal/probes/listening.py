"""Listening samples: a few fixed excerpts, as they are and decoded from 1, 2, 4 .. K codebooks, as files beside the scores."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laminal import audio
from laminal.atomic import write_json
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import DataError
from laminal.probes.excerpts import excerpts
from laminal.probes.reconstruction import chosen

UTTERANCES, SECONDS = 3, 3.0  # about 1 MB of FLAC in all


@torch.no_grad()
def write_listening(
    codec: Codec, corpus: Corpus, split: Split | None, folder: Path, utterances: int = UTTERANCES, seconds: float = SECONDS
) -> Path:
    """Write `folder`/listening/NAME.original.flac and NAME.<k>.flac at the codec's rate, and index.json; returns the index.

    The same excerpts at every checkpoint, so later samples take the place of earlier ones. The index holds `sample_rate` (Hz), `codebooks`
    (the k, rising) and `utterances`: id, speaker, text, start and seconds (s), `original` and `decoded` {k: file}. Unreadable audio is left
    out.
    """
    place = folder / "listening"
    place.mkdir(parents=True, exist_ok=True)
    books = chosen(None, codec.codebooks) if codec.codebooks else []
    entries: list[dict[str, Any]] = []
    for excerpt in excerpts(corpus, split, utterances, seconds):
        try:
            wav = excerpt.wav(corpus, codec.sample_rate)
        except DataError:
            continue
        name = f"{len(entries) + 1}-{re.sub(r'[^A-Za-z0-9]+', '-', excerpt.utterance.id)[-60:]}"
        sounds = {"original": wav.numpy()}
        if books:
            codes = codec.encode(wav[None].to(getattr(codec, "device", "cpu")))
            sounds |= {str(book): codec.decode(codes[:, :book])[0, : len(wav)].float().cpu().numpy() for book in books}
        for what, sound in sounds.items():
            audio.write(place / f"{name}.{what}.flac", np.nan_to_num(sound), codec.sample_rate)
        said = excerpt.words
        entries.append({
            "id": excerpt.utterance.id, "speaker": excerpt.utterance.speaker, "text": said[0] if said else excerpt.utterance.text,
            "start": excerpt.start, "seconds": excerpt.seconds, "original": f"{name}.original.flac",
            "decoded": {str(book): f"{name}.{book}.flac" for book in books},
        })  # fmt: skip
    index = {"sample_rate": codec.sample_rate, "codebooks": books, "utterances": entries}
    write_json(place / "index.json", index)
    return place / "index.json"
