"""What the token strings themselves are like: how evenly codes are used, what they say of phones, and whether a word has one spelling.

PNMI and purities: HuBERT (Hsu et al. 2021, arXiv 2106.07447, section IV-E). ABX: Schatz et al. 2013.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from laminal import parallel
from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import Split
from laminal.encoded import Frames, utterance_frames
from laminal.errors import DataError
from laminal.measures.bootstrap import ends, jackknifed, multiplicities, pair_weights
from laminal.measures.contrast import Drawn, contrasts, drawn
from laminal.measures.edits import normalised_edits, repeats_removed
from laminal.measures.units import perplexity
from laminal.probes.pair_sampling import sample_pairs
from laminal.probes.phone_abx import Cell, Phone, abx_cells, abx_errors
from laminal.probes.unit_phones import QUALITIES, Aligned, phones_of_frames
from laminal.progress import track
from laminal.results import Items, Score, Undefined
from laminal.words import Token, frame_spans

FEWEST = 2  # pairs of word types
Bounds = Callable[[tuple[float, float]], tuple[float, float]] | None
LIMITS = {"fraction": (0.0, 1.0), "error": (0.0, 1.0), "probability": (0.0, 1.0)}  # what a score of this unit can be


@dataclass(frozen=True, slots=True)
class Encoded:
    """One utterance in codes, with the phone at each frame (-1 where none is), and the layers of the frames of its ABX phones."""

    utterance: Utterance
    codes: Int[np.ndarray, "q n"]
    phones: Int[np.ndarray, " n"]
    heard: Frames

    def rows(self, phone: Phone, rate: float) -> tuple[int, int]:
        """Rows of `heard` in which a phone lies: the first, and the one after the last."""
        first, stop, _ = frame_spans(np.array([phone.start]), np.array([phone.end]), rate, self.codes.shape[1])
        row = int(np.searchsorted(self.heard.frames, first[0]))
        return row, row + int(stop[0] - first[0])


class Units:
    """Use, phone content and word spelling of every codebook alone, ABX of every accumulated layer, bits per second.

    Measured on at most `utterances` utterances of the split's test speakers (of all speakers without a split), taken in turn from each
    speaker; intervals resample speakers, those of the lexical score word types. Frame k of a codec counts for the phone that its centre
    (k + 0.5) / rate lies in.
    """

    name = "units"
    version = 6
    metrics = dict.fromkeys(
        ("perplexity", "usage", "dead", *QUALITIES, "phone_accuracy", "phone_gain", "lexical_auc", "spellings_per_token"), True
    )  # of a layer or not
    metrics |= {"abx_within": True, "abx_across": True, "bits_nominal": False, "bits_entropy": False}

    def __init__(
        self, corpus: Corpus, split: Split | None, *, utterances: int, nulls: int, cells: int, maximum: int, draws: int, seed: int,
        cache: str | bool | None = None,
    ):  # fmt: skip
        """`nulls` shuffles of the phones give chance; `cells` ABX cells a condition; at most `maximum` pairs of words; `draws` >= 1000.

        `cache`: a folder or "off".
        """
        tested = corpus if split is None else corpus.subset(split.test_speakers)
        self.corpus = Corpus(corpus.name, in_turn(tested, utterances), facts=corpus.facts)
        self.nulls, self.cells, self.maximum, self.draws, self.seed = nulls, cells, maximum, draws, seed
        self.labels = tuple(sorted({phone.label for utterance in self.corpus for phone in utterance.phones}))
        self.cache = open_cache(cache)

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure the codec; encoders without codes have ABX alone."""
        by_number, bad = self._encode(codec)
        yield from bad
        encoded = list(by_number.values())
        if len(encoded) < 2:
            yield Undefined(probe=self.name, what="all", reason=f"{len(encoded)} usable utterances of test speakers; at least 2 are needed")
            return
        if codec.codebooks:
            yield from self._use(codec, encoded)
            yield from self._phones(codec, encoded)
            yield from self._words(codec, encoded)
        yield from self._abx(codec, by_number)

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        number, processes = share
        for index in range(number, len(self.corpus), processes):
            with suppress(DataError):  # `run` names it
                self._heard(codec, index)

    def _encode(self, codec: Codec) -> tuple[dict[int, Encoded], list[Undefined]]:
        """Encode the utterances, by number; those whose audio is bad are named."""
        found, bad = {}, []
        number = {label: index for index, label in enumerate(self.labels)}
        _ = self._spans  # drawn here, once: Python 3.12 would let every thread draw them
        heard = parallel.each_or_reason(codec, partial(self._heard, codec), range(len(self.corpus)))
        for index, frames in track(enumerate(heard), "utterances for units", len(self.corpus)):
            utterance = self.corpus[index]
            if isinstance(frames, str):
                bad.append(Undefined(probe=self.name, what=f"utterance {utterance.id}", reason=frames))
                continue
            phones = phones_of_frames(utterance.phones, number, codec.frame_rate, frames.codes.shape[1])
            found[index] = Encoded(utterance, frames.codes, phones, frames)
        return found, bad

    def _heard(self, codec: Codec, index: int) -> Frames:
        return utterance_frames(codec, self.corpus, self.corpus[index], self._spans.get(index, ()), self.cache)

    @cached_property
    def _cells(self) -> dict[str, list[Cell]]:
        """ABX cells of each condition, drawn once: every checkpoint is measured on the same."""
        phones = [
            Phone(phone.label, utterance.speaker, index, phone.start, phone.end)
            for index, utterance in enumerate(self.corpus)
            for phone in utterance.phones
        ]
        return {condition: abx_cells(phones, condition == "across", self.cells, self.seed) for condition in ("within", "across")}

    @cached_property
    def _spans(self) -> dict[int, tuple[tuple[float, float], ...]]:
        """Times of the phones in ABX cells, by utterance: only their frames are kept in all layers, or 10 s of WavLM would take 30 MB."""
        found: dict[int, set[tuple[float, float]]] = {}
        for cell in (cell for cells in self._cells.values() for cell in cells):
            for phone in (*cell.a, *cell.b, *cell.x):
                found.setdefault(phone.utterance, set()).add((phone.start, phone.end))
        return {index: tuple(sorted(spans)) for index, spans in found.items()}

    def _score(self, metric: str, value: float, bounds: Bounds, most: float = np.inf, **facts: Any) -> Score | Undefined:
        """`bounds`: ends of the interval by the limits of what the score can be; None for a count, which has none. `most`: of its unit."""
        if not np.isfinite(value):
            return Undefined(probe=self.name, what=f"{metric} {facts.get('layer', '')}", reason="too little speech: nothing to divide by")
        limits = (-1.0, 1.0) if metric == "phone_gain" else LIMITS.get(facts["unit"], (1.0 if facts["unit"] == "codes" else 0.0, most))
        low, high = (value, value) if bounds is None else bounds(limits)
        return Score(
            probe=self.name, metric=metric, value=float(value), low=low, high=high, seed=self.seed, probe_version=self.version, **facts
        )  # fmt: skip

    def _use(self, codec: Codec, encoded: Sequence[Encoded]) -> Iterator[Score | Items | Undefined]:
        """Usage, perplexity and dead codes of each codebook with the frames by code, and bits per second of all."""
        names, speaker = np.unique([each.utterance.speaker for each in encoded], return_inverse=True)
        leave_out = 1 - np.eye(len(names))
        size, frames = codec.codebook_size, sum(each.codes.shape[1] for each in encoded)
        facts: dict[str, Any] = {"n": frames, "clusters": len(names)}
        entropy = np.zeros(len(names) + 1)
        for book in range(codec.codebooks):
            counts = np.zeros((len(names), size))
            for row, each in zip(speaker, encoded):
                counts[row] += np.bincount(each.codes[book], minlength=size)
            used = counts.sum(0) > 0
            with np.errstate(invalid="ignore"):  # nothing is left of one speaker
                found = perplexity(np.concatenate([counts.sum(0)[None], leave_out @ counts])[:, used])
            entropy += np.log2(found)
            here = facts | {"layer": str(book + 1), "layer_mode": "single", "chance": float("nan")}
            bounds = partial(jackknifed, found[0], found[1:])
            yield self._score("perplexity", found[0], bounds, float(size), unit="codes", higher_is_better=True, **here)
            yield self._score("usage", used.mean(), None, unit="fraction", higher_is_better=True, **here)
            yield self._score("dead", float((~used).sum()), None, unit="codes", higher_is_better=False, **here)
            yield Items(
                probe=self.name, metric="code_count", layer=str(book + 1), layer_mode="single", a=[str(code) for code in range(size)],
                value=counts.sum(0), seed=self.seed, probe_version=self.version,
            )  # fmt: skip
        rate = codec.frame_rate
        nominal = rate * codec.codebooks * np.log2(size)
        facts |= {"unit": "bit/s", "higher_is_better": None, "chance": float("nan")}
        yield self._score("bits_nominal", nominal, None, **facts)
        bounds = partial(jackknifed, rate * entropy[0], rate * entropy[1:])
        yield self._score("bits_entropy", rate * entropy[0], bounds, float(nominal), **facts)

    def _phones(self, codec: Codec, encoded: Sequence[Encoded]) -> Iterator[Score | Items | Undefined]:
        """Measure what each codebook says of phones; chance is the mean over shuffled phones, of the guessed ones over shifted phones."""
        said = Aligned.of(
            [each.codes for each in encoded], [each.phones for each in encoded], [each.utterance.speaker for each in encoded],
            len(self.labels), codec.codebook_size,
        )  # fmt: skip
        if len(np.unique(said.phones)) < 2:
            yield Undefined(probe=self.name, what="pnmi, purities, phone_accuracy", reason="no aligned phones in the tested utterances")
            return
        speakers = int(said.voices.max()) + 1
        rng = np.random.default_rng([self.seed, 1])
        shuffled = [rng.permutation(said.phones) for _ in range(self.nulls)]
        facts: dict[str, Any] = {"layer_mode": "single", "n": len(said.phones), "clusters": speakers}
        facts |= {"unit": "fraction", "higher_is_better": True}
        if speakers < 2:
            yield Undefined(probe=self.name, what="phone_accuracy", reason="one speaker: what a code stands for is learnt from the others")
        for book in range(codec.codebooks):
            for metric, value, without, chance in said.qualities(book, 1 - np.eye(speakers), shuffled):
                yield self._score(metric, value, partial(jackknifed, value, without), layer=str(book + 1), chance=chance, **facts)
            if speakers > 1:
                yield from self._guessed(book, encoded, said, facts | {"layer": str(book + 1)})

    def _guessed(
        self, book: int, encoded: Sequence[Encoded], said: Aligned, facts: Mapping[str, Any]
    ) -> Iterator[Score | Items | Undefined]:
        """Measure the phones guessed from one codebook, and what that is above chance: every codebook has a level of its own."""
        rng = np.random.default_rng([self.seed, 4])
        hits = said.hits(book).astype(np.float64)
        speakers = int(facts["clusters"])
        weights = multiplicities(speakers, self.draws, self.seed)
        null = np.mean([said.hits(book, said.shifted(rng)) for _ in range(max(1, self.nulls))], 0)
        for metric, found, chance in (("phone_accuracy", hits, float(null.mean())), ("phone_gain", hits - null, 0.0)):
            share, draws = said.resampled(found, weights)
            yield self._score(metric, share, partial(ends, share, draws, speakers), chance=chance, **facts)
        rows, gain, frames = said.by_utterance(hits - null)
        heard = [encoded[row].utterance for row in rows]
        yield Items(
            probe=self.name, metric="phone_gain", layer=facts["layer"], layer_mode="single", a=[each.id for each in heard],
            cluster=[each.speaker for each in heard], value=gain, weight=frames, seed=self.seed, probe_version=self.version,
        )  # fmt: skip

    def _words(self, codec: Codec, encoded: Sequence[Encoded]) -> Iterator[Score | Items | Undefined]:
        """Whether one word by two speakers is spelt more alike than two words matched in length; spellings per word."""
        corpus = Corpus(self.corpus.name, [each.utterance for each in encoded])
        sizes = {"maximum": self.maximum, "tier_maximum": self.maximum, "token_pairs": 2, "randoms": 2}
        sample = sample_pairs(corpus, None, self.seed, **sizes)
        codes = {each.utterance.id: each.codes for each in encoded}
        spelt = [spelling(codes[token.utterance_id], token, codec.frame_rate) for token in sample.tokens]
        if not spelt:
            yield Undefined(probe=self.name, what="lexical_auc", reason="no word is said by two test speakers")
            return
        counts = np.concatenate([np.ones((1, len(sample.words))), multiplicities(len(sample.words), self.draws, self.seed)])
        strings = [[repeats_removed(each[book].tolist()) for each in spelt] for book in range(codec.codebooks)]
        sides = []
        for name in ("same_word", "random_for_same_word"):
            pairs = sample.sets[name]
            edits = [normalised_edits([book[row] for row in pairs.first], [book[row] for row in pairs.second]) for book in strings]
            sides.append(drawn(np.stack(edits, 1), pairs.group, pairs.types, np.ones(len(pairs.first), dtype=bool), counts, FEWEST))
        yield from self._grounding(codec.codebooks, *sides)
        for book, spellings in enumerate(strings):
            yield from self._variety(book, sample.tokens, spellings)

    def _grounding(self, books: int, same: Drawn | None, random: Drawn | None) -> Iterator[Score | Undefined]:
        if same is None or random is None:
            yield Undefined(probe=self.name, what="lexical_auc", reason=f"fewer than {FEWEST} words said by two test speakers")
            return
        found = contrasts(same, random, range(books))["auc"]
        for book in range(books):
            if not np.isfinite(found.value[book]):
                reason = f"{same.n} words said by two test speakers: too few to resample; give more speech"
                yield Undefined(probe=self.name, what=f"lexical_auc {book + 1}", reason=reason)
                continue
            yield Score(
                probe=self.name, metric="lexical_auc", layer=str(book + 1), layer_mode="single", value=float(found.value[book]),
                low=float(found.low[book]), high=float(found.high[book]), n=same.n, clusters=same.clusters, chance=0.5,
                higher_is_better=True, unit="probability", seed=self.seed, probe_version=self.version,
            )  # fmt: skip

    def _variety(self, book: int, tokens: Sequence[Token], strings: Sequence[tuple[int, ...]]) -> Iterator[Score | Undefined]:
        """Distinct spellings per token of a word, with the same of words whose tokens were shuffled as chance."""
        word, spelt = numbered([token.word for token in tokens]), numbered(strings)
        shares = distinct_shares(word, spelt)
        if len(shares) < 2:
            yield Undefined(probe=self.name, what=f"spellings_per_token {book + 1}", reason="fewer than 2 words with two tokens")
            return
        rng = np.random.default_rng([self.seed, 3])
        null = [distinct_shares(word, rng.permutation(spelt)).mean() for _ in range(self.nulls)]
        mean, draws = float(shares.mean()), multiplicities(len(shares), self.draws, self.seed) @ shares / len(shares)
        bounds = partial(ends, mean, draws, len(shares))
        yield self._score(
            "spellings_per_token", mean, bounds, layer=str(book + 1), layer_mode="single", n=len(shares), clusters=len(shares),
            chance=float(np.mean(null)) if null else float("nan"), unit="fraction", higher_is_better=False,
        )  # fmt: skip

    def _abx(self, codec: Codec, encoded: Mapping[int, Encoded]) -> Iterator[Score | Items | Undefined]:
        """ABX error over phones, within and across speakers, for every accumulated layer."""
        for condition, drawn_cells in self._cells.items():
            cells = [cell for cell in drawn_cells if all(phone.utterance in encoded for phone in (*cell.a, *cell.b, *cell.x))]
            if len(cells) < 2:
                yield Undefined(probe=self.name, what=f"abx_{condition}", reason=f"{len(cells)} cells of phones and speakers; 2 are needed")
                continue
            speakers = sorted({speaker for cell in cells for speaker in cell.speakers})
            ab, x = (np.array([speakers.index(cell.speakers[side]) for cell in cells]) for side in (0, -1))
            weights = pair_weights(multiplicities(len(speakers), self.draws, self.seed), ab, x).T
            heard = {index: each.heard.layers for index, each in encoded.items() if len(each.heard.frames)}
            layers = {name: {index: named[name] for index, named in heard.items()} for name in next(iter(heard.values()))}
            for name, errors in abx_errors(cells, layers, lambda phone: encoded[phone.utterance].rows(phone, codec.frame_rate)).items():
                with np.errstate(invalid="ignore"):
                    mean, draws = float(errors.mean()), weights @ errors / weights.sum(1)
                yield self._score(
                    f"abx_{condition}", mean, partial(ends, mean, draws, len(speakers)), layer=name, layer_mode="cumulative", n=len(cells),
                    clusters=len(speakers),
                    chance=0.5, unit="error", higher_is_better=False,
                )  # fmt: skip
                yield Items(
                    probe=self.name, metric=f"abx_{condition}", layer=name, layer_mode="cumulative", a=[cell.name for cell in cells],
                    cluster=["|".join(cell.speakers) for cell in cells], value=errors, seed=self.seed, probe_version=self.version,
                )  # fmt: skip


