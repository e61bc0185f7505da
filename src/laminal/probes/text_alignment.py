"""Do words that mean alike lie alike in a layer? CKA of its word types with their text vectors, against chance, sound and n.

Seed study: Shi et al., Speech Codec Probing from Semantic and Phonetic Perspectives (arXiv 2603.10371), section 2.5; CKA: Kornblith et al.
2019 (arXiv 1905.00414), debiased.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.encoded import utterance_frames
from laminal.errors import DataError, RequestError
from laminal.features import Mode, WordFeatures, fill, word_features
from laminal.measures.bootstrap import multiplicities
from laminal.measures.cka import gram, pseudo_values, unit
from laminal.measures.permutations import merged, permutations, permuted_products
from laminal.probes.alignment_rows import BEYOND, METRICS, NOWHERE, Against, Keys, Rows, Space, strata
from laminal.probes.beyond_form import Beyond, controls_of, form_of, words_of
from laminal.probes.llm_words import Listener, heard_words, unfit
from laminal.probes.word_types import (
    STRATUM,
    Types,
    candidates,
    drawn,
    durations,
    phone_counts,
    type_means,
)
from laminal.results import Items, Score, Undefined
from laminal.teachers.mimo_audio import MimoAudio
from laminal.teachers.moshi import Moshi
from laminal.teachers.text import KINDS, open_text
from laminal.word_shards import Slice

FEWEST = 30  # word types
LAYER_BYTES = 300_000_000  # of centred kernel matrices held at once
SHOWN = 5  # words named in an error


@dataclass(frozen=True, slots=True)
class Sample:
    """Word types that have a text vector, their tokens, and their vectors in the three spaces, in one order; `lacks`: what has none."""

    types: Types
    text: Float[np.ndarray, "w d"]
    random: Float[np.ndarray, "w d"]
    phones: Float[np.ndarray, "w phones"]
    lacks: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What stands for the words' sound: a layer, with its keys, or a control in its place, with its name."""

    vectors: Float[np.ndarray, "w d"]
    control: str
    keys: Keys


