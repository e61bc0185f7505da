"""Whether codebooks part what is said from who says it: the first codebooks of one speaker, the others of another, decoded together.

The task of arXiv 2507.06802 (voice conversion). Utterances differ in length, and the paper does not say what is done about it: here the
acoustic codes of the reference are cut, or repeated from their start, to the length of the source's content codes.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.audio import resample
from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.encoded import batch_codes
from laminal.errors import DataError, RequestError
from laminal.measures.bootstrap import ends, multiplicities, pair_weights, weighted_means
from laminal.measures.cepstra import RATE, MelCepstra
from laminal.measures.pitch import Pitch, f0_correlation, pitch
from laminal.measures.warping import warped_mcd
from laminal.probes.conversion_pairs import Pair, conversion_pairs
from laminal.probes.excerpts import Excerpt
from laminal.probes.recognition import Recogniser, spoken_words, word_error_rate
from laminal.probes.task_features import unheard
from laminal.progress import track
from laminal.results import Items, Score, Undefined

FEWEST = 2  # pairs
SOURCE, TARGET = "source", "target"  # copies: through the codec, unconverted
UNITS = {
    "similarity_to_target": ("cosine", True), "similarity_to_source": ("cosine", False), "f0_correlation": ("correlation", True),
    "mcd": ("dB", False), "wer": ("fraction", False),
}  # fmt: skip
LIMITS = {"cosine": (-1.0, 1.0), "correlation": (-1.0, 1.0), "dB": (0.0, np.inf), "fraction": (0.0, np.inf)}  # what a mean can be
WITHOUT = {
    "mcd": "no other speaker says the same aligned words, or the decoded audio is silent or not finite",
    "wer": "no words are known, or the decoded audio is not finite",
    "f0_correlation": "the source has fewer than 10 voiced frames, or the decoded audio is not finite",
} | dict.fromkeys(
    ("similarity_to_target", "similarity_to_source"), "the decoded audio, or what the speaker teacher makes of it, is not finite"
)


@dataclass(frozen=True, slots=True)
class Sound:
    """A waveform at 16 kHz and what the measures need of it."""

    wav: Float[np.ndarray, " t"]
    cepstra: Float[np.ndarray, "n d"]  # of the loud frames
    pitch: Pitch
    voice: Float[np.ndarray, " e"]


@dataclass(frozen=True, slots=True)
class Original:
    """A pair as it was recorded."""

    pair: Pair
    source: Sound
    reference: Sound
    saying: Sound | None


class VoiceConversion:
    """Codebooks 1 .. k of a source and the others of another speaker, decoded: whose voice, whose melody, whose words are they.

    `similarity_to_target` and `similarity_to_source`: cosine of the speaker teacher's embeddings with the recorded reference and source;
    `f0_correlation` with the source's log F0; `mcd` (dB, along the best warping path) to the target speaker's own saying of the same words,
    where the corpus has one; `wer` of the source's words by the recogniser `asr`. Layer k; settings beside it: `source`, the source through
    the codec unconverted (nothing of the target), and `target`, the reference so (its voice and none of the words; for mcd the target's own
    saying: the best there can be). Chance is the converted speech held against the next pair of other speakers. Intervals resample
    speakers, a pair weighing the product of its two.
    """

    name = "voice_conversion"
    version = 3  # 3: no reference has the words of the source
    metrics = dict.fromkeys(UNITS, True) | {f"{setting}/{metric}": False for setting in (SOURCE, TARGET) for metric in UNITS}

    def __init__(
        self, corpus: Corpus, split: Split | None, *, pairs: int, seconds: float, content: Sequence[int], speaker: Any,
        asr: str | None, draws: int, seed: int, cache: str | bool | None = None,
    ):  # fmt: skip
        """`pairs` of stretches of at most `seconds`; `content`: counts of codebooks that are the source's; `asr`: None for no word errors.

        Raises RequestError for a corpus that does not say who speaks, and for impossible sizes.
        """
        if pairs < FEWEST or seconds < 1 or not content or min(content) < 1:
            raise RequestError(
                f"voice_conversion: pairs={pairs} seconds={seconds:g} content={list(content)}: at least {FEWEST}, 1, and counts from 1"
            )
        if not hasattr(speaker, "embed"):
            raise RequestError("voice_conversion.speaker gives no speaker embedding; name a teacher that does, as ecapa or ge2e")
        if len(corpus.speakers) < 2:
            raise RequestError(
                f"corpus {corpus.name} names {len(corpus.speakers)} speaker, and conversion needs two: "
                "say whose each file is (corpus.speaker= for a folder), or leave voice_conversion out"
            )
        self.corpus = unheard(corpus, split)
        self.pairs = conversion_pairs(self.corpus, pairs, seconds, seed)
        self.content, self.speaker, self.asr, self.draws, self.seed = sorted(set(content)), speaker, asr, draws, seed
        self.cache = open_cache(cache)
        self._cepstra = MelCepstra()
        self._recogniser: Recogniser | None = None
        self._originals: list[Original] | None = None

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure the codec; encoders that cannot decode, and codecs of one codebook, have nothing here."""
        if not codec.codebooks or not getattr(codec, "decodes", True):
            lack = "vocoder" if codec.codebooks else "codes to decode"
            yield Undefined(probe=self.name, what="all", reason=f"{codec.name} has no {lack}")
            return
        counts = [count for count in self.content if count < codec.codebooks]
        if not counts:
            reason = f"content {self.content}: {codec.name} has {codec.codebooks} codebooks, and some must be left for the voice"
            yield Undefined(probe=self.name, what="all", reason=reason)
            return
        originals = self._recorded()
        if len(originals) < FEWEST:
            yield Undefined(probe=self.name, what="all", reason=f"{len(originals)} usable pairs of unheard speakers; {FEWEST} are needed")
            return
        codes = [
            {name: self._codes(codec, each) for name, each in _stretches(original.pair).items()}
            for original in track(originals, "pairs to convert", len(originals))
        ]
        for count in counts:
            made = [self._decoded(codec, converted(each[SOURCE], each["reference"], count), o) for each, o in zip(codes, originals)]
            yield from self._rows(originals, made, "", str(count), True)
        copies = [self._decoded(codec, each[SOURCE], original) for each, original in zip(codes, originals)]
        yield from self._rows(originals, copies, SOURCE, "", False)
        copies = [self._decoded(codec, fitted(each["reference"], each[SOURCE].shape[2]), o) for each, o in zip(codes, originals)]
        own = [None if "saying" not in each else self._whole(codec, each["saying"], o) for each, o in zip(codes, originals)]
        yield from self._rows(originals, copies, TARGET, "", False, own)

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        if codec.codebooks:
            every = [each for pair in self.pairs for each in _stretches(pair).values()]
            for each in every[share[0] :: share[1]]:
                with suppress(DataError):
                    self._codes(codec, each)

    def _recorded(self) -> list[Original]:
        """Pairs whose recordings can be read, described once for all codecs."""
        if self._originals is None:
            originals = []
            for pair in self.pairs:
                try:
                    heard = {name: self._described(each.wav(self.corpus, RATE).numpy()) for name, each in _stretches(pair).items()}
                except DataError:
                    continue  # the corpus lists it; n shows it
                originals.append(Original(pair, heard[SOURCE], heard["reference"], heard.get("saying")))
            self._originals = originals
        return self._originals

    def _codes(self, codec: Codec, excerpt: Excerpt) -> Int[Tensor, "1 q n"]:
        wav = excerpt.wav(self.corpus, codec.sample_rate)
        return batch_codes(codec, wav[None], [(excerpt.utterance, excerpt.start)], self.cache)

    def _decoded(self, codec: Codec, codes: Int[Tensor, "1 q n"], original: Original) -> Sound | None:
        return self._whole(codec, codes, original, len(original.source.wav))

    def _whole(self, codec: Codec, codes: Int[Tensor, "1 q n"], original: Original, length: int | None = None) -> Sound | None:
        """Decode and describe, cut or filled up to `length` samples at 16 kHz; None where it is not finite."""
        wav = resample(codec.decode(codes)[0].detach().float().cpu().numpy(), codec.sample_rate, RATE)
        size = length if length is not None else len(original.saying.wav) if original.saying is not None else len(wav)
        wav = np.pad(wav[:size], (0, max(0, size - len(wav)))).astype(np.float32)
        return self._described(wav) if np.isfinite(wav).all() else None

    def _described(self, wav: Float[np.ndarray, " t"]) -> Sound:
        sound = torch.from_numpy(wav)[None]
        cepstra, loud = self._cepstra(sound)
        heard = torch.from_numpy(resample(wav, RATE, self.speaker.sample_rate))[None]
        with torch.no_grad():
            voice = self.speaker.embed(heard)[0].double().cpu().numpy()
        return Sound(wav, cepstra[0][loud[0]].double().numpy(), pitch(sound, RATE), voice)

    def _rows(
        self, originals: Sequence[Original], made: Sequence[Sound | None], setting: str, layer: str, chance: bool,
        own: Sequence[Sound | None] | None = None,
    ) -> Iterator[Score | Items | Undefined]:  # fmt: skip
        """Rows of one way of making speech; `own`: what is held against the saying in place of `made`."""
        others = _others([each.pair.speakers for each in originals])
        text = self._heard(originals, made)
        found = {metric: np.full((2, len(made)), np.nan) for metric in UNITS if metric != "wer" or self.asr is not None}
        for row, (sound, original) in enumerate(zip(made, originals)):
            if sound is None:
                continue
            for side, held in enumerate((original, originals[others[row]]) if chance else (original,)):
                against = sound if own is None else own[row]
                found["similarity_to_target"][side, row] = _cosine(sound.voice, held.reference.voice)
                found["similarity_to_source"][side, row] = _cosine(sound.voice, held.source.voice)
                found["f0_correlation"][side, row] = _melody(held.source, sound)
                if held.saying is not None and against is not None:
                    found["mcd"][side, row] = warped_mcd(held.saying.cepstra, against.cepstra)
                if self.asr is not None and spoken_words(held.pair.text):
                    found["wer"][side, row] = word_error_rate(held.pair.text, text[row])
        for metric, values in found.items():
            yield from self._row(originals, metric, values, setting, layer)

    def _row(
        self, originals: Sequence[Original], metric: str, values: Float[np.ndarray, "2 u"], setting: str, layer: str
    ) -> Iterator[Score | Items | Undefined]:
        rows = np.flatnonzero(np.isfinite(values[0])).tolist()
        if len(rows) < len(originals):
            what = f"{metric} {layer or setting}: {len(originals) - len(rows)} of {len(originals)} pairs"
            yield Undefined(probe=self.name, what=what, reason=WITHOUT[metric])
        if len(rows) < FEWEST:
            return
        pairs = [originals[row].pair for row in rows]
        names = sorted({speaker for pair in pairs for speaker in pair.speakers})
        a, b = (np.array([names.index(pair.speakers[side]) for pair in pairs]) for side in (0, 1))
        drawn = weighted_means(pair_weights(multiplicities(len(names), self.draws, self.seed), a, b), values[0, rows][:, None])
        value = float(values[0, rows].mean())
        low, high = ends(value, drawn[:, 0], len(names), LIMITS[UNITS[metric][0]])
        unit, better = UNITS[metric]
        facts: dict[str, Any] = {"probe": self.name, "metric": metric, "setting": setting, "layer": layer, "probe_version": self.version}
        facts |= {"layer_mode": "cumulative" if layer else "", "seed": self.seed}
        chance = values[1, rows][np.isfinite(values[1, rows])]
        yield Score(
            **facts, value=value, low=low, high=high, n=len(rows), clusters=len(names),
            chance=float(chance.mean()) if len(chance) else float("nan"), higher_is_better=better, unit=unit,
        )  # fmt: skip
        yield Items(
            **facts, a=[pair.source.name for pair in pairs], b=[pair.reference.name for pair in pairs],
            cluster=["|".join(pair.speakers) for pair in pairs], value=values[0, rows],
        )  # fmt: skip

    def _heard(self, originals: Sequence[Original], made: Sequence[Sound | None]) -> list[str]:
        if self.asr is None:
            return [""] * len(made)
        if self._recogniser is None:
            self._recogniser = Recogniser(self.asr)
        return ["" if each is None or not o.pair.text else self._recogniser(each.wav) for each, o in zip(made, originals)]


