"""word_pairs: cold against the codec's encoder alone on the same audio, warm against cold, and the pair stage against plain loops.

One thread; processor time, so that neighbours on the machine do not count. EnCodec of 24 kHz, 32 filters, 8 codebooks, random weights,
weight norm folded. Speech: librispeech-mini in $LAMINAL_DATA (default ../shared/data) where it is there, else the embedded spoken corpus.
"""

import math
import os
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from timing import seconds
from transformers import EncodecConfig, EncodecModel

from laminal import parallel
from laminal.codecs.encodec import EncodecCodec
from laminal.corpora.base import Corpus
from laminal.features import WordFeatures, features_by_slice
from laminal.probes.pair_sampling import Sample
from laminal.probes.word_pairs import WordPairs

ROOT = Path(__file__).resolve().parents[1]
UTTERANCES = 12
SLICES = ("audio", "features")
LOOPED_LAYERS = 1  # of one slice: what the loops are timed on, then scaled to all layers of both slices
LOOPED_DRAWS = 1  # likewise of the bootstrap


def speech() -> Corpus:
    folder = Path(os.environ.get("LAMINAL_DATA", ROOT / ".." / "shared" / "data")) / "librispeech-mini"
    if folder.exists():
        from laminal.corpora.librispeech import librispeech

        return librispeech(folder)
    from laminal.corpora.spoken import spoken

    return spoken(speakers=8, utterances=160)


