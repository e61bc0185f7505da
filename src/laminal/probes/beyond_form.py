"""What a layer and a text space share beyond the form of words: CKA after a regression of both on it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from laminal.errors import DataError
from laminal.measures.cka import gram, pseudo_values, unit
from laminal.measures.partial import complement, within
from laminal.measures.permutations import permutations, permuted_products
from laminal.probes.alignment_rows import Partial, Space


class Beyond:
    """Debiased CKA of layers with a space, both less what form explains."""

    def __init__(self, form: Float[np.ndarray, "w f"], space: Space, permutations_: int, seed: int):
        """Turn the space; raises DataError where the words are too few, or form explains all of it."""
        self.basis = complement(form)
        self.turned = unit(within(space.kernel, self.basis), True)
        self.residual = self.basis @ within(space.kernel, self.basis) @ self.basis.T
        self.orders = permutations(len(self.turned), permutations_, [seed, 17])

    def of(self, layers: Sequence[Float[np.ndarray, "w d"]]) -> list[Partial | DataError]:
        """Measure layers; what is undefined is given with its reason."""
        found: list[Partial | DataError] = []
        units, places = [], []
        for layer in layers:
            inside = within(gram(layer), self.basis)
            try:
                units.append(unit(inside, True))
                pseudo = pseudo_values(self.basis @ inside @ self.basis.T, self.residual)
            except DataError as error:
                found.append(error)
                continue
            places.append(len(found))
            found.append(Partial(float((units[-1] * self.turned).sum()), pseudo, np.zeros(0)))
        null = permuted_products(units, self.turned, self.orders) if units else np.zeros((0, 0))
        for column, place in enumerate(places):
            found[place] = replace(found[place], null=null[:, column])  # type: ignore[type-var]
        return found
