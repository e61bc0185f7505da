"""Whether the tokens tell who speaks: the equal error rate of verification trials, from each codebook's mean, or through a small head.

The task of arXiv 2507.06802 (speaker verification by codebook).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import Split
from laminal.errors import DataError, RequestError
from laminal.measures.bootstrap import ends, multiplicities, pair_weights
from laminal.measures.eer import equal_error_rate, trial_errors
from laminal.probes.task_features import (
    NOT_FINITE,
    TEACHER,
    CodecFrames,
    Column,
    Level,
    LogMelFrames,
    Source,
    check_modes,
    column_order,
    folds_of,
    pooled,
    unheard,
    voice_of,
)  # fmt: skip
from laminal.probes.task_rows import column_name
from laminal.probes.units import in_turn
from laminal.progress import track
from laminal.results import Items, Score, Undefined

SHORTEST = 1.0  # s of a stretch
FEWEST = 10  # trials on either side
IMPOSTORS = 4  # trials of two speakers for one of the same
AXES = 64  # of the head, at most
DECIMALS = 9  # of a cosine: vectors that are alike must not be told apart by rounding
HEADS = {"": "mean", "lda": "mean and deviation through LDA"}
METRICS = ("eer", "eer_same_recording")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds [start, end) of utterance number `utterance`."""

    utterance: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Trials:
    """Pairs of stretches of one speaker and of two, by number; both of a pair lie in one fold."""

    target: Int[np.ndarray, "p 2"]
    impostor: Int[np.ndarray, "r 2"]
    weights: tuple[Float[np.ndarray, "p draws"], Float[np.ndarray, "r draws"]]  # of either side: once each, then as speakers are drawn
    clusters: int  # speakers of the targets


@dataclass(frozen=True, slots=True)
class Heard:
    """Stretches that could be read, who speaks in each, the fold of each, and the trials of them by metric."""

    stretches: list[Stretch]
    speakers: list[str]
    fold: Int[np.ndarray, " s"]
    trials: dict[str, Trials]


