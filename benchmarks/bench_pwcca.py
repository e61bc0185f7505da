"""PWCCA of 120 gridlines against 32 layers of 512 dimensions at n = 20,000: additive sums in one pass against two thin SVDs a layer.

The layers share 40 directions with the gridlines, and noise; the SVD route is timed on some of the layers and scaled to all 32.
Both run on the threads that there are; the values must agree to 1e-8.
"""

import time

import numpy as np

from laminal.measures.cca import CcaStats, pwcca

N, LINES, LAYERS, WIDTH, SHARED = 20_000, 120, 32, 512, 40
CHUNK, TIMED = 5_000, 3


def layer(cause: np.ndarray, number: int) -> np.ndarray:
    """Make features in float32, as codecs give them."""
    rng = np.random.default_rng(number)
    made = cause @ rng.standard_normal((SHARED, WIDTH)) + 3 * rng.standard_normal((N, WIDTH))
    return made.astype(np.float32)


def one_pass(lines: np.ndarray, layers: list[np.ndarray]) -> list[float]:
    """Read the frames once, a chunk at a time, as a stream of tracks gives them."""
    stats: list[CcaStats | None] = [None] * len(layers)
    for begin in range(0, N, CHUNK):
        part = np.s_[begin : begin + CHUNK]
        for number, features in enumerate(layers):
            here = CcaStats.of(lines[part], features[part])
            before = stats[number]
            stats[number] = here if before is None else before + here
    return [each.pwcca().pwcca for each in stats if each is not None]


def run() -> list[dict]:
    rng = np.random.default_rng(0)
    cause = rng.standard_normal((N, SHARED))
    lines = cause @ rng.standard_normal((SHARED, LINES)) + rng.standard_normal((N, LINES))
    layers = [layer(cause, number) for number in range(LAYERS)]
    start = time.perf_counter()
    found = one_pass(lines, layers)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    plain = [pwcca(lines, features).pwcca for features in layers[:TIMED]]
    reference = (time.perf_counter() - start) * LAYERS / TIMED
    np.testing.assert_allclose(found[:TIMED], plain, atol=1e-8)
    what = f"PWCCA, {LINES} lines, {LAYERS} layers x {WIDTH} at n = {N:,}, against SVDs"
    return [{"what": what, "ours_s": ours, "reference_s": reference, "ratio": reference / ours, "target": ">= 5"}]
