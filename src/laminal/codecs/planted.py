"""Codecs that know what is said, to test probes: features that follow from the phones alone, the meaning, the speaker, or nothing."""

import hashlib
from bisect import bisect_left
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.errors import RequestError
from laminal.lexicon import pronounce, wordnet

Kind = Literal["phones", "meaning", "speaker", "noise"]
HOP = 320  # samples
MARK = 160  # samples by which audio is known again
WIDTH = 64
STEP = 0.5  # size of the second codebook's vectors beside the first's
NOISE_CODES = 1024
EDGE = 1e-7  # seconds


class Planted:
    """Looks up where in `corpus` the audio given comes from, by its first 10 ms: an utterance, or a cut that begins with one of its words.

    Frame k stands for what is said at (k + 0.5) / rate: its phone, the meaning of its word (synonyms share WordNet synsets, so vectors),
    its speaker, or a random number. Silence and audio from elsewhere have code 0. Two codebooks, the second a function of the same thing.
    """

    codebooks = 2

    def __init__(self, kind: Kind, corpus: Corpus, sample_rate: int = 16_000, seed: int = 0):
        """Plant `kind` for the utterances of `corpus`; raises RequestError for an unknown kind."""
        if kind not in get_args(Kind):
            raise RequestError(f"planted codec kind={kind!r} is none of {', '.join(get_args(Kind))}")
        self.kind, self.corpus, self.sample_rate, self.seed = kind, corpus, sample_rate, seed
        self.name = f"planted_{kind}"
        self.frame_rate = sample_rate / HOP
        self.codebook_size = NOISE_CODES if kind == "noise" else len(self.symbols) + 1
        self.revision = hashlib.sha256(f"{corpus.sha256} {kind} {sample_rate} {seed} 1".encode()).hexdigest()

    @cached_property
    def symbols(self) -> dict[str, int]:
        """Code of each phone, word or speaker; 0 is nothing."""
        match self.kind:
            case "phones":
                names: tuple[str, ...] = pronounce.PHONES
            case "meaning":
                names = tuple(sorted({word.label for utterance in self.corpus for word in utterance.words}))
            case "speaker":
                names = self.corpus.speakers
            case _:
                names = ()
        return {name: number for number, name in enumerate(names, start=1)}

    @torch.no_grad()
    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Say the same symbol in both codebooks, one frame for each 320 samples begun."""
        frames = -(-wav.shape[1] // HOP)
        codes = torch.from_numpy(np.stack([self._codes(row, frames) for row in wav.cpu().numpy()]))
        return codes[:, None].repeat(1, self.codebooks, 1).to(wav.device)

    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Give silence: what was said is known, not how."""
        return torch.zeros(len(codes), codes.shape[2] * HOP, device=codes.device)

    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Sum up the symbols' vectors, "1" and "2"; from audio also "latent", which equals "2"."""
        if wav_or_codes.is_floating_point():
            accumulated = self.layers(self.encode(wav_or_codes))
            return {"latent": accumulated["2"]} | accumulated
        first = self._tables[0].to(wav_or_codes.device)[wav_or_codes[:, 0]]
        if wav_or_codes.shape[1] == 1:
            return {"1": first}
        return {"1": first, "2": first + self._tables[1].to(first.device)[wav_or_codes[:, 1]]}

    def codes_and_latent(self, wav: Float[Tensor, "b t"]) -> tuple[Int[Tensor, "b q n"], Float[Tensor, "b n d"]]:
        """Give codes and what they stand for."""
        codes = self.encode(wav)
        return codes, self.layers(codes)["2"]

    def _codes(self, wav: np.ndarray, frames: int) -> np.ndarray:
        mark = wav[:MARK].tobytes()
        if self.kind == "noise":
            return np.random.default_rng(int.from_bytes(hashlib.sha256(mark).digest()[:8])).integers(NOISE_CODES, size=frames)
        if mark not in self._places:
            return np.zeros(frames, np.int64)
        utterance, start = self._places[mark]
        if self.kind == "speaker":
            return np.full(frames, self.symbols[utterance.speaker])
        tier = utterance.phones if self.kind == "phones" else utterance.words
        starts = [interval.start for interval in tier]
        times = (start + (np.arange(frames) + 0.5) * HOP) / self.sample_rate
        return np.array([self._symbol(tier, starts, time) for time in times.tolist()], dtype=np.int64)

    def _symbol(self, tier: tuple[Interval, ...], starts: list[float], time: float) -> int:
        place = bisect_left(starts, time - EDGE) - 1  # on an edge: the earlier one, since a cut ends there
        return self.symbols.get(tier[place].label, 0) if place >= 0 and time <= tier[place].end + EDGE else 0

    @cached_property
    def _places(self) -> dict[bytes, tuple[Utterance, int]]:
        """Where audio that begins with these samples is from: utterance and first sample."""
        places: dict[bytes, tuple[Utterance, int]] = {}
        for utterance in self.corpus:
            wav = self.corpus.wav(utterance, self.sample_rate).numpy()
            for start in (0, *(round(word.start * self.sample_rate) for word in utterance.words)):
                places.setdefault(wav[start : start + MARK].tobytes(), (utterance, start))
        return places

    @cached_property
    def _tables(self) -> list[Float32[Tensor, "codes d"]]:
        """Vectors of every code, of length 1 in the first codebook: phones, speakers and numbers at random, words by their synsets."""
        tables = []
        for book in range(self.codebooks):
            table = np.random.default_rng([self.seed, book]).standard_normal((self.codebook_size, WIDTH))
            if self.kind == "meaning":
                for word, number in self.symbols.items():
                    senses = wordnet.ranks(word)
                    if senses:  # the rarer a sense, the less of it
                        drawn = [np.random.default_rng([self.seed, book, synset]).standard_normal(WIDTH) for synset in senses]
                        table[number] = np.average(drawn, axis=0, weights=[1 / (1 + rank) for rank in senses.values()])
            table /= np.linalg.norm(table, axis=1, keepdims=True)
            if self.kind != "noise":
                table[0] = 0
            tables.append(torch.from_numpy((table * STEP**book).astype(np.float32)))
        return tables