def encodec(folder: str, config: EncodecConfig | None = None) -> EncodecCodec:
    """EnCodec with random weights; of 24 kHz and 32 filters where nothing else is given."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EncodecModel(config or EncodecConfig(num_filters=32, target_bandwidths=[1.5, 3.0, 6.0]))
        for layer in model.quantizer.layers:
            layer.codebook.embed.normal_(std=0.1)
    model.save_pretrained(folder)
    return EncodecCodec(folder)


def probe(corpus: Corpus, cache: str | None, maximum: int = 300) -> WordPairs:
    return WordPairs(
        corpus, None, style="matched", slices=SLICES, distances=("euclidean", "cosine", "scaled"), modes=("cumulative",),
        maximum=maximum, tier_maximum=maximum, token_pairs=2, randoms=2, draws=1000, items=("euclidean",), seed=0, cache=cache,
    )  # fmt: skip


def heard(codec: EncodecCodec, measure: WordPairs) -> list[torch.Tensor]:
    """Batches that the probe gives to the encoder."""
    batches: list[torch.Tensor] = []
    inner = codec._latent
    codec._latent = lambda wav: (batches.append(wav), inner(wav))[1]  # type: ignore[method-assign]
    list(measure.run(codec))
    del codec._latent
    return batches


def encoding(corpus: Corpus, codec: EncodecCodec) -> list[dict]:
    part = Corpus(corpus.name, corpus.utterances[:UTTERANCES])
    measure = probe(part, None)
    measure.sample(0)
    batches = heard(codec, measure)  # also warms up
    with torch.no_grad():
        alone = seconds(lambda: [codec.model.encoder(wav[:, None]) for wav in batches])
        singly = seconds(lambda: [codec.model.encoder(wav[None, None]) for batch in batches for wav in batch])
    with tempfile.TemporaryDirectory() as folder:
        kept = probe(part, folder)
        kept.sample(0)
        cold = seconds(lambda: list(kept.run(codec)))
        warm = seconds(lambda: list(kept.run(codec)))
        features = seconds(lambda: features_by_slice(codec, part, kept.sample(0).tokens, SLICES, kept.cache))
    length = sum(batch.numel() for batch in batches) / codec.sample_rate
    return [
        row(f"word_pairs cold / encoder alone, same batches ({length:.0f} s of speech, both slices)", cold, alone, cold / alone, "<= 1.2"),
        row("word_pairs cold / encoder alone, word by word", cold, singly, cold / singly, "<= 1.2"),
        row("word_pairs with the cache, x faster than cold", warm, cold, cold / warm, 30),
        row("its features alone with the cache, x faster than cold", features, cold, cold / features, None),
    ]


def row(what: str, ours: float, reference: float, ratio: float, target: float | str | None) -> dict:
    return {"what": what, "ours_s": ours, "reference_s": reference, "ratio": ratio, "target": target}


def looped(sample: Sample, features: WordFeatures, draws: int) -> None:
    """Plain loops over the same pairs: distances one by one, type pairs in a dict, AUC pair against random pair, and `draws` draws."""
    generator = random.Random(0)
    everything = range(len(sample.words))
    for layer in range(LOOPED_LAYERS):
        vectors = features.values[:, layer].astype(np.float64)
        unit = math.sqrt(vectors.var(0).mean())
        for kind in ("euclidean", "cosine", "scaled"):
            found = {name: _distances(pairs, vectors, kind, unit) for name, pairs in sample.sets.items()}
            for draw in range(draws + 1):
                counts = Counter(generator.choices(everything, k=len(everything)) if draw else everything)
                for setting, other in sample.randoms.items():
                    near, far = (_weighed(sample.sets[name], found[name], counts) for name in (setting, other))
                    _mean(near), _mean(far)
                    if kind != "scaled":
                        _area(near, far)


def _distances(pairs, vectors, kind, unit):
    out = []
    for a, b in zip(pairs.first, pairs.second, strict=True):
        x, y = vectors[a], vectors[b]
        if kind == "cosine":
            out.append(1 - float(x @ y) / float(np.linalg.norm(x) * np.linalg.norm(y)))
        else:
            out.append(float(np.linalg.norm(x - y)) / (unit if kind == "scaled" else 1.0))
    return out


def _weighed(pairs, values, times):
    sizes = Counter(pairs.group.tolist())
    types = pairs.types.tolist()
    weighed = []
    for group, value in zip(pairs.group.tolist(), values, strict=True):
        a, b = types[group]
        weighed.append(((times[a] if a == b else times[a] * times[b]) / sizes[group], value))
    return weighed


def _mean(weighed):
    return sum(weight * value for weight, value in weighed) / sum(weight for weight, _ in weighed)


def _area(near, far):
    won = total = 0.0
    for weight, value in near:
        for other_weight, other in far:
            total += weight * other_weight
            if value < other:
                won += weight * other_weight
            elif value == other:
                won += weight * other_weight / 2
    return won / total


def pair_stage(corpus: Corpus) -> list[dict]:
    measure = probe(corpus, None)
    sample = measure.sample(0)
    generator = np.random.default_rng(0)  # what the features are does not matter here
    shape, layers = (len(sample.tokens), 9, 128), ("latent", *map(str, range(1, 9)))
    words = {
        slice: WordFeatures(layers, generator.standard_normal(shape, np.float32), np.ones(shape[0], bool), 0) for slice in measure.slices
    }
    ours = seconds(lambda: list(measure.scored(sample, words, 0)))
    scale = len(SLICES) * len(words["audio"].layers) / LOOPED_LAYERS
    once = scale * seconds(lambda: looped(sample, words["audio"], 0))
    draws = scale * seconds(lambda: looped(sample, words["audio"], LOOPED_DRAWS)) - once
    whole = once + draws / LOOPED_DRAWS * measure.draws
    pairs = sum(len(pairs.first) for pairs in sample.sets.values())
    what = f"{pairs} token pairs, {len(words['audio'].layers)} layers, 3 distances, 2 slices"
    return [
        row(f"pair stage with {measure.draws} draws, loop without any ({what})", ours, once, once / ours, None),
        row(f"pair stage, loop with its draws too (loop timed on {LOOPED_DRAWS} draw and scaled)", ours, whole, whole / ours, 50),
    ]


def run() -> list[dict]:
    corpus = speech()
    with parallel.one_thread(), tempfile.TemporaryDirectory() as folder:
        codec = encodec(folder)
        return encoding(corpus, codec) + pair_stage(corpus)


if __name__ == "__main__":
    for found in run():
        print("{what}: {ours_s:.3f} s, {reference_s:.3f} s, ratio {ratio:.2f} (target {target})".format(**found))
