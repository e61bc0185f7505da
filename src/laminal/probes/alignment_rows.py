"""The rows of text_alignment: one layer's words against one space of vectors, as scores with intervals and chance levels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from laminal.errors import DataError
from laminal.measures.bootstrap import half_widths, interval
from laminal.measures.cka import Gram, batch_products, gram, of_products, pseudo_values, rbf_gram, similarity, unit
from laminal.results import Items, Score, Undefined

Keys = Mapping[str, str]  # key columns of a row
NOWHERE: Keys = {}
SIZES = (50, 100, 200, 500, 1000, 2000)  # words of the curve over n
IN_PLACE_OF_SPEECH = ("phones_as_speech", "duration_as_speech")
BEYOND = ("beyond_form", "beyond_controls")  # CKA after a regression of both sides on form, or on that and more
_EVERY = ("cka", "null", "delta", "z", "p")
_TEXT = (
    *(f"{name}_by_length" for name in _EVERY[1:]), "cka_biased", "cka_minibatch", "cka_rbf", "over_phones", "over_duration",
    *(f"{p}{name}" for name in BEYOND for p in ("", "p_")), *(f"cka_at_{size}" for size in SIZES),
)  # fmt: skip
METRICS = {  # what a score can be called, as setting/metric, and whether it is of a layer
    **{f"{setting}/{metric}": True for setting in ("text", "llm_input") for metric in (*_EVERY, *_TEXT)},
    **{f"{setting}/{metric}": True for setting in ("bag_of_phones", "random") for metric in _EVERY},
    **{
        f"{control}/{metric}": False
        for control in IN_PLACE_OF_SPEECH
        for metric in (*_EVERY, *(f"{name}_by_length" for name in _EVERY[1:]))
    },
    "words_without_frame": False,
}


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors of the words on the other side: their kernel matrix, as it is and made ready for many products."""

    setting: str
    vectors: Float[np.ndarray, "w d"]
    kernel: Gram = field(init=False)
    ready: Gram = field(init=False)

    def __post_init__(self) -> None:
        """Compute the kernel once for all layers; raises DataError where the vectors do not vary."""
        object.__setattr__(self, "kernel", gram(self.vectors))
        object.__setattr__(self, "ready", unit(self.kernel, True))


@dataclass(frozen=True, slots=True)
class Against:
    """Debiased CKA of one layer against one space: the value, its pseudo-values (their mean is the value), and its nulls."""

    value: float
    pseudo: Float[np.ndarray, " w"]
    nulls: dict[str, Float[np.ndarray, " count"]]  # by the ending of their metrics


