"""How the decoded audio compares with the original, at 1, 2, 4 .. K codebooks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal import parallel
from laminal.audio import resample
from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.encoded import batch_codes
from laminal.errors import DataError, RequestError
from laminal.measures.bootstrap import ends, multiplicities
from laminal.measures.quality import MISSING, pesq, pesq_available
from laminal.probes.comparison import RATE, Comparison, Described
from laminal.probes.excerpts import STEP, Excerpt, excerpts
from laminal.probes.recognition import Recogniser, spoken_words, word_error_rate
from laminal.progress import track
from laminal.results import Items, Score, Undefined
from laminal.teachers.base import SpeakerTeacher

FEWEST = 2  # utterances
BATCH_SECONDS = 10.0  # of audio in one call of the codec: four excerpts take half the time of sixteen, whose layers leave the cache
NOT_FINITE = "the decoded audio is not finite"


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number of this name is."""

    unit: str
    higher_is_better: bool
    limits: tuple[float, float]
    without: str = ""  # why an utterance may have none


ANY, POSITIVE, SIGNED, PESQ = (-np.inf, np.inf), (0.0, np.inf), (-1.0, 1.0), (1.0, 4.65)  # what a mean can be
METRICS = {
    "pesq": Metric("MOS-LQO", True, PESQ, "PESQ found no speech"),
    "stoi": Metric("correlation", True, SIGNED, "fewer than 30 frames of speech"),
    "estoi": Metric("correlation", True, SIGNED, "fewer than 30 frames of speech"),
    "si_sdr": Metric("dB", True, ANY, "the original is silent"),
    "mel_distance": Metric("log10", False, POSITIVE),
    "mcd": Metric("dB", False, POSITIVE, "the original is silent"),
    "f0_correlation": Metric("correlation", True, SIGNED, "the original has fewer than 10 voiced frames"),
    "voicing_error": Metric("fraction", False, (0.0, 1.0)),
    "speaker_similarity": Metric("cosine", True, SIGNED),
    "wer": Metric("fraction", False, POSITIVE, "no aligned words in the excerpt"),
}


Members = list[tuple[Excerpt, Tensor]]  # with their audio (t,) at the codec's rate


@dataclass(frozen=True, slots=True)
class Group:
    """Originals of one length."""

    excerpts: tuple[Excerpt, ...]
    wav: Float[Tensor, "b t"]  # at the codec's rate
    original: Described
    others: Int[np.ndarray, " b"]  # row of the mismatched original
    alone: bool  # nothing to mismatch with


@dataclass(frozen=True, slots=True)
class Values:
    """One metric of every utterance: NaN where it has none."""

    value: Float[np.ndarray, " u"]
    chance: Float[np.ndarray, " u"]  # against a mismatched original
    weight: Float[np.ndarray, " u"] | None = None  # even where None


