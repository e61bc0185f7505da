"""Slow, plainly right references for word pairs, a small corpus of noise with real words, and a codec of a few lines."""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from laminal import audio
from laminal.corpora.base import Corpus, Interval, Utterance

LISTED = (
    "cat bat hat rat bed bread red read mind mound drilling dripping spilling oyster except accept automobile car big large help assist "
    "rock stone finish sofa couch physician doctor forest wood error mistake shop store begin start purchase buy street quick fast "
    "cap map tap lap bit pit fit sit glad happy sick ill stream current gift present"
)
WORDS = LISTED.split()


def noise_corpus(folder: Path, speakers: int = 6, utterances: int = 4, seed: int = 0, sample_rate: int = 16_000) -> Corpus:
    """Every speaker says every word of WORDS twice or so, in noise, at ticks of 10 ms; phones share each word's time."""
    from laminal.lexicon.pronounce import pronunciations

    rng = np.random.default_rng(seed)
    made = []
    for speaker in range(speakers):
        for number in range(utterances):
            words, phones, tick = [], [], 5
            for word in rng.permutation(WORDS)[: len(WORDS) * 2 // 3].tolist():
                length = int(rng.integers(12, 60))
                words.append(Interval(word, tick / 100, (tick + length) / 100))
                listed = pronunciations(word)[0]
                edges = np.linspace(tick / 100, (tick + length) / 100, len(listed) + 1)
                phones += [Interval(p, float(a), float(b)) for p, a, b in zip(listed, edges[:-1], edges[1:], strict=True)]
                tick += length + int(rng.integers(0, 8))
            name = f"s{speaker}-{number}"
            wav = 0.1 * rng.standard_normal((tick + 20) * sample_rate // 100)
            audio.write(folder / f"{name}.wav", wav.astype(np.float32), sample_rate)
            text = " ".join(word.label for word in words)
            made.append(Utterance(name, folder / f"{name}.wav", f"s{speaker}", tuple(words), tuple(phones), text, len(wav) / sample_rate))
    return Corpus("noise", tuple(made))


class FakeCodec:
    """Frames of 320 samples, a random projection, and random codebooks searched one after the other."""

    name, sample_rate, frame_rate, codebook_size = "fake", 16_000, 50.0, 40

    def __init__(self, codebooks: int = 3, width: int = 6, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.codebooks = codebooks
        self.projection = torch.randn(320, width, generator=generator)
        self.books = torch.randn(codebooks, self.codebook_size, width, generator=generator)
        self.revision = hashlib.sha256(f"{codebooks} {width} {seed}".encode()).hexdigest()
        self.encoded: list[tuple[int, ...]] = []  # shape of each batch that went through the encoder

    def latent(self, wav):
        self.encoded.append(tuple(wav.shape))
        padded = torch.nn.functional.pad(wav, (0, -wav.shape[1] % 320))
        return padded.unfold(1, 320, 320) @ self.projection

    def quantize(self, latent):
        residual, codes = latent, []
        for book in self.books:
            codes.append(torch.cdist(residual, book[None].expand(len(residual), -1, -1)).argmin(-1))
            residual = residual - book[codes[-1]]
        return torch.stack(codes, 1)

    def encode(self, wav):
        return self.quantize(self.latent(wav))

    def codes_and_latent(self, wav):
        latent = self.latent(wav)
        return self.quantize(latent), latent

    def decode(self, codes):
        return torch.zeros(len(codes), codes.shape[2] * 320)

    def layers(self, wav_or_codes):
        if wav_or_codes.is_floating_point():
            latent = self.latent(wav_or_codes)
            return {"latent": latent} | self.layers(self.quantize(latent))
        taken = [self.books[k][wav_or_codes[:, k]] for k in range(wav_or_codes.shape[1])]
        return {str(k + 1): torch.stack(taken[: k + 1]).sum(0) for k in range(len(taken))}


def distance(a, b, kind: str, unit: float = 1.0) -> float:
    """Distance of two vectors, one number at a time."""
    squares = sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))
    if kind == "cosine":
        dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
        return 1 - dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))
    return math.sqrt(squares) / (unit if kind == "scaled" else 1.0)


def spread(vectors) -> float:
    """Root of the mean over dimensions of the variance over vectors."""
    columns = list(zip(*[[float(x) for x in vector] for vector in vectors], strict=True))
    variances = []
    for column in columns:
        middle = sum(column) / len(column)
        variances.append(sum((x - middle) ** 2 for x in column) / len(column))
    return math.sqrt(sum(variances) / len(variances))


def weigh(pairs: list[tuple[str, str, float]], times: dict[str, int] | None = None) -> list[tuple[float, float]]:
    """Give (weight, value) of token pairs (word, word, distance), where each word type counts `times` over (once by default)."""
    weighed = []
    for a, b, value in pairs:
        size = sum(1 for c, d, _ in pairs if {c, d} == {a, b})
        many = 1 if times is None else times[a] if a == b else times[a] * times[b]
        weighed.append((many / size, value))
    return weighed


def mean(pairs: list[tuple[str, str, float]], times: dict[str, int] | None = None) -> float:
    """Token pairs -> unordered type pairs -> mean."""
    if times is not None:
        weighed = weigh(pairs, times)
        return sum(w * v for w, v in weighed) / sum(w for w, _ in weighed)
    by_types: dict[frozenset[str], list[float]] = {}
    for a, b, value in pairs:
        by_types.setdefault(frozenset((a, b)), []).append(value)
    means = [sum(values) / len(values) for values in by_types.values()]
    return sum(means) / len(means)


def area(pairs: list[tuple[str, str, float]], random: list[tuple[str, str, float]], times: dict[str, int] | None = None) -> float:
    """Chance that a pair is closer than a random pair: the double loop."""
    won = total = 0.0
    others = weigh(random, times)
    for weight, value in weigh(pairs, times):
        for other_weight, other in others:
            won += weight * other_weight * (1.0 if value < other else 0.5 if value == other else 0.0)
            total += weight * other_weight
    return won / total
