"""word_pairs with Lyra V2, which encodes 180 x faster than real time on one core: cold against its encoder alone, warm against cold.

One thread; processor time. The encoder alone is a fresh interpreter for every word (or utterance) and its frames in order (its state cannot
be set back), without and with the choice of codes in 46 codebooks. Needs the weights in $LAMINAL_WEIGHTS/lyra_v2 (default
../shared/weights); no rows where they are not there.
"""

import os
import tempfile
from pathlib import Path

import torch
from bench_word_pairs import SLICES, probe, row, speech
from timing import seconds

from laminal import parallel
from laminal.codecs.lyra import LyraCodec
from laminal.features import features_by_slice

ROOT = Path(__file__).resolve().parents[1]


def run() -> list[dict]:
    folder = Path(os.environ.get("LAMINAL_WEIGHTS", ROOT / ".." / "shared" / "weights")) / "lyra_v2"
    if not folder.is_dir():
        return []
    with parallel.one_thread():
        return measured(folder)


def measured(folder: Path) -> list[dict]:
    corpus, codec = speech(), LyraCodec(folder)
    batches: list[torch.Tensor] = []
    inner = codec._latent
    with tempfile.TemporaryDirectory() as place:
        kept = probe(corpus, place)
        sample = kept.sample(0)
        codec._latent = lambda wav: (batches.append(wav), inner(wav))[1]  # type: ignore[method-assign]
        cold = seconds(lambda: list(kept.run(codec)))
        del codec._latent
        warm = seconds(lambda: list(kept.run(codec)))
        words: dict = {}
        looked = seconds(lambda: words.update(features_by_slice(codec, corpus, sample.tokens, SLICES, kept.cache)))
    pairs = seconds(lambda: list(probe(corpus, None).scored(sample, words, 0)))
    with torch.no_grad():
        alone = seconds(lambda: [codec._latent(wav) for wav in batches])
        coded = seconds(lambda: [codec.encode(wav) for wav in batches])
    length = sum(batch.numel() for batch in batches) / codec.sample_rate
    return [
        row(f"Lyra cold / encoder alone ({length / 60:.0f} min of speech)", cold, alone, cold / alone, "<= 1.2"),
        row("Lyra cold / encoder with its quantizer", cold, coded, cold / coded, "<= 1.2"),
        row("Lyra cold without the pair stage / encoder alone", cold - pairs, alone, (cold - pairs) / alone, "<= 1.2"),
        row("Lyra warm, x faster than cold", warm, cold, cold / warm, ">= 30"),
        row("Lyra features alone warm, x faster than cold", looked, cold, cold / looked, None),
    ]


if __name__ == "__main__":
    for found in run():
        print("{what}: {ours_s:.3f} s, {reference_s:.3f} s, ratio {ratio:.2f} (target {target})".format(**found))