class TextAlignment:
    """Debiased linear CKA of every layer's word types (each averaged over its tokens) with their vectors in a text space (PROBES.md).

    Settings: `text`, the text space; `random`, random vectors in its place (0 but for chance); `bag_of_phones`, how often each phone comes,
    in its place (how much of the layer is sound); `phones_as_speech`, the bag of phones in the layer's place (how much of the text space is
    sound); `llm_input`, where the text space is a speech language model that reads this codec, its own speech input in the layer's place.
    `duration_as_speech` is the logarithm of a word's length in seconds in the layer's place: function words are short, and text spaces keep
    them apart. `over_phones` and `over_duration` are CKA less theirs; `beyond_form` is CKA after a regression of both sides on form: counts
    of phones and letters, and powers of the log duration; `beyond_controls` after one on form, on the first two phones, on who says
    the word how often and on powers of the time at which it comes in its utterances. Measured on the split's test speakers, of all without
    a split.
    """

    name = "text_alignment"
    version = 2
    metrics = METRICS

    def __init__(
        self,
        corpus: Corpus,
        split: Split | None,
        *,
        text: Any,
        slices: Sequence[str],
        modes: Sequence[str],
        words: int,
        least: int,
        tokens: int,
        permutations: int,
        subsets: int,
        batch: int,
        draws: int,
        seed: int,
        cache: str | bool | None = None,
    ):
        """At most `words` types said `least` times or more, `tokens` tokens of each; `text` names a space, or is an object with `vectors`.

        `permutations` of the null, `subsets` of words at each point of the curve, `batch` words in a mini-batch, bootstrap `draws`. Raises
        RequestError for sizes that say nothing, and for a text space that is not there.
        """
        sizes = {"words": (words, FEWEST), "permutations": (permutations, 1000), "draws": (draws, 1000), "least": (least, 1)}
        sizes |= {"tokens": (tokens, 1), "subsets": (subsets, 1), "batch": (batch, 4)}
        for key, (value, lowest) in sizes.items():
            if value < lowest:
                raise RequestError(f"text_alignment.{key}={value}: at least {lowest}; raise it")
        self.corpus = corpus if split is None else corpus.subset(split.test_speakers)
        self.slices: tuple[Slice, ...] = _known(slices, get_args(Slice), "slices")
        self.modes: tuple[Mode, ...] = _known(modes, get_args(Mode), "modes")
        self.words, self.least, self.tokens, self.batch, self.subsets = words, least, tokens, batch, subsets
        self.permutations, self.draws, self.seed = permutations, draws, seed
        self.space = open_space(text) if isinstance(text, str) else text
        self.cache = open_cache(cache)

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every slice, mode and layer."""
        sample = self.sample
        if isinstance(sample, Undefined):
            yield sample
            return
        if sample.lacks:
            yield Undefined(probe=self.name, what="words", reason=sample.lacks)
        for slice in self.slices:
            found = word_features(codec, self.corpus, sample.types.tokens, slice, self.cache)
            yield from self._slice(sample, found, "text", self.modes, {"slice": slice})
        if isinstance(self.space, Listener):
            reason = unfit(codec, self.space)
            if reason:
                yield Undefined(probe=self.name, what=f"llm_input: {self.space.name}", reason=reason)
                return
            found = heard_words(codec, self.corpus, sample.types.tokens, self.space, self.cache)
            yield from self._slice(sample, found, "llm_input", ("cumulative",), {"slice": "features"})

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        sample = self.sample
        if self.cache is None or isinstance(sample, Undefined):
            return
        fill(codec, self.corpus, sample.types.tokens, self.slices, self.cache, share)
        if isinstance(self.space, Listener) and not unfit(codec, self.space):
            wanted = {token.utterance_id for token in sample.types.tokens}
            for utterance in [each for each in self.corpus if each.id in wanted][share[0] :: share[1]]:
                try:
                    utterance_frames(codec, self.corpus, utterance, (), self.cache)
                except DataError:
                    continue  # `run` names it

    @cached_property
    def sample(self) -> Sample | Undefined:
        """Words and vectors, chosen once: every checkpoint is measured on the same. Raises RequestError where no word has a vector."""
        said = candidates(self.corpus, self.least)
        vectors, there = self.space.vectors(list(said))
        finite = np.isfinite(vectors).all(1)
        broken = [word for row, word in enumerate(said) if there[row] and not finite[row]]
        there = there & finite
        lacks = f"text space {self.space.name}: the vectors of {len(broken)} words are not finite ({', '.join(broken[:SHOWN])}): left out"
        kept = {word: row for row, word in enumerate(said) if there[row]}
        if said and not kept:
            few = ", ".join(list(said)[:SHOWN])
            raise RequestError(
                f"text space {self.space.name}: it has none of the {len(said)} words of {self.corpus.name} ({few}, ...), which are English "
                "in lower case; give a space of such words"
            )
        if len(kept) < FEWEST:
            reason = f"{len(kept)} words of test speakers are said {self.least} times or more and have a vector in {self.space.name}; "
            return Undefined(probe=self.name, what="all", reason=f"{reason}at least {FEWEST} are needed: give more speech, or lower least")
        types = drawn({word: said[word] for word in kept}, self.words, self.tokens, self.seed)
        text = vectors[[kept[word] for word in types.words]]
        random = np.random.default_rng([self.seed, 14]).standard_normal(text.shape)
        return Sample(types, text, random, phone_counts(types.words), lacks if broken else "")

    def _slice(
        self, sample: Sample, found: WordFeatures, setting: str, modes: Sequence[Mode], keys: Keys
    ) -> Iterator[Score | Items | Undefined]:
        """Rows of one way to hear the words."""
        for utterance, reason in found.failed:
            yield Undefined(probe=self.name, what=f"{setting}, {keys['slice']}: {utterance}", reason=reason)
        kept = type_means(sample.types, found)[1]
        words = words_of(sample.types, kept)
        times = multiplicities(max(len(words), 1), self.draws, self.seed)
        rows = Rows(self.name, self.version, self.space.name, words, times, self.seed, keys)
        if len(words) < FEWEST:
            yield rows.undefined(setting, f"{len(words)} words could be read; at least {FEWEST} are needed: mend the corpus")
            return
        count = int(found.ok.sum())
        nan, share = float("nan"), found.empty / count
        where = "" if setting == "text" else setting
        yield rows.score("words_without_frame", where, (share, share, share), nan, False, NOWHERE, n=count, unit="fraction")
        try:
            spaces = {name: Space(name, vectors[kept]) for name, vectors in self._sides(sample, setting).items()}
        except DataError as error:
            yield rows.undefined(setting, f"{self.space.name}: {error}")
            return
        controls = {"phones_as_speech": sample.phones[kept], "duration_as_speech": durations(sample.types, found)[kept]}
        beyond = {}
        for metric, explaining in zip(BEYOND, (form_of, controls_of), strict=True):
            try:
                beyond[metric] = Beyond(
                    explaining(sample.types, found, kept),
                    spaces[setting],
                    self.permutations,
                    self.seed,
                    hollowed=metric == "beyond_controls",
                )
            except DataError as error:
                yield rows.undefined(f"{setting} {metric}", str(error))
        heard = [Heard(vectors, name, NOWHERE) for name, vectors in controls.items()]
        for mode in modes:
            features = found.in_mode(mode)
            means = type_means(sample.types, features)[0]
            heard += [Heard(layer, "", {"layer_mode": mode, "layer": name}) for name, layer in zip(features.layers, means, strict=True)]
        yield from self._heard(rows, spaces, setting, beyond, heard)

    def _sides(self, sample: Sample, setting: str) -> dict[str, Float[np.ndarray, "w d"]]:
        """Vectors of the other side by setting; a language model's input has its controls in those of `text`."""
        text = {setting: sample.text}
        return text if setting == "llm_input" else text | {"random": sample.random, "bag_of_phones": sample.phones}

    def _heard(
        self, rows: Rows, spaces: dict[str, Space], setting: str, beyond: dict[str, Beyond], heard: Sequence[Heard]
    ) -> Iterator[Score | Items | Undefined]:
        """Rows of the controls and of all layers, as many at once as memory allows: they share every permuted matrix."""
        controls: dict[str, Against] = {}
        block: list[Heard] = []
        units: list[np.ndarray] = []
        for number, each in enumerate(heard):
            try:
                units.append(unit(gram(each.vectors), True))
                block.append(each)
            except DataError as error:
                yield rows.undefined(each.control or setting, str(error), each.keys)
            if block and (number == len(heard) - 1 or len(units) * units[-1].nbytes > LAYER_BYTES):
                for one, found in zip(block, self._measured(units, block, spaces[setting], rows.words), strict=True):
                    if not one.control:
                        yield from self._layer(rows, spaces[setting], one, found, controls)
                        continue
                    controls[one.control] = found
                    if setting == "text":
                        yield from rows.against(one.control, found, NOWHERE)
                yield from self._others(rows, spaces, setting, beyond, [(one, each) for one, each in zip(block, units) if not one.control])
                block, units = [], []

    def _layer(
        self, rows: Rows, space: Space, one: Heard, found: Against, controls: dict[str, Against]
    ) -> Iterator[Score | Items | Undefined]:
        """Rows of one layer against the text space."""
        yield from rows.against(space.setting, found, one.keys)
        yield from rows.variants(space.setting, one.vectors, space, self.batch, one.keys)
        yield from rows.curve(space.setting, one.vectors, space, self.subsets, one.keys)
        yield rows.items(space.setting, found, one.keys)
        for name, other in controls.items():
            yield rows.over(space.setting, found, name, other, one.keys)

    def _others(
        self, rows: Rows, spaces: dict[str, Space], setting: str, beyond: dict[str, Beyond], layers: Sequence[tuple[Heard, np.ndarray]]
    ) -> Iterator[Score | Undefined]:
        """Rows of layers against what stands in the text space's place, and beyond form."""
        if not layers:
            return
        heard, units = [one for one, _ in layers], [each for _, each in layers]
        for name, space in spaces.items():
            if name != setting:
                for one, found in zip(heard, self._measured(units, heard, space, rows.words), strict=True):
                    yield from rows.against(name, found, one.keys)
        for metric, regressed in beyond.items():
            for one, partial in zip(heard, regressed.of([one.vectors for one in heard]), strict=True):
                if isinstance(partial, DataError):
                    yield rows.undefined(f"{setting} {metric}", str(partial), one.keys)
                else:
                    yield from rows.beyond(metric, setting, partial, one.keys)

    def _measured(self, units: Sequence[np.ndarray], heard: Sequence[Heard], space: Space, words: Sequence[str]) -> list[Against]:
        """Values of some layers against a space, with their nulls: each by one matrix product a batch of permutations."""
        n = len(words)
        orders = {"": permutations(n, self.permutations, [self.seed, 15])}
        if space.setting in ("text", "llm_input"):
            orders["_by_length"] = permutations(n, self.permutations, [self.seed, 16], merged(strata(words), STRATUM))
        nulls = {ending: permuted_products(units, space.ready, order) for ending, order in orders.items()}
        return [
            Against(
                float((each * space.ready).sum()), pseudo_values(gram(one.vectors), space.kernel),
                {ending: null[:, column] for ending, null in nulls.items()},
            )
            for column, (each, one) in enumerate(zip(units, heard, strict=True))
        ]  # fmt: skip


def open_space(text: str) -> Any:
    """Open the text space `text`: one of laminal.teachers.text, or a speech language model; raises RequestError where it is none."""
    kind, _, name = text.partition(":")
    match kind:
        case "moshi" | "moshi_user" if name:
            return Moshi(name, "user" if kind == "moshi_user" else "moshi")
        case "mimo_audio" if name:
            return MimoAudio(name)
        case "moshi" | "moshi_user" | "mimo_audio":
            raise RequestError(f"text={text}: name the model, as {kind}:FOLDER_OR_HUB_NAME")
    if kind not in {each.partition(":")[0] for each in KINDS.split(", ")}:
        raise RequestError(f"text={text} is no text space; give one of {KINDS}, moshi:NAME, moshi_user:NAME, mimo_audio:NAME")
    return open_text(text)


def _known(given: Sequence[str], known: Sequence[Any], key: str) -> tuple[Any, ...]:
    if unknown := [name for name in given if name not in known]:
        raise RequestError(f"text_alignment.{key}: {unknown[0]!r} is none of {', '.join(known)}")
    return tuple(known[known.index(name)] for name in given)