class SpeakerVerification:
    """Equal error rate of cosine trials on every layer, each codebook alone, log-mel (floor) and a speaker teacher (ceiling).

    Utterances of speakers that the tokenizer has not heard are cut into stretches; a stretch is the mean of its frames, standardised by the
    stretches of the other folds' speakers. `distance` lda: mean and deviation, through linear discriminants fitted on those speakers. `eer`
    has target trials of two recordings of a speaker; `eer_same_recording` two stretches of one recording, where the room and the microphone
    help. Impostor trials pair two speakers of the fold, and are the same for both. Intervals resample speakers (a trial of two weighs the
    product of their multiplicities), with heads held. Chance is 0.5.
    """

    name = "speaker_verification"
    version = 3  # 3: stretches that meet share no frame at 6.25 Hz
    metrics = dict.fromkeys(METRICS, True)

    def __init__(
        self, corpus: Corpus, split: Split | None, *, utterances: int, seconds: float, stretches: int, trials: int,
        codebooks: Sequence[int] | None, modes: Sequence[str], folds: int, teacher: Any, draws: int, seed: int,
        cache: str | bool | None = None,
    ):  # fmt: skip
        """At most `stretches` of `seconds` from each utterance; `trials` of one speaker; `codebooks`: None for all of up to 8.

        `teacher`: a SpeakerTeacher, None for no ceiling. Raises RequestError for a corpus that does not say who speaks, and for sizes that
        are too small.
        """
        check_modes(self.name, modes)
        if seconds < SHORTEST or stretches < 1 or trials < FEWEST or folds < 2:
            raise RequestError(
                f"speaker_verification: seconds={seconds:g} stretches={stretches} trials={trials} folds={folds}: "
                f"at least {SHORTEST:g}, 1, {FEWEST} and 2; raise them"
            )
        if len(corpus.speakers) < 2:
            raise RequestError(
                f"corpus {corpus.name} names {len(corpus.speakers)} speaker, so nobody can be told apart: "
                "say whose each file is (corpus.speaker= for a folder), or leave speaker_verification out"
            )
        if teacher is not None and not hasattr(teacher, "embed"):
            raise RequestError("speaker_verification.teacher gives no speaker embedding; name one that does, as ecapa or ge2e")
        able = Corpus(corpus.name, tuple(each for each in unheard(corpus, split) if each.seconds >= SHORTEST))
        self.corpus = Corpus(corpus.name, in_turn(able, utterances), facts=corpus.facts)
        self.seconds, self.count, self.trials = seconds, stretches, trials
        self.books, self.modes, self.folds = codebooks, tuple(modes), folds
        self.teacher, self.draws, self.seed = teacher, draws, seed
        self.cache = open_cache(cache)
        self._beside: list[Score | Items | Undefined] | None = None  # floor and ceiling, the same for every codec

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every layer; what has no value is listed."""
        speakers = len(self.corpus.speakers)
        if speakers < 2 * self.folds:
            reason = f"{speakers} unheard speakers for {self.folds} folds of at least 2; give more speakers"
            yield Undefined(probe=self.name, what="all", reason=reason)
            return
        yield from self._measured(CodecFrames(codec, self.corpus, self.books, self.modes, self.cache))
        if self._beside is None:
            self._beside = [*self._measured(LogMelFrames(self.corpus)), *(self._taught() if self.teacher is not None else ())]
        yield from self._beside

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        CodecFrames(codec, self.corpus, self.books, self.modes, self.cache).fill(share)

    @cached_property
    def _cut(self) -> list[list[Stretch]]:
        """Stretches of each utterance."""
        return [self._stretches(number, utterance) for number, utterance in enumerate(self.corpus)]

    def _stretches(self, number: int, utterance: Utterance) -> list[Stretch]:
        whole = int(utterance.seconds / self.seconds + 1e-9)
        if not whole:
            return [Stretch(number, 0.0, utterance.seconds)]
        return [Stretch(number, place * self.seconds, (place + 1) * self.seconds) for place in range(min(whole, self.count))]

    def _measured(self, source: Source) -> Iterator[Score | Items | Undefined]:
        kept: list[Stretch] = []
        held: dict[Column, list[np.ndarray]] = {}
        for utterance, stretches in track(list(zip(self.corpus, self._cut)), "utterances to verify", len(self.corpus)):
            try:
                frames = source.frames(utterance)
            except DataError as error:
                yield Undefined(probe=self.name, what=f"utterance {utterance.id}", reason=str(error))
                continue
            kept += stretches
            for column, values in frames.items():
                held.setdefault(column, []).extend(pooled(values, source.rate, each.start, each.end) for each in stretches)
        readable = len({self.corpus[each.utterance].speaker for each in kept})
        if readable < 2 * self.folds:
            reason = f"{readable} speakers whose audio can be read for {self.folds} folds of at least 2; mend the audio listed"
            yield Undefined(probe=self.name, what="all", reason=reason)
            return
        heard = self._heard(kept)
        for column in track(column_order(held), "layers to verify", len(held)):
            found = list(self._trials_of(column, heard, np.stack(held[column]), True))
            for each in source.also(column):
                yield from (row if isinstance(row, Undefined) else _renamed(row, each) for row in found)

    def _taught(self) -> Iterator[Score | Items | Undefined]:
        """Measure the ceiling: embeddings of the same stretches."""
        assert self.teacher is not None
        kept, voices = [], []
        for utterance, stretches in zip(self.corpus, self._cut):
            with suppress(DataError):  # listed with the codec
                voices += [voice_of(self.teacher, self.corpus, utterance, each.start, each.end) for each in stretches]
                kept += stretches
        if len({self.corpus[each.utterance].speaker for each in kept}) >= 2 * self.folds:
            yield from self._trials_of(Column(TEACHER), self._heard(kept), np.stack(voices), False)

    def _trials_of(
        self, column: Column, heard: Heard, values: Float[np.ndarray, "s e"], deviations: bool
    ) -> Iterator[Score | Items | Undefined]:
        """Rows of one column; `deviations`: the second half of `values` are not means, and only the head sees them."""
        if not np.isfinite(values).all():
            yield Undefined(probe=self.name, what=column_name(column), reason=NOT_FINITE)
            return
        for head in HEADS:
            vectors = self._embedded(values, heard.speakers, heard.fold, head, deviations)
            for metric, trials in heard.trials.items():
                yield from self._rows(column, metric, head, trials, vectors, heard)

    def _embedded(
        self, values: Float[np.ndarray, "s e"], speakers: Sequence[str], fold: Int[np.ndarray, " s"], head: str, deviations: bool
    ) -> Float[np.ndarray, "s f"]:
        """Vectors of length 1 (0 where nothing is left), each fold's by what the others taught."""
        width = values.shape[1] // 2 if deviations and not head else values.shape[1]
        parts = []
        for number in range(self.folds):
            inside, own = values[fold != number, :width], values[fold == number, :width]
            level = Level.of([inside])
            made = level(own).astype(np.float64)
            if head:
                of = np.asarray(speakers)[fold != number]
                made = _discriminants(level(inside).astype(np.float64), of, made)
            parts.append(made)
        found = np.zeros((len(values), max(part.shape[1] for part in parts)))
        for number, part in enumerate(parts):
            found[fold == number, : part.shape[1]] = part
        size = np.linalg.norm(found, axis=1, keepdims=True)
        return np.divide(found, size, out=np.zeros_like(found), where=size > 1e-9)

    def _heard(self, stretches: list[Stretch]) -> Heard:
        """Draw trials: of one speaker in turn from each, of two speakers of a fold at random."""
        speakers = [self.corpus[each.utterance].speaker for each in stretches]
        fold = folds_of(speakers, self.folds)
        rng = np.random.default_rng([self.seed, 1])
        own: dict[str, list[int]] = {}
        for number, speaker in enumerate(speakers):
            own.setdefault(speaker, []).append(number)
        pairs: dict[str, dict[str, list[tuple[int, int]]]] = {metric: {} for metric in METRICS}
        for speaker in sorted(own):
            for place, first in enumerate(own[speaker]):
                for second in own[speaker][place + 1 :]:
                    metric = METRICS[stretches[first].utterance == stretches[second].utterance]
                    pairs[metric].setdefault(speaker, []).append((first, second))
        targets = {metric: _in_turn(by, self.trials, rng) for metric, by in pairs.items()}
        others = _impostors(own, {speaker: int(fold[rows[0]]) for speaker, rows in own.items()}, IMPOSTORS * self.trials, rng)
        names, row = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        counts = np.concatenate([np.ones((1, len(names))), multiplicities(len(names), self.draws, self.seed)])
        apart = pair_weights(counts, row[others[:, 0]], row[others[:, 1]])
        trials = {
            metric: Trials(target, others, (pair_weights(counts, row[target[:, 0]], row[target[:, 1]]), apart), len(np.unique(row[target])))
            for metric, target in targets.items()
        }
        return Heard(stretches, speakers, fold, trials)

    def _rows(
        self, column: Column, metric: str, head: str, trials: Trials, vectors: Float[np.ndarray, "s f"], heard: Heard
    ) -> Iterator[Score | Items | Undefined]:
        if min(len(trials.target), len(trials.impostor)) < FEWEST:
            if not head:
                kind = "two recordings" if metric == "eer" else "two stretches of a recording"
                reason = f"{len(trials.target)} trials of {kind} by a speaker, {FEWEST} are needed; give more of each speaker"
                yield Undefined(probe=self.name, what=f"{metric} {column_name(column)}", reason=reason)
            return
        sides = np.concatenate([trials.target, trials.impostor])
        cosine = np.einsum("pf,pf->p", vectors[sides[:, 0]], vectors[sides[:, 1]]).round(DECIMALS)
        target, impostor = cosine[: len(trials.target)], cosine[len(trials.target) :]
        rates = equal_error_rate(target, impostor, *trials.weights)
        low, high = ends(float(rates[0]), rates[1:], trials.clusters, (0.0, 1.0))
        told: dict[str, Any] = {"probe": self.name, "metric": metric, "seed": self.seed, "probe_version": self.version, "distance": head}
        told |= {"setting": column.setting, "layer": column.layer, "layer_mode": column.mode}
        yield Score(
            **told, value=float(rates[0]), low=low, high=high, n=len(target), clusters=trials.clusters, chance=0.5,
            higher_is_better=False, unit="error",
        )  # fmt: skip
        if not column.setting:
            errors = np.concatenate(trial_errors(target, impostor))
            weight = np.repeat([1 / len(target), 1 / len(impostor)], [len(target), len(impostor)])
            a, b = ([self._named(heard.stretches[number]) for number in side] for side in sides.T.tolist())
            cluster = ["|".join(sorted({heard.speakers[number] for number in side})) for side in sides.tolist()]
            yield Items(**told, a=a, b=b, cluster=cluster, value=errors, weight=weight)

    def _named(self, stretch: Stretch) -> str:
        return f"{self.corpus[stretch.utterance].id}:{stretch.start:.4f}-{stretch.end:.4f}"


