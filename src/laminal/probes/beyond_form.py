"""What a layer and a text space share beyond the form of words, or beyond all controls: CKA after a regression of both sides."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from laminal.errors import DataError
from laminal.features import WordFeatures
from laminal.measures.cka import gram, pseudo_values, unit
from laminal.measures.partial import complement, hollow, hollowing, within
from laminal.measures.permutations import permutations, permuted_products
from laminal.probes.alignment_rows import Partial, Space, strata
from laminal.probes.word_types import Types, duration_powers, phone_counts, phones_at, place_powers, speaker_shares

ONSET = (0, 1)  # places of the phones that a word begins with: text models read words in pieces, so words that begin alike are near


def form_of(types: Types, found: WordFeatures, kept: Bool[np.ndarray, " types"]) -> Float[np.ndarray, "w f"]:
    """Form of the words kept: counts of phones and letters, powers of the log duration."""
    words = words_of(types, kept)
    return np.concatenate([phone_counts(words), strata(words)[:, None], duration_powers(types, found)[kept]], axis=1)


def controls_of(types: Types, found: WordFeatures, kept: Bool[np.ndarray, " types"]) -> Float[np.ndarray, "w c"]:
    """Form, the first two phones, who says a word how often, and powers of the time at which it comes in its utterances."""
    said = [which(types, found)[kept] for which in (speaker_shares, place_powers)]
    return np.concatenate([form_of(types, found, kept), phones_at(words_of(types, kept), ONSET), *said], axis=1)


def words_of(types: Types, kept: Bool[np.ndarray, " types"]) -> list[str]:
    """Give the words kept, in their order."""
    return [word for word, there in zip(types.words, kept, strict=True) if there]


class Beyond:
    """Debiased CKA of layers with a space, both less what `given` explains.

    `hollowed`: kernels have a diagonal of zeros in words (see `hollow`), so that words heard more exactly than others are no bias, and
    intervals are sqrt(words / dimensions left) times as wide as those of the residuals (scripts/beyond_coverage.py has both).
    """

    def __init__(self, given: Float[np.ndarray, "w f"], space: Space, permutations_: int, seed: int, hollowed: bool):
        """Turn the space; raises DataError where the words are too few, or `given` explains all of it."""
        self.basis = complement(given)
        self.hollowing = hollowing(self.basis) if hollowed else None
        self.stretch = float(np.sqrt(len(given) / self.basis.shape[1])) if hollowed else 1.0
        self.inside = self._turned(space.kernel)
        self.unit = unit(self.inside, True)
        self.residual = self.basis @ self.inside @ self.basis.T
        self.orders = permutations(len(self.inside), permutations_, [seed, 17])

    def of(self, layers: Sequence[Float[np.ndarray, "w d"]]) -> list[Partial | DataError]:
        """Measure layers; what is undefined is given with its reason."""
        found: list[Partial | DataError] = []
        units, places = [], []
        for layer in layers:
            inside = self._turned(gram(layer))
            try:
                units.append(unit(inside, True))
                pseudo = pseudo_values(self.basis @ inside @ self.basis.T, self.residual)
            except DataError as error:
                found.append(error)
                continue
            places.append(len(found))
            tested = float((units[-1] * self.unit).sum())
            value = tested if self.hollowing is None else cosine(inside, self.inside)
            found.append(Partial(value, pseudo, np.zeros(0), tested, self.stretch))
        null = permuted_products(units, self.unit, self.orders) if units else np.zeros((0, 0))
        for column, place in enumerate(places):
            found[place] = replace(found[place], null=null[:, column])  # type: ignore[type-var]
        return found

    def _turned(self, kernel: Float[np.ndarray, "w w"]) -> Float[np.ndarray, "m m"]:
        return within(kernel, self.basis) if self.hollowing is None else hollow(kernel, self.basis, self.hollowing)


def cosine(a: Float[np.ndarray, "m m"], b: Float[np.ndarray, "m m"]) -> float:
    """Product of two matrices over their norms."""
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
