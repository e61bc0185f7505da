"""How well what is said can be read off the tokens: a small CTC network, trained on some speakers, writes down what others say.

The task of arXiv 2507.06802 (ASR on tokens), at a size of minutes: the numbers compare layers with each other and with the floor and the
ceiling beside them; they are no recogniser's.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rapidfuzz.distance import Levenshtein

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Utterance
from laminal.corpora.split import Split
from laminal.errors import DataError, RequestError
from laminal.probes.ctc import CtcSize, read, symbol_rate, train
from laminal.probes.recognition import spoken_words
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
    halved,
    unheard,
)  # fmt: skip
from laminal.probes.task_rows import column_name, mean_rows
from laminal.probes.units import in_turn
from laminal.progress import track
from laminal.results import Items, Score, Undefined

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
LONGEST = 30.0  # s: longer utterances are left out, they would fill a batch alone
FEWEST = 2  # utterances in a fold
LEFT = 0.5  # of the utterances to learn from, at least, when those of tested sentences are taken out


class Transcription:
    """Error rates of a small CTC network on every layer, each codebook alone, log-mel (floor) and a teacher (ceiling).

    Utterances of speakers that the tokenizer has not heard, in turn from each, are cut by speaker into `folds`; a network that is trained
    on the others writes down each of the last `tested` folds. It does not learn from sentences that the tested speakers say too, or it
    would know them by heart. `cer` and `wer` (target: characters; lower case, letters, apostrophe and blank), or `per` (phones of the
    alignment, silence left out): edits over symbols, of all utterances over all of them. Intervals resample the tested speakers, with the
    networks held. Chance is what is written of another speaker's utterance of other words, the one nearest in length.
    """

    name = "transcription"
    version = 3  # 3: no network is tested on a sentence that it has learnt
    metrics = {"cer": True, "wer": True, "per": True}

    def __init__(
        self, corpus: Corpus, split: Split | None, *, utterances: int, target: str, codebooks: Sequence[int] | None,
        modes: Sequence[str], folds: int, tested: int, width: int, steps: int, teacher: Any, draws: int, seed: int,
        cache: str | bool | None = None,
    ):  # fmt: skip
        """`codebooks`: None for all of up to 8, else 1, 2, 4 .. and the last; `teacher`: a FrameTeacher, None for no ceiling.

        Raises RequestError for a corpus without transcripts (or phones), and for impossible sizes.
        """
        if target not in ("characters", "phones"):
            raise RequestError(f"transcription.target={target}: give characters or phones")
        check_modes(self.name, modes)
        if not 1 <= tested <= folds or folds < 2:
            raise RequestError(f"transcription: folds={folds} tested={tested}: at least 2 folds, and 1 to {folds} of them tested")
        if width < 8 or steps < 1:
            raise RequestError(f"transcription: width={width} steps={steps}: at least 8 and 1; 128 and 400 are usual")
        if teacher is not None and not hasattr(teacher, "frames"):
            raise RequestError("transcription.teacher gives one vector for all; name a teacher of frames, as hubert or whisper")
        self.target = target
        if not any(symbols_of(utterance, target) for utterance in corpus):
            lack = "transcripts" if target == "characters" else "aligned phones"
            cure = "*.trans.txt or NAME.txt beside the audio" if target == "characters" else "TextGrids, or say target=characters"
            raise RequestError(f"corpus {corpus.name} has no {lack}, so nothing can be transcribed: add {cure}, or leave transcription out")
        able = Corpus(corpus.name, tuple(u for u in unheard(corpus, split) if u.seconds <= LONGEST and symbols_of(u, target)))
        self.corpus = Corpus(corpus.name, in_turn(able, utterances), facts=corpus.facts)
        self.alphabet = list(LETTERS) if target == "characters" else sorted({p.label for u in self.corpus for p in u.phones})
        self.books, self.modes, self.folds, self.tested = codebooks, tuple(modes), folds, tested
        self.size = CtcSize(width, steps, symbol_rate([(symbols_of(u, target), u.seconds) for u in self.corpus]))
        self.teacher, self.draws, self.seed = teacher, draws, seed
        self.cache = open_cache(cache)
        self._beside: list[Score | Items | Undefined] | None = None  # floor and ceiling, the same for every codec

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every layer; what has no value is listed."""
        speakers = len(self.corpus.speakers)
        if speakers < self.folds or len(self.corpus) < FEWEST * self.folds:
            reason = f"{len(self.corpus)} usable utterances of {speakers} unheard speakers for {self.folds} folds; give more speech"
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
        heard: list[Utterance] = []
        held: dict[Column, list[np.ndarray]] = {}
        for utterance in track(self.corpus, "utterances to transcribe", len(self.corpus)):
            try:
                frames = source.frames(utterance)
            except DataError as error:
                yield Undefined(probe=self.name, what=f"utterance {utterance.id}", reason=str(error))
                continue
            heard.append(utterance)
            for column, values in frames.items():
                held.setdefault(column, []).append(halved(values))
        speakers = [utterance.speaker for utterance in heard]
        if len(set(speakers)) < self.folds:
            reason = f"{len(set(speakers))} speakers whose audio can be read for {self.folds} folds; mend the audio listed"
            yield Undefined(probe=self.name, what="all", reason=reason)
            return
        lessons, lack = self._lessons(heard, folds_of(speakers, self.folds))
        if lack:
            yield Undefined(probe=self.name, what="all", reason=lack)
            return
        for column in track(column_order(held), "layers to transcribe", len(held)):
            frames_of = [values.astype(np.float32, copy=False) for values in held.pop(column)]
            if not all(np.isfinite(values).all() for values in frames_of):
                yield Undefined(probe=self.name, what=column_name(column), reason=NOT_FINITE)
                continue
            written = self._written(heard, lessons, frames_of, source.rate)
            for each in source.also(column):
                yield from self._rows(each, heard, written)

    def _lessons(self, heard: Sequence[Utterance], fold: Int[np.ndarray, " u"]) -> tuple[list[tuple[list[int], list[int]]], str]:
        """Give for each network the utterances that it learns from and those that it is tested on, and why there is no such."""
        said = [tuple(spoken_words(each.text)) or tuple(symbols_of(each, self.target)) for each in heard]
        found = []
        for tested in range(self.folds - self.tested, self.folds):
            rows = np.flatnonzero(fold == tested).tolist()
            known, others = {said[row] for row in rows}, np.flatnonzero(fold != tested).tolist()
            inside = [row for row in others if said[row] not in known]
            if len(inside) < LEFT * len(others):
                reason = f"{len(others) - len(inside)} of {len(others)} utterances to learn from are sentences of the tested speakers too"
                return [], f"{reason}; give speech in which people say different things"
            found.append((inside, rows))
        return found, ""

    def _written(
        self, heard: Sequence[Utterance], lessons: Sequence[tuple[list[int], list[int]]], frames: list[Float[np.ndarray, "_ d"]],
        rate: float,
    ) -> dict[int, list[int]]:  # fmt: skip
        """Write each tested utterance down, by its place, as numbers of symbols from 1."""
        number = {symbol: place for place, symbol in enumerate(self.alphabet, start=1)}
        said = [[number[symbol] for symbol in symbols_of(utterance, self.target)] for utterance in heard]
        found: dict[int, list[int]] = {}
        for inside, rows in lessons:
            level = Level.of(frames[row] for row in inside)
            items = [(level(frames[row]), said[row]) for row in inside]
            reader = train(items, len(self.alphabet), rate, self.size, self.seed)
            found |= dict(zip(rows, read(reader, [level(frames[row]) for row in rows]), strict=True))
        return found

    def _rows(self, column: Column, heard: Sequence[Utterance], written: dict[int, list[int]]) -> Iterator[Score | Items | Undefined]:
        rows = sorted(written)
        hypotheses = ["".join(self._symbols(written[row])) for row in rows] if self.target == "characters" else []
        symbols = [self._symbols(written[row]) for row in rows]
        references = [symbols_of(heard[row], self.target) for row in rows]
        others = _others([heard[row].speaker for row in rows], references)
        measures: dict[str, tuple[list[Any], list[Any]]] = {"cer" if self.target == "characters" else "per": (references, symbols)}
        if hypotheses:
            measures["wer"] = ["".join(each).split() for each in references], [each.split() for each in hypotheses]
        for metric, (truth, guess) in measures.items():
            weight = np.array([float(len(each)) for each in truth])
            errors = np.array([Levenshtein.distance(a, b) for a, b in zip(truth, guess)]) / weight
            chance = sum(Levenshtein.distance(truth[row], guess[other]) for row, other in enumerate(others)) / weight.sum()
            facts: dict[str, Any] = {"probe": self.name, "metric": metric, "probe_version": self.version, "seed": self.seed}
            facts |= {"unit": "fraction", "higher_is_better": False}
            names, speakers = [heard[row].id for row in rows], [heard[row].speaker for row in rows]
            yield from mean_rows(facts, column, names, speakers, errors, weight, float(chance), self.draws)

    def _symbols(self, numbers: Sequence[int]) -> list[str]:
        return [self.alphabet[number - 1] for number in numbers]


def symbols_of(utterance: Utterance, target: str) -> list[str]:
    """Letters of the text, words parted by one blank; or the phones of the alignment."""
    if target == "phones":
        return [phone.label for phone in utterance.phones]
    words = ("".join(letter for letter in word if letter in LETTERS) for word in spoken_words(utterance.text))
    return list(" ".join(word for word in words if word))


def _others(speakers: Sequence[str], said: Sequence[Sequence[str]]) -> list[int]:
    """For each utterance the one of another speaker and other words that is nearest to it in length; where there is none, another."""
    found = []
    for row, speaker in enumerate(speakers):
        strange = [other for other in range(len(speakers)) if said[other] != said[row]]
        apart = [other for other in strange if speakers[other] != speaker] or strange or [(row + 1) % len(speakers)]
        found.append(min(apart, key=lambda other: (abs(len(said[other]) - len(said[row])), other)))
    return found