def _discriminants(inside: Float[np.ndarray, "s e"], speakers: np.ndarray, own: Float[np.ndarray, "t e"]) -> Float[np.ndarray, "t f"]:
    """Project on the directions that tell the speakers of `inside` apart, about their mean."""
    names, row, stretches = np.unique(speakers, return_inverse=True, return_counts=True)
    often = stretches[row] > 1  # one stretch says nothing of how a speaker varies
    inside, speakers = inside[often], speakers[often]
    varies = inside.std(0) > 0 if len(inside) else np.zeros(inside.shape[1], dtype=bool)
    axes = min(AXES, int((stretches > 1).sum()) - 1, int(varies.sum()))
    if axes < 1:
        return own
    head = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=axes)
    try:
        head.fit(inside[:, varies], speakers)
    except np.linalg.LinAlgError:
        return own  # no stretch of any speaker differs from another of his: there is nothing to look away from
    return np.asarray(head.transform(own[:, varies]) - head.transform(inside[:, varies]).mean(0))


def _in_turn(pairs: dict[str, list[tuple[int, int]]], count: int, rng: np.random.Generator) -> Int[np.ndarray, "p 2"]:
    """Take pairs from each speaker in turn, `count` in all, drawn at random within each."""
    mixed = [[pairs[speaker][place] for place in rng.permutation(len(pairs[speaker]))] for speaker in sorted(pairs)]
    turns = sorted((place, number) for number, mine in enumerate(mixed) for place in range(len(mine)))
    return np.array([mixed[number][place] for place, number in turns[:count]], dtype=np.int64).reshape(-1, 2)


def _impostors(own: dict[str, list[int]], fold: dict[str, int], count: int, rng: np.random.Generator) -> Int[np.ndarray, "r 2"]:
    """Draw pairs of stretches of two speakers of one fold, pairs of speakers evenly; none twice."""
    names = sorted(own)
    apart = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :] if fold[a] == fold[b]]
    found: dict[tuple[int, int], None] = {}
    for index in rng.integers(len(apart), size=2 * count).tolist() if apart else ():
        a, b = apart[index]
        found[own[a][int(rng.integers(len(own[a])))], own[b][int(rng.integers(len(own[b])))]] = None
        if len(found) == count:
            break
    return np.array(list(found), dtype=np.int64).reshape(-1, 2)


def _renamed(row: Score | Items, column: Column) -> Score | Items:
    return replace(row, layer_mode=column.mode)
