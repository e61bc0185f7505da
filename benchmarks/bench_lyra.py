"""word_pairs with Lyra V2, which encodes 180 x faster than real time on one core: cold against its encoder alone, warm against cold.

One thread; processor time. The encoder alone is a fresh interpreter for every word (or utterance) and its frames in order: the state inside
cannot be set back. Statistics of 46 layers cost the same for any amount of speech, so there are two: librispeech-mini (half an hour) and the
embedded spoken corpus (four hours). Needs the weights in $LAMINAL_WEIGHTS/lyra_v2 (default ../shared/weights); no rows where they are not.
"""

import os
import tempfile
from pathlib import Path

import torch
from bench_word_pairs import SLICES, probe, row, seconds, speech

from laminal.codecs.lyra import LyraCodec
from laminal.corpora.base import Corpus
from laminal.corpora.spoken import spoken
from laminal.features import features_by_slice

ROOT = Path(__file__).resolve().parents[1]


def measured(codec: LyraCodec, corpus: Corpus) -> list[dict]:
    batches: list[torch.Tensor] = []
    inner = codec._latent
    with tempfile.TemporaryDirectory() as place:
        kept = probe(corpus, place)
        sample = kept.sample(0)
        codec._latent = lambda wav: (batches.append(wav), inner(wav))[1]  # type: ignore[method-assign]
        cold = seconds(lambda: list(kept.run(codec)))
        del codec._latent
        warm = seconds(lambda: list(kept.run(codec)))
        looked = seconds(lambda: features_by_slice(codec, corpus, sample.tokens, SLICES, kept.cache))
    with torch.no_grad():
        alone = seconds(lambda: [codec._latent(wav) for wav in batches])
    length = sum(batch.numel() for batch in batches) / codec.sample_rate
    pairs = warm - looked
    about = f"{corpus.name}, {length / 60:.0f} min of speech"
    return [
        row(f"Lyra cold / encoder alone ({about})", cold, alone, cold / alone, "<= 1.2"),
        row(f"Lyra cold without the pair stage / encoder alone ({about})", cold - pairs, alone, (cold - pairs) / alone, "<= 1.2"),
        row(f"Lyra warm, x faster than cold ({about})", warm, cold, cold / warm, ">= 30"),
        row(f"Lyra features alone warm, x faster than cold ({about})", looked, cold, cold / looked, None),
    ]


def run() -> list[dict]:
    torch.set_num_threads(1)
    folder = Path(os.environ.get("LAMINAL_WEIGHTS", ROOT / ".." / "shared" / "weights")) / "lyra_v2"
    if not folder.is_dir():
        return []
    codec = LyraCodec(folder)
    return [found for corpus in (speech(), spoken()) for found in measured(codec, corpus)]


if __name__ == "__main__":
    for found in run():
        print("{what}: {ours_s:.3f} s, {reference_s:.3f} s, ratio {ratio:.2f} (target {target})".format(**found))
