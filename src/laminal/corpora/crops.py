"""Batches of fixed-length crops with the words in them and how these relate; a batch is a pure function of seed, step and rank."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.sampler import EDGE, SPARE, PairSampler, Place, PlainSampler
from laminal.corpora.split import Split, is_token
from laminal.corpora.vocabulary import Relations, Sentences, Tokens, tokens
from laminal.corpora.waveforms import Waveforms
from laminal.errors import DataError, RequestError

ROUNDING = 1e-3  # s: a crop starts on a sample, so a word may stick out by less than one
ATTEMPTS = 8  # other crops tried in place of one that cannot be read


@runtime_checkable
class Recorded(Protocol):
    """What a teacher hears of whole recordings: frames, or one vector for each."""

    frame_rate: float | None  # Hz; None: a vector, which belongs to every crop of its recording

    def crop(self, utterance: Utterance, start: float, seconds: float) -> Float32[np.ndarray, "*_ d"]:
        """Give the frames of `seconds` s from `start` on (on a frame's edge), the last one again behind the end; or the vector."""


@dataclass(frozen=True)
class Batch:
    """Crops at the tokenizer's rate, and the training words wholly inside them (spans, over the whole batch) with their relations.

    `heard`: by the name of a teacher, what it heard of the crops' whole recordings: frames (b, n, d) or vectors (b, d); usually empty.
    """

    wav: Float[Tensor, "b t"]
    mask: Bool[Tensor, "b t"]  # real samples, not padding
    speaker: Int[Tensor, " b"]
    span_row: Int[Tensor, " w"]  # the crop it lies in
    span_start: Float[Tensor, " w"]  # seconds in the crop
    span_end: Float[Tensor, " w"]
    span_word: Int[Tensor, " w"]
    span_speaker: Int[Tensor, " w"]
    positive: Bool[Tensor, "w w"]  # same word or synonym of the split, by another speaker
    excluded: Bool[Tensor, "w w"]  # neither positive nor negative: itself, same lemma, other synonyms, held-out pairs
    hard: Bool[Tensor, "w w"]  # near-homophones of the split
    span_token: Int[Tensor, " w"]  # number in `Crops.sentences`
    heard: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor to `device`."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Pin every tensor (the DataLoader calls this)."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        tensors = {name: function(getattr(self, name)) for name in TENSORS}
        return Batch(**tensors, heard={name: function(tensor) for name, tensor in self.heard.items()})


TENSORS = tuple(part.name for part in fields(Batch) if part.name != "heard")


class Crops(Dataset[Batch]):
    """Training batches: `self[step]` is the batch of `step` on this rank, whatever was asked before.

    Of `batch` crops of `seconds` s, a fraction `pairs` is drawn around words that relate (a synonym rather than the same word in a
    fraction `synonyms` of them), the rest uniformly over the seconds of the training speakers. `cache_bytes` bounds the decoded
    audio kept in memory (16 kHz takes 115 MB an hour). `recorded`: what teachers hear of whole recordings, by name; crops then start on
    the edge of a frame. Raises RequestError on a leaking split and on wrong numbers.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: Split,
        *,
        sample_rate: int,
        seconds: float,
        batch: int,
        pairs: float,
        synonyms: float,
        seed: int,
        cache_bytes: int,
        rank: int = 0,
        ranks: int = 1,
        recorded: Mapping[str, Recorded] | None = None,
    ) -> None:
        split.check()
        if not (seconds > 0 and batch >= 1 and 0 <= pairs <= 1 and 0 <= synonyms <= 1 and 0 <= rank < ranks):
            given = f"seconds={seconds} batch={batch} pairs={pairs} synonyms={synonyms} rank={rank} ranks={ranks}"
            raise RequestError(f"data: {given}: seconds > 0, batch >= 1, pairs and synonyms in [0, 1], 0 <= rank < ranks")
        self._corpus = corpus.subset(split.train_speakers)
        if len(self._corpus) == 0:
            raise RequestError(f"{corpus.name}: no utterance by a training speaker of the split; make the split from this corpus")
        self.speakers = self._corpus.speakers
        said = {word.label for utterance in self._corpus for word in utterance.words if is_token(word)}
        self.words = tuple(sorted(filter(split.trains, said)))
        self.lengths = [utterance.seconds for utterance in self._corpus]
        self.sample_rate, self.seconds, self.batch, self.seed, self.rank, self.ranks = sample_rate, seconds, batch, seed, rank, ranks
        self._tokens = tokens(self._corpus, self.words, self.speakers)
        self.sentences = Sentences(self._corpus, self._tokens, split)
        self._relations = Relations(split, self.words)
        self._speaker = np.array([self.speakers.index(utterance.speaker) for utterance in self._corpus])
        self._waveforms = Waveforms(self._corpus, self.lengths, sample_rate, cache_bytes)
        self._recorded = dict(recorded or {})
        rates = {float(each.frame_rate) for each in self._recorded.values() if each.frame_rate is not None}
        if len(rates) > 1:
            given = ", ".join(f"{rate:g}" for rate in sorted(rates))
            raise RequestError(f"teachers of {given} frames/s: crops cannot start on the frames of all; say data.precomputed=null")
        self._grid = rates.pop() if rates else None
        self._paired = round(pairs * batch)
        self._plain = PlainSampler(self.lengths, seconds, seed)
        related = (self._tokens, self._relations, self.lengths, seconds, synonyms, seed, self._grid)
        self._pairs = PairSampler(*related) if self._paired else None

    @property
    def steps_per_pass(self) -> int:
        """Steps in which the plain crops go once through the training speech (all of it drawn in pairs: the steps of as much speech)."""
        return max(1, self._plain.crops // (((self.batch - self._paired) or self.batch) * self.ranks))

    def places(self, step: int) -> list[Place]:
        """Where the crops of `step` lie, the paired ones first."""
        paired = self._pairs.places(step, self.ranks, self._paired)[self.rank] if self._pairs else []
        plain = self.batch - len(paired)
        first = (step * self.ranks + self.rank) * plain
        return paired + [self._plain.place(position) for position in range(first, first + plain)]

    def __getitem__(self, step: int) -> Batch:
        """Make the batch of `step`; raises DataError where the audio is unreadable again and again."""
        found = [self._read(place, step, row) for row, place in enumerate(self.places(step))]
        wavs, places, told = [wav for wav, _, _ in found], [place for _, place, _ in found], [told for _, _, told in found]
        heard = {name: torch.from_numpy(np.stack([each[name] for each in told])) for name in self._recorded}
        return _batch(wavs, places, self._speaker, self._tokens, self._relations, self.seconds, self.sample_rate, heard)

    def _read(self, place: Place, step: int, row: int) -> tuple[Float32[np.ndarray, " t"], Place, dict[str, np.ndarray]]:
        """Read one crop, or another one, told by a warning, in place of one that cannot be read."""
        for attempt in range(ATTEMPTS):
            try:
                wav, read = _read(self._waveforms, place, self.seconds, self.sample_rate, self._grid)
                utterance = self._corpus[read.utterance]
                return wav, read, {name: each.crop(utterance, read.start, self.seconds) for name, each in self._recorded.items()}
            except DataError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                warnings.warn(f"{error}; another crop takes its place", stacklevel=2)
                rng = np.random.default_rng([self.seed, SPARE, step, self.rank, row, attempt])
                place = self._plain.place(int(rng.integers(self._plain.crops)))
        raise AssertionError("unreachable")


def loader(dataset: Crops, steps_from: int, steps_to: int, workers: int, pin: bool = False) -> DataLoader[Batch]:
    """Iterate batches steps_from .. steps_to - 1, the same for any number of workers, without a draw from torch's global generator."""
    steps: Iterable[int] = range(steps_from, steps_to)
    own = torch.Generator().manual_seed(0)  # the DataLoader draws a seed for its workers, by default from the global generator
    return DataLoader(dataset, batch_size=None, sampler=steps, num_workers=workers, generator=own, collate_fn=_as_is, pin_memory=pin)


def evaluation_crops(
    corpus: Corpus, speakers: frozenset[str], count: int, seconds: float, sample_rate: int, seed: int, batch: int = 8
) -> tuple[Batch, ...]:
    """Fix `count` crops of `speakers` (held-out ones), uniform over their seconds, in batches of at most `batch`, without spans."""
    held = corpus.subset(speakers)
    if len(held) == 0 or count < 1:
        given = f"{corpus.name}: {count} crops of {len(speakers)} held-out speakers, of whom {len(held)} utterances are there"
        raise RequestError(f"{given}: at least 1 of each; raise split.speakers")
    lengths = [utterance.seconds for utterance in held]
    speaker = np.array([held.speakers.index(utterance.speaker) for utterance in held])
    waveforms = Waveforms(held, lengths, sample_rate, 0)
    sampler = PlainSampler(lengths, seconds, seed)
    places = [sampler.place(position) for position in range(count)]
    wavs = [_read(waveforms, place, seconds, sample_rate)[0] for place in places]
    parts = [slice(low, low + batch) for low in range(0, count, batch)]
    return tuple(_batch(wavs[part], places[part], speaker, None, None, seconds, sample_rate, {}) for part in parts)


def _read(
    waveforms: Waveforms, place: Place, seconds: float, sample_rate: int, grid: float | None = None
) -> tuple[Float32[np.ndarray, " t"], Place]:
    start = int(place.start * sample_rate)  # on a sample, and never past the end
    if grid is not None:
        start = round(int(place.start * grid + EDGE) / grid * sample_rate)  # of a frame
    return waveforms.crop(place.utterance, start, round(seconds * sample_rate)), Place(place.utterance, start / sample_rate)


def _batch(
    wavs: list[np.ndarray],
    places: list[Place],
    speaker: Int[np.ndarray, " u"],
    found: Tokens | None,
    relations: Relations | None,
    seconds: float,
    sample_rate: int,
    heard: dict[str, Tensor],
) -> Batch:
    length = round(seconds * sample_rate)
    wav, mask = np.zeros((len(wavs), length), dtype=np.float32), np.zeros((len(wavs), length), dtype=bool)
    for row, samples in enumerate(wavs):
        wav[row, : len(samples)], mask[row, : len(samples)] = samples, True
    nothing = np.zeros(0, dtype=np.int64)
    inside = [found.inside(p.utterance, p.start - ROUNDING, p.start + seconds + ROUNDING) if found else nothing for p in places]
    span, span_row = np.concatenate(inside), np.repeat(np.arange(len(places)), [len(one) for one in inside])
    origin = np.array([place.start for place in places])[span_row]
    start, end, word, said = (found.start[span], found.end[span], found.word[span], found.speaker[span]) if found else (nothing,) * 4
    related = relations.matrices(word, said) if relations else (np.zeros((0, 0), dtype=bool),) * 3
    start, end = ((edge - origin).clip(0, seconds).astype(np.float32) for edge in (start, end))
    spoken = speaker[[place.utterance for place in places]]
    tensors = [torch.from_numpy(part) for part in (wav, mask, spoken, span_row, start, end, word, said, *related, span)]
    return Batch(**dict(zip(TENSORS, tensors, strict=True)), heard=heard)


def _as_is(batch: Any) -> Any:
    return batch