class Reconstruction:
    """Quality of speech decoded from the first k codebooks, on fixed excerpts of the split's test speakers (of all without a split).

    Originals are read at the codec's rate; they and the decoded audio, cut or filled up to their length, are compared at 16 kHz, so codecs
    of different rates are judged over the same band, and one that changes nothing is perfect at every rate. Metrics, defined in
    `laminal.measures`: pesq, stoi, estoi, si_sdr, mel_distance, mcd, f0_correlation, voicing_error; speaker_similarity is the cosine of the
    embeddings of `speaker`; wer is errors over words by the recogniser `asr`, with setting `original` on the originals.

    A value is the mean over utterances (wer: errors of all over words of all); its interval resamples speakers, or utterances where one
    speaker is all there is. Chance is the same decoded audio against the original of another utterance, another speaker's where possible;
    for PESQ, which is slow, the other original in place of the decoded audio. An utterance without a value in a metric is left out there
    and listed with the reason; n counts the others.
    """

    name = "reconstruction"
    version = 2
    metrics = {name: True for name in METRICS} | {"original/wer": False}  # whether each is of a layer

    def __init__(
        self, corpus: Corpus, split: Split | None, *, utterances: int, seconds: float, codebooks: Sequence[int] | None,
        pesq_codebooks: Sequence[int] | None, speaker: SpeakerTeacher | None, asr: str | None, draws: int, seed: int,
        cache: str | bool | None = None,
    ):  # fmt: skip
        """`utterances` excerpts of at most `seconds`; `codebooks`: null for powers of two and K; `speaker`, `asr`: null for none.

        `pesq_codebooks`: null for all of `codebooks`; else those of them that it lists, and always the last. `cache`: a folder or "off".
        Raises RequestError for codebooks below 1, and for excerpts below 0.5 s.
        """
        if any(book < 1 for book in (*(codebooks or ()), *(pesq_codebooks or ()))):
            raise RequestError(f"codebooks {codebooks}, pesq_codebooks {pesq_codebooks}: they count from 1; null takes 1, 2, 4 .. and all")
        if seconds < STEP:
            raise RequestError(f"reconstruction.seconds={seconds:g} is too short for its measures; give {STEP} or more")
        self.corpus = corpus
        self.excerpts = excerpts(corpus, split, utterances, seconds)
        self.codebooks, self.pesq_codebooks = codebooks, pesq_codebooks
        self.asr, self.draws, self.seed = asr, draws, seed
        self.cache = open_cache(cache)
        self._compare = Comparison(speaker)
        self._recogniser: Recogniser | None = None
        self._groups: dict[int, list[Group]] = {}  # by sample rate: the originals are measured once for all checkpoints
        self._kept: dict[tuple[str, int], np.ndarray] = {}  # numbers of the originals alone, by sample rate

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure the codec; encoders that cannot decode have nothing here."""
        if not codec.codebooks or not getattr(codec, "decodes", True):
            lack = "vocoder" if codec.codebooks else "codes to decode"
            yield Undefined(probe=self.name, what="all", reason=f"{codec.name} has no {lack}")
            return
        groups = self._originals(codec.sample_rate)
        used = [excerpt for group in groups for excerpt in group.excerpts]
        if len(used) < FEWEST:
            yield Undefined(probe=self.name, what="all", reason=f"{len(used)} usable utterances of test speakers; {FEWEST} are needed")
            return
        books = chosen(self.codebooks, codec.codebooks)
        if not books:
            raise RequestError(f"codebooks {self.codebooks}: {codec.name} has {codec.codebooks}; give some of these, or null")
        rated = set(books if self.pesq_codebooks is None else [*self.pesq_codebooks, books[-1]])
        if not pesq_available():
            yield Undefined(probe=self.name, what="pesq", reason=MISSING)
            rated = set()
        codes = [self._group_codes(codec, group) for group in groups]
        if self.asr is not None:
            yield from self._scored("wer", self._wer(groups, [group.original for group in groups]), used, "", "original")
        for book in track(books, "reconstruction", len(books)):
            decoded = [self._compare.describe(decode(codec, code[:, :book], group.wav)) for code, group in zip(codes, groups)]
            for metric, values in self._compared(groups, decoded).items():
                yield from self._scored(metric, values, used, str(book))
            if book in rated:
                yield from self._scored("pesq", self._pesq(groups, decoded, codec.sample_rate), used, str(book))
            if self.asr is not None:
                yield from self._scored("wer", self._wer(groups, decoded), used, str(book))

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        number, processes = share
        if codec.codebooks:
            every = [batch for members in self._members(codec.sample_rate) for batch in batches(codec, members)]
            for batch in every[number::processes]:
                self._codes(codec, batch)

    def _group_codes(self, codec: Codec, group: Group) -> Int[Tensor, "b q n"]:
        members = list(zip(group.excerpts, group.wav))
        return torch.cat(list(parallel.each(codec, partial(self._codes, codec), batches(codec, members))))

    def _codes(self, codec: Codec, batch: Members) -> Int[Tensor, "b q n"]:
        sources = [(excerpt.utterance, excerpt.start) for excerpt, _ in batch]
        return batch_codes(codec, torch.stack([wav for _, wav in batch]), sources, self.cache)

    def _members(self, sample_rate: int) -> list[Members]:
        """Excerpts that can be read, with their audio, those of one length together."""
        by_length: dict[int, Members] = {}
        for excerpt in self.excerpts:
            try:
                wav = excerpt.wav(self.corpus, sample_rate)
            except DataError:
                continue  # the corpus lists it; n shows it
            by_length.setdefault(len(wav), []).append((excerpt, wav))
        return [by_length[length] for length in sorted(by_length)]

    def _originals(self, sample_rate: int) -> list[Group]:
        if sample_rate not in self._groups:
            self._groups[sample_rate] = [self._group(members, sample_rate) for members in self._members(sample_rate)]
        return self._groups[sample_rate]

    def _group(self, members: Members, sample_rate: int) -> Group:
        wav = torch.stack([each for _, each in members])
        speakers = [excerpt.utterance.speaker for excerpt, _ in members]
        original = self._compare.describe(at_rate(wav.numpy(), sample_rate))
        return Group(tuple(excerpt for excerpt, _ in members), wav, original, mismatched(speakers), len(members) == 1)

    def _compared(self, groups: Sequence[Group], decoded: Sequence[Described]) -> dict[str, Values]:
        """Every metric but PESQ and word error rate, over all groups."""
        found = []
        for group, estimate in zip(groups, decoded):
            chance = self._compare(group.original.rows(group.others), estimate)
            nothing = np.full(len(group.others), np.nan)
            found.append({
                metric: Values(value, nothing if group.alone else chance[metric])
                for metric, value in self._compare(group.original, estimate).items()
            })  # fmt: skip
        return {metric: joined([each[metric] for each in found]) for metric in found[0]}

    def _pesq(self, groups: Sequence[Group], decoded: Sequence[Described], sample_rate: int) -> Values:
        key = ("pesq", sample_rate)
        if key not in self._kept:
            chance = [pesq(group.original.wav, group.original.wav[group.others]) for group in groups]
            self._kept[key] = np.concatenate([np.where(group.alone, np.nan, each) for group, each in zip(groups, chance)])
        value = np.concatenate([pesq(group.original.wav, estimate.wav) for group, estimate in zip(groups, decoded)])
        return Values(value, self._kept[key])

    def _wer(self, groups: Sequence[Group], decoded: Sequence[Described]) -> Values:
        """Word errors: the audio is heard to the end of its last whole word."""
        if self._recogniser is None:
            assert self.asr is not None
            self._recogniser = Recogniser(self.asr)
        found = []
        for group, estimate in zip(groups, decoded):
            said = [excerpt.words for excerpt in group.excerpts]
            texts = [each[0] if each is not None else "" for each in said]
            weight = np.array([float(len(spoken_words(text))) for text in texts])
            value, chance = np.full((2, len(texts)), np.nan)
            for row, each in enumerate(said):
                if each is None or not weight[row] or not estimate.finite[row]:
                    continue
                heard = self._recogniser(estimate.wav[row, : round(each[1] * RATE)])
                value[row] = word_error_rate(texts[row], heard)
                other = int(group.others[row])
                chance[row] = word_error_rate(texts[other], heard) if weight[other] and not group.alone else np.nan
            found.append(Values(value, chance, weight))
        return joined(found)

    def _scored(
        self, metric: str, values: Values, used: Sequence[Excerpt], layer: str, setting: str = ""
    ) -> Iterator[Score | Items | Undefined]:
        kind = METRICS[metric]
        rows = np.flatnonzero(np.isfinite(values.value)).tolist()
        if len(rows) < len(used):
            what = f"{metric} {layer or setting}: {len(used) - len(rows)} of {len(used)} utterances"
            yield Undefined(probe=self.name, what=what, reason=" or ".join(filter(None, (kind.without, NOT_FINITE))))
        if len(rows) < FEWEST:
            return
        facts: dict[str, Any] = {"probe": self.name, "metric": metric, "setting": setting, "layer": layer, "probe_version": self.version}
        facts["layer_mode"] = "cumulative" if layer else ""
        voices = [used[row].utterance.speaker for row in rows]
        clusters = voices if len(set(voices)) > 1 else [used[row].name for row in rows]
        weight = np.ones(len(rows)) if values.weight is None else values.weight[rows]
        value, low, high, count = clustered_mean(values.value[rows], weight, clusters, self.draws, self.seed, kind.limits)
        known = np.isfinite(values.chance[rows])
        chance = np.average(values.chance[rows][known], weights=weight[known]) if known.any() else float("nan")
        yield Score(
            **facts, value=value, low=low, high=high, n=len(rows), clusters=count, chance=float(chance),
            higher_is_better=kind.higher_is_better, unit=kind.unit, seed=self.seed,
        )  # fmt: skip
        own = None if values.weight is None else weight
        yield Items(**facts, a=[used[row].name for row in rows], cluster=clusters, value=values.value[rows], weight=own, seed=self.seed)


def chosen(asked: Sequence[int] | None, codebooks: int) -> list[int]:
    """Numbers of codebooks to decode with: those asked for that the codec has; null: 1, 2, 4 .. and all."""
    if asked is None:
        return sorted({2**power for power in range(codebooks.bit_length()) if 2**power <= codebooks} | {codebooks})
    return sorted({book for book in asked if book <= codebooks})


def batches(codec: Codec, members: Members) -> list[Members]:
    """Cut excerpts of one length into batches for one call of the codec each."""
    size = max(1, int(BATCH_SECONDS * codec.sample_rate / len(members[0][1])))
    return [members[begin : begin + size] for begin in range(0, len(members), size)]


def decode(codec: Codec, codes: Int[Tensor, "b q n"], original: Float[Tensor, "b t"]) -> Float[np.ndarray, "b s"]:
    """Decode to 16 kHz, cut or filled with zeros to the length of the original: codecs give whole frames, or lose some samples."""
    length = original.shape[1]
    size = max(1, int(BATCH_SECONDS * codec.sample_rate / length))
    wav = torch.cat([each.float().cpu()[:, :length] for each in parallel.each(codec, codec.decode, codes.split(size))])
    return at_rate(torch.nn.functional.pad(wav, (0, length - wav.shape[1])).numpy(), codec.sample_rate)


def at_rate(wav: Float[np.ndarray, "b t"], sample_rate: int) -> Float[np.ndarray, "b s"]:
    """Resample each row to 16 kHz."""
    return np.stack([resample(each, sample_rate, RATE) for each in wav])


def mismatched(speakers: Sequence[str]) -> Int[np.ndarray, " b"]:
    """Give for each row the next one of another speaker, going round; the next one where all are of one speaker."""
    count = len(speakers)
    found = []
    for row in range(count):
        following = [(row + step) % count for step in range(1, count)] or [row]
        found.append(next((other for other in following if speakers[other] != speakers[row]), following[0]))
    return np.array(found)


def joined(parts: Sequence[Values]) -> Values:
    """Concatenate the values of several groups."""
    value, chance = (np.concatenate([getattr(part, side) for part in parts]) for side in ("value", "chance"))
    weights = [part.weight for part in parts if part.weight is not None]
    return Values(value, chance, np.concatenate(weights) if weights else None)


def clustered_mean(
    value: Float[np.ndarray, " u"], weight: Float[np.ndarray, " u"], clusters: Sequence[str], draws: int, seed: int,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float, float, int]:  # fmt: skip
    """Weighted mean, the ends of its 95 % interval within `limits` with clusters resampled, and how many clusters there are."""
    names, row = np.unique(clusters, return_inverse=True)
    drawn = multiplicities(len(names), draws, seed)[:, row] * weight
    mean = float(np.average(value, weights=weight))
    return mean, *ends(mean, drawn @ value / drawn.sum(1), len(names), limits), len(names)
