"""How often the 95 % interval of debiased CKA holds the truth, on simulated words: `python scripts/cka_coverage.py [trials]`.

Words are drawn from a population whose CKA is known from 40,000 of them. Three intervals: rows drawn with replacement (copies of a word on
both sides), the same with pairs of copies left out, and pseudo-values drawn with replacement, which is what the probe reports.
"""

import sys

import numpy as np

from laminal.measures.bootstrap import interval, multiplicities
from laminal.measures.cka import CkaStats, gram, linear_cka, pseudo_values

DRAWS, LARGE = 300, 40_000
WIDTHS = (256, 384)  # of speech and text
SHARED = 8


def population(strength: float, seed: int):
    """Give a function that draws n words: spectra that fall like 1 / k, and `strength` of a shared part of 8 dimensions."""
    random = np.random.default_rng(seed)
    p, q = WIDTHS
    turns = [random.standard_normal((SHARED, width)) / np.sqrt(SHARED) for width in (p, q)]

    def words(n: int, draw: np.random.Generator):
        shared = draw.standard_t(5, (n, SHARED))  # heavier tails than normal ones: frequent words are far out
        return [
            strength * shared @ turn + draw.standard_normal((n, width)) * np.arange(1, width + 1) ** -0.5
            for turn, width in zip(turns, (p, q), strict=True)
        ]

    return words


def weighted(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Debiased CKA with words counted several times, and no pair of a word with its own copy."""
    n = weights.sum()
    off = [each - np.diag(np.diag(each)) for each in (a, b)]

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        rows = [each @ weights for each in (k, m)]
        pairs = weights @ (k * m) @ weights
        return pairs - 2 / (n - 2) * (weights * rows[0]) @ rows[1] + (weights @ rows[0]) * (weights @ rows[1]) / ((n - 1) * (n - 2))

    with np.errstate(invalid="ignore"):
        return hsic(*off) / np.sqrt(hsic(off[0], off[0]) * hsic(off[1], off[1]))


def main(trials: int) -> None:
    """Print a table: truth, mean estimate, and coverage and mean width of each interval."""
    print("| n | true CKA | mean estimate | rows: coverage, width | copies apart | pseudo-values |")
    print("|---|---|---|---|---|---|")
    for strength in (0.0, 0.03, 0.05, 0.08, 0.15):
        words = population(strength, 1)
        truth = 0.0
        if strength:
            parts = [CkaStats.of(*words(LARGE // 10, np.random.default_rng([7, part]))) for part in range(10)]
            truth = sum(parts[1:], parts[0]).cka()
        for n in (100, 300):
            values, found = [], []
            for trial in range(trials):
                draw = np.random.default_rng([n, trial])
                x, y = words(n, draw)
                a, b = gram(x), gram(y)
                values.append(linear_cka(x, y))
                times = multiplicities(n, DRAWS, trial)
                rows = [np.repeat(np.arange(n), each.astype(int)) for each in times[:60]]
                naive = np.array([linear_cka(x[each], y[each]) for each in rows])
                apart = np.array([weighted(a, b, each) for each in times[:60]])
                pseudo = times @ pseudo_values(a, b) / n
                found.append([[float(bound[0]) for bound in interval(each[:, None])] for each in (naive, apart, pseudo)])
            bounds = np.array(found)
            inside = ((bounds[..., 0] <= truth) & (truth <= bounds[..., 1])).mean(0)
            width = (bounds[..., 1] - bounds[..., 0]).mean(0)
            cells = " | ".join(f"{100 * share:.0f} %, {size:.3f}" for share, size in zip(inside, width))
            print(f"| {n} | {truth:.3f} | {np.mean(values):.3f} | {cells} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
