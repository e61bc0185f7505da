"""How something is said, an emotion or a style of speaking, told from the tokens by a small classifier, for speakers it has not heard.

The task of arXiv 2507.06802 (emotion recognition on tokens).
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.labelled import LabelledCorpus
from laminal.corpora.split import Split
from laminal.errors import DataError, RequestError
from laminal.probes.task_features import (
    NOT_FINITE,
    CodecFrames,
    Column,
    Level,
    Source,
    check_modes,
    column_order,
    floor_and_ceiling,
    folds_of,
    pooled,
)  # fmt: skip
from laminal.probes.task_rows import column_name, mean_rows
from laminal.progress import track
from laminal.results import Items, Score, Undefined

ROUNDS = 1000  # of the classifier's solver


class Paralinguistic:
    """Unweighted average recall of a class of how things are said, on every layer, each codebook alone, log-mel and a teacher.

    The mean and the deviation of an utterance's frames, standardised, go into a logistic regression (classes weighed evenly) that is fitted
    on the speakers of the other folds: nobody is tested who was heard. `uar` is the mean over classes of the share that is told right, with
    speakers resampled and classifiers held; chance is 1 / classes. The corpus says which classes: an emotion, or the planted styles of the
    embedded stand-in, which are settings of a synthesiser and no emotions.
    """

    name = "paralinguistic"
    version = 3  # 3: a frame centred on the end is left out
    metrics = {"uar": True}

    def __init__(
        self, corpus: Corpus, split: Split | None, *, labelled: LabelledCorpus | None, utterances: int | None,
        codebooks: Sequence[int] | None, modes: Sequence[str], folds: int, penalty: float, teacher: Any, draws: int,
        seed: int, cache: str | bool | None = None,
    ):  # fmt: skip
        """`labelled`: the corpus with classes, None for `corpus` itself; `utterances`: at most so many, of each speaker and class in turn.

        `penalty`: of the squared weights; `teacher`: a FrameTeacher, None for no ceiling. Raises RequestError where there are no classes.
        """
        check_modes(self.name, modes)
        if folds < 2 or penalty <= 0:
            raise RequestError(f"paralinguistic: folds={folds} penalty={penalty:g}: at least 2 folds, and a penalty above 0")
        if teacher is not None and not hasattr(teacher, "frames"):
            raise RequestError("paralinguistic.teacher gives one vector for all; name a teacher of frames, as hubert or whisper")
        source = corpus if labelled is None else labelled
        if not isinstance(source, LabelledCorpus):
            raise RequestError(
                f"corpus {source.name} has no classes (no emotion, no style), so none can be told: give a corpus that has, as "
                "probes.paralinguistic.labelled={_target_: laminal.corpora.ravdess.ravdess, root: DIR}, or leave it out"
            )
        if len(source.speakers) < 2:
            raise RequestError(
                f"corpus {source.name} has {len(source.speakers)} speaker; classes are told for others than those learnt from"
            )
        kept = frozenset(source.speakers) - (frozenset() if split is None else split.train_speakers)
        self.corpus = in_turn(source.subset(kept), utterances)
        self.books, self.modes, self.folds, self.penalty = codebooks, tuple(modes), folds, penalty
        self.teacher, self.draws, self.seed = teacher, draws, seed
        self.cache = open_cache(cache)
        self._beside: list[Score | Items | Undefined] | None = None  # floor and ceiling, the same for every codec

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every layer; what has no value is listed."""
        speakers, classes = self.corpus.speakers, self.corpus.classes
        if len(speakers) < self.folds or len(classes) < 2:
            reason = (
                f"{len(speakers)} unheard speakers and {len(classes)} classes for {self.folds} folds; give more speakers, or fewer folds"
            )
            yield Undefined(probe=self.name, what="all", reason=reason)
            return
        yield from self._measured(CodecFrames(codec, self.corpus, self.books, self.modes, self.cache))
        if self._beside is None:
            self._beside = [row for source in floor_and_ceiling(self.corpus, self.teacher) for row in self._measured(source)]
        yield from self._beside

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        CodecFrames(codec, self.corpus, self.books, self.modes, self.cache).fill(share)

    def _measured(self, source: Source) -> Iterator[Score | Items | Undefined]:
        heard = []
        held: dict[Column, list[np.ndarray]] = {}
        for utterance in track(self.corpus, "utterances to classify", len(self.corpus)):
            try:
                frames = source.frames(utterance)
            except DataError as error:
                yield Undefined(probe=self.name, what=f"utterance {utterance.id}", reason=str(error))
                continue
            heard.append(utterance)
            for column, values in frames.items():
                held.setdefault(column, []).append(pooled(values, source.rate, 0.0, utterance.seconds))
        names, speakers = [each.id for each in heard], [each.speaker for each in heard]
        lack = self._lack(names, speakers)
        if lack:
            yield Undefined(probe=self.name, what="all", reason=lack)
            return
        classes, label = np.unique([self.corpus.labels[name] for name in names], return_inverse=True)
        weight = 1 / np.bincount(label)[label] / len(classes)
        facts: dict[str, Any] = {"probe": self.name, "metric": "uar", "probe_version": self.version, "seed": self.seed}
        facts |= {"unit": "fraction", "higher_is_better": True}
        for column in track(column_order(held), "layers to classify", len(held)):
            values = np.stack(held[column])
            if not np.isfinite(values).all():
                yield Undefined(probe=self.name, what=column_name(column), reason=NOT_FINITE)
                continue
            right = (self._told(values, label, speakers) == label).astype(np.float64)
            for each in source.also(column):
                yield from mean_rows(facts, each, names, speakers, right, weight, 1 / len(classes), self.draws, limits=(0.0, 1.0))

    def _lack(self, names: Sequence[str], speakers: Sequence[str]) -> str:
        """Say why nothing can be told of these utterances; "" where it can."""
        if len(set(speakers)) < self.folds:
            return f"{len(set(speakers))} speakers whose audio can be read for {self.folds} folds; mend the audio listed"
        fold, label = folds_of(speakers, self.folds), np.array([self.corpus.labels[name] for name in names])
        if any(len(np.unique(label[fold != number])) < 2 for number in range(self.folds)):
            return "the speakers of all folds but one are of one class; give speakers that are heard in several classes, or fewer folds"
        return ""

    def _told(self, values: Float[np.ndarray, "u e"], label: Int[np.ndarray, " u"], speakers: Sequence[str]) -> Int[np.ndarray, " u"]:
        """Classes that are told by those who heard other speakers."""
        fold = folds_of(speakers, self.folds)
        found = np.zeros(len(values), dtype=np.int64)
        for number in range(self.folds):
            level = Level.of([values[fold != number]])
            inside, own = (level(values[fold == number] if mine else values[fold != number]).astype(np.float64) for mine in (False, True))
            model = LogisticRegression(C=1 / self.penalty, class_weight="balanced", max_iter=ROUNDS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a last digit of a weight decides nothing
                found[fold == number] = model.fit(inside, label[fold != number]).predict(own)
        return found


def in_turn(corpus: LabelledCorpus, count: int | None) -> LabelledCorpus:
    """Take utterances from each speaker and class in turn, `count` in all (None: all), in the order of the corpus."""
    if count is None or count >= len(corpus):
        return corpus
    place: dict[tuple[str, str], int] = {}
    turns = []
    for index, utterance in enumerate(corpus):
        key = (utterance.speaker, corpus.labels[utterance.id])
        turns.append((place.setdefault(key, 0), key, index))
        place[key] += 1
    kept = tuple(corpus[index] for index in sorted(index for _, _, index in sorted(turns)[:count]))
    labels = {utterance.id: corpus.labels[utterance.id] for utterance in kept}
    return LabelledCorpus(corpus.name, kept, corpus.skipped, corpus.facts, labels, corpus.kind)