@dataclass(frozen=True, slots=True)
class Partial:
    """Debiased CKA of what a regression leaves of a layer and of a space, its null, and pseudo-values of the residuals.

    `tested` is the value as the null has it; intervals of the pseudo-values are `stretch` times as wide as they come.
    """

    value: float
    pseudo: Float[np.ndarray, " w"]
    null: Float[np.ndarray, " count"]
    tested: float
    stretch: float

    @property
    def p(self) -> float:
        """How often the null is as large."""
        return p_value(self.tested, self.null)


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes the rows of one slice; `times` says how often each word comes up in each bootstrap draw."""

    probe: str
    version: int
    label: str  # of the text space
    words: Sequence[str]
    times: Float[np.ndarray, "draws w"]
    seed: int
    keys: Keys

    def against(self, setting: str, found: Against, keys: Keys) -> Iterator[Score | Undefined]:
        """CKA, its null distributions, and what it is beyond them."""
        null = found.nulls[""]
        better = True if setting in ("text", "llm_input") else None
        low, high = self.interval(found.pseudo)
        if not np.isfinite([low, high]).all():
            yield self.undefined(f"{setting} cka", "without some of the words the features do not vary", keys)
            return
        yield self.score("cka", setting, (found.value, low, high), float(null.mean()), better, keys)
        for ending, drawn in found.nulls.items():
            mean, spread = float(drawn.mean()), float(drawn.std(ddof=1))
            bounds = [float(each) for each in np.quantile(drawn, [0.025, 0.975])]
            nan = float("nan")
            yield self.score(f"null{ending}", setting, (mean, *bounds), nan, None, keys)
            beyond = [each - mean for each in (found.value, low, high)]
            yield self.score(f"delta{ending}", setting, tuple(beyond), 0.0, better, keys)
            p = p_value(found.value, drawn)
            yield self.score(f"p{ending}", setting, (p, p, p), nan, None, keys, unit="probability")
            if spread > 0:
                yield self.score(f"z{ending}", setting, tuple(each / spread for each in beyond), 0.0, better, keys, unit="null spreads")

    def variants(self, setting: str, layer: Float[np.ndarray, "w d"], space: Space, batch: int, keys: Keys) -> Iterator[Score | Undefined]:
        """Biased, RBF and mini-batch CKA; chance is the mean over all permutations, which the first two have in closed form."""
        own = gram(layer)
        yield from self._other("cka_biased", setting, own, space.kernel, False, keys)
        try:
            kernels = rbf_gram(layer), rbf_gram(space.vectors)
        except DataError as error:
            yield self.undefined(f"{setting} cka_rbf", str(error), keys)
        else:
            yield from self._other("cka_rbf", setting, *kernels, True, keys)
        parts = batch_products(own, space.kernel, batch)
        if parts.shape[1] < 3:
            yield self.undefined(f"{setting} cka_minibatch", f"{len(own)} words are fewer than 3 batches of {batch}; lower batch", keys)
            return
        try:
            value = of_products(parts.sum(1))
            left = np.array([of_products(parts.sum(1) - part) for part in parts.T])
        except DataError as error:
            yield self.undefined(f"{setting} cka_minibatch", str(error), keys)
            return
        pseudo = value + (len(left) - 1) * (left.mean() - left)
        half = float(half_widths(pseudo[:, None])[0])  # percentiles of 3 and 9 batches held the truth in 0.75 and 0.88
        bounds = [max(value - half, -1.0), min(value + half, 1.0)]
        yield self.score("cka_minibatch", setting, (value, *bounds), 0.0, True, keys, clusters=len(left))

    def curve(self, setting: str, layer: Float[np.ndarray, "w d"], space: Space, subsets: int, keys: Keys) -> Iterator[Score | Undefined]:
        """Debiased CKA of some of the words: mean over random choices, and where 95 % of them lie."""
        own, n = gram(layer), len(layer)
        for size in (size for size in SIZES if size < n):
            random = np.random.default_rng([self.seed, 13, size])
            rows = [random.choice(n, size, replace=False) for _ in range(subsets)]
            try:
                found = [similarity(own[np.ix_(row, row)], space.kernel[np.ix_(row, row)]) for row in rows]
            except DataError as error:
                yield self.undefined(f"{setting} cka_at_{size}", str(error), keys)
                continue
            low, high = (float(each) for each in np.quantile(found, [0.025, 0.975]))
            yield self.score(f"cka_at_{size}", setting, (float(np.mean(found)), low, high), 0.0, True, keys, n=size, clusters=size)

    def over(self, setting: str, found: Against, control: str, other: Against, keys: Keys) -> Score:
        """Difference to the CKA of a control, their words drawn alike."""
        low, high = self.interval(found.pseudo - other.pseudo)
        return self.score(f"over_{control.removesuffix('_as_speech')}", setting, (found.value - other.value, low, high), 0.0, True, keys)

    def beyond(self, metric: str, setting: str, found: Partial, keys: Keys) -> Iterator[Score | Undefined]:
        """CKA of what a regression leaves, with its own null; its spread is that of the residuals' pseudo-values."""
        low, high = self.interval(found.stretch * (found.pseudo - found.pseudo.mean()) + found.value)
        if not np.isfinite([low, high]).all():
            yield self.undefined(f"{setting} {metric}", "without some of the words the features do not vary", keys)
            return
        yield self.score(metric, setting, (found.value, low, high), float(found.null.mean()), True, keys)
        yield self.score(f"p_{metric}", setting, (found.p,) * 3, float("nan"), None, keys, unit="probability")

    def items(self, setting: str, found: Against, keys: Keys) -> Items:
        """Give what each word adds to CKA."""
        facts: dict[str, Any] = {**self.keys, **keys}
        return Items(
            probe=self.probe, metric="cka", setting=setting, a=self.words, b=[self.label] * len(self.words), value=found.pseudo,
            cluster=self.words, seed=self.seed, probe_version=self.version, **facts,
        )  # fmt: skip

    def interval(self, pseudo: Float[np.ndarray, " w"]) -> tuple[float, float]:
        """Bootstrap over words of the mean of pseudo-values."""
        low, high = interval((self.times @ pseudo / len(pseudo))[:, None])
        return float(low[0]), float(high[0])

    def score(
        self, metric: str, setting: str, numbers: Sequence[float], chance: float, better: bool | None, keys: Keys, **facts: Any
    ) -> Score:
        """One row."""
        value, low, high = (float(each) for each in numbers)
        plain: dict[str, Any] = {"n": len(self.words), "clusters": len(self.words), "unit": f"CKA with {self.label}"}
        facts = {**plain, **self.keys, **keys, **facts}
        return Score(
            probe=self.probe, metric=metric, setting=setting, value=value, low=low, high=high, chance=chance, higher_is_better=better,
            seed=self.seed, probe_version=self.version, **facts,
        )  # fmt: skip

    def undefined(self, what: str, reason: str, keys: Keys = NOWHERE) -> Undefined:
        """Name what has no row, and where."""
        where = "/".join(filter(None, {**self.keys, **keys}.values()))
        return Undefined(probe=self.probe, what=f"{what}: {where}", reason=reason)

    def _other(self, metric: str, setting: str, own: Gram, other: Gram, debiased: bool, keys: Keys) -> Iterator[Score | Undefined]:
        try:
            a, b = unit(own, debiased), unit(other, debiased)
            value, pseudo = float((a * b).sum()), pseudo_values(own, other, debiased)
        except DataError as error:
            yield self.undefined(f"{setting} {metric}", str(error), keys)
            return
        chance = float(np.trace(a) * np.trace(b)) / (len(a) - 1)  # of centred matrices: mean over all permutations
        yield self.score(metric, setting, (value, *self.interval(pseudo)), chance, True, keys)


def p_value(value: float, null: Float[np.ndarray, " count"]) -> float:
    """Share of a permutation null, and of the value itself, that is at least the value."""
    return (1 + int((null >= value).sum())) / (1 + len(null))


def strata(words: Sequence[str]) -> Int[np.ndarray, " w"]:
    """Count the letters of each word."""
    return np.array([len(word) for word in words], dtype=np.int64)
