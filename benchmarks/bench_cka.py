"""CKA: a null of 1,000 permutations for all layers by one matrix product a batch, against a loop that computes CKA anew each time.

The loop is timed on a few permutations and scaled; it is given its Gram matrices, so that it does no more than it must.
"""

import numpy as np
from timing import seconds

from laminal.measures.cka import gram, linear_cka, similarity, unit
from laminal.measures.permutations import permutations, permuted_products

WORDS, LAYERS, SPEECH, TEXT, COUNT, LOOPED = 500, 8, 512, 384, 1000, 5


def run() -> list[dict]:
    random = np.random.default_rng(0)
    layers = [random.standard_normal((WORDS, SPEECH)) for _ in range(LAYERS)]
    text = random.standard_normal((WORDS, TEXT))
    drawn = permutations(WORDS, COUNT, 0)
    grams, other = [gram(layer) for layer in layers], gram(text)

    def ours() -> np.ndarray:
        return permuted_products([unit(each, True) for each in grams], unit(other, True), drawn)

    def from_grams() -> np.ndarray:
        return np.array([[similarity(each, other[np.ix_(order, order)]) for each in grams] for order in drawn[:LOOPED]])

    def from_features() -> np.ndarray:
        return np.array([[linear_cka(layer, text[order]) for layer in layers] for order in drawn[:LOOPED]])

    np.testing.assert_allclose(ours()[:LOOPED], from_grams(), atol=1e-10)
    mine = seconds(ours)
    rows = []
    for name, loop in (("its Gram matrices", from_grams), ("the features", from_features)):
        theirs = seconds(loop) * COUNT / LOOPED
        what = f"CKA null of {COUNT:,} permutations, {LAYERS} layers, {WORDS} words, against a loop from {name}"
        rows.append({"what": what, "ours_s": mine, "reference_s": theirs, "ratio": theirs / mine, "target": 5})
    return rows


if __name__ == "__main__":
    for row in run():
        print("{what}: {ours_s:.3f} s, {reference_s:.3f} s, ratio {ratio:.1f} (target {target})".format(**row))