def converted(source: Int[Tensor, "b q n"], reference: Int[Tensor, "b q m"], content: int) -> Int[Tensor, "b q n"]:
    """Codebooks 1 .. `content` of the source, the others of the reference, cut or repeated from its start to the source's length."""
    return torch.cat([source[:, :content], fitted(reference, source.shape[2])[:, content:]], 1)


def fitted(codes: Int[Tensor, "b q m"], frames: int) -> Int[Tensor, "b q n"]:
    """Cut codes, or repeat them from their start, to so many frames."""
    return codes[:, :, torch.arange(frames, device=codes.device) % codes.shape[2]]


def _stretches(pair: Pair) -> dict[str, Excerpt]:
    found = {SOURCE: pair.source, "reference": pair.reference}
    return found if pair.saying is None else found | {"saying": pair.saying}


def _others(speakers: Sequence[tuple[str, str]]) -> list[int]:
    """For each pair the next one, going round, that shares no speaker with it; the next where all do."""
    count = len(speakers)
    found = []
    for row, mine in enumerate(speakers):
        following = [(row + step) % count for step in range(1, count)] or [row]
        found.append(next((other for other in following if not set(mine) & set(speakers[other])), following[0]))
    return found


def _melody(source: Sound, made: Sound) -> float:
    """F0 correlation over as much as both last."""
    frames = min(source.pitch.f0.shape[1], made.pitch.f0.shape[1])
    return float(f0_correlation(*(Pitch(each.pitch.f0[:, :frames], each.pitch.voiced[:, :frames]) for each in (source, made)))[0])


def _cosine(a: Float[np.ndarray, " e"], b: Float[np.ndarray, " e"]) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 0.0 if size == 0 else float(a @ b) / size  # not a number where an embedding is none: listed, not 0