def numbered(things: Sequence[Hashable]) -> Int[np.ndarray, " t"]:
    """Give each thing a number, equal things the same."""
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(each, len(number)) for each in things], dtype=np.int64)


def distinct_shares(word: Int[np.ndarray, " t"], spelt: Int[np.ndarray, " t"]) -> Float[np.ndarray, " w"]:
    """Distinct spellings over tokens of each word that has two tokens or more."""
    tokens = np.bincount(word)
    spellings = np.bincount(np.unique(np.stack([word, spelt]), axis=1)[0], minlength=len(tokens))
    return (spellings / np.maximum(tokens, 1))[tokens > 1]


def in_turn(corpus: Corpus, count: int) -> tuple[Utterance, ...]:
    """Take utterances from each speaker in turn, `count` in all, in the order of the corpus."""
    place: dict[str, int] = {}
    turns = []
    for index, utterance in enumerate(corpus):
        turns.append((place.setdefault(utterance.speaker, 0), utterance.speaker, index))
        place[utterance.speaker] += 1
    return tuple(corpus[index] for index in sorted(index for _, _, index in sorted(turns)[:count]))


def spelling(codes: Int[np.ndarray, "q n"], token: Token, rate: float) -> Int[np.ndarray, "q m"]:
    """Codes of the frames of one word."""
    first, stop, _ = frame_spans(np.array([token.start]), np.array([token.end]), rate, codes.shape[1])
    return codes[:, first[0] : stop[0]]
