"""How often 95 % intervals over few speakers hold the truth, by simulation: `python scripts/speaker_coverage.py [trials]`.

A speaker has a level and a spread of its utterances about it; errors over words are counts with a rate a speaker; codes say something of
phones, by habits of their own a speaker; voices are points, recordings are near them. Of each, the interval from percentiles of the
bootstrap over speakers, and the one that probes report (by the jackknife for what codes say and how many are in use). Then two equals
measured on the same utterances: how often their difference is called one at p < 0.05, 0.01 and 0.001.
"""

import sys

import numpy as np

from laminal.measures.bootstrap import LEVEL, ends, interval, jackknifed, multiplicities, pair_weights, stretch, t_spread
from laminal.measures.eer import equal_error_rate
from laminal.measures.units import perplexity
from laminal.probes.reconstruction import clustered_mean
from laminal.probes.unit_phones import Aligned

SPEAKERS, UTTERANCES, DRAWS = (4, 8, 16, 34), 4, 1000
LEVELS = (0.05, 0.01, 0.001)
Found = tuple[float, tuple[float, float], tuple[float, float]]  # value, percentiles, what is reported


def plain(draws: np.ndarray) -> tuple[float, float]:
    """Percentiles of the bootstrap alone."""
    low, high = interval(draws[:, None])
    return float(low[0]), float(high[0])


def narrowed(value: float, low: float, high: float, clusters: int) -> tuple[float, float]:
    """Undo the stretching."""
    return value + (low - value) / stretch(clusters), value + (high - value) / stretch(clusters)


def mean(rng: np.random.Generator, speakers: int) -> dict[str, Found]:
    """Mean of utterances' levels, as of PESQ, by the function of the reconstruction probe."""
    who = np.repeat(np.arange(speakers), UTTERANCES)
    value = rng.standard_normal(speakers)[who] + rng.standard_normal(len(who))
    found, low, high, _ = clustered_mean(value, np.ones(len(who)), [f"{each:03d}" for each in who], DRAWS, 0)
    return {"mean": (found, narrowed(found, low, high, speakers), (low, high))}


def errors(rng: np.random.Generator, speakers: int) -> dict[str, Found]:
    """Word errors over words, of speakers that differ much."""
    who = np.repeat(np.arange(speakers), UTTERANCES)
    words = rng.integers(5, 30, len(who)).astype(float)
    value = rng.poisson(words * 0.2 * rng.gamma(4, 0.25, speakers)[who]) / words
    found, low, high, _ = clustered_mean(value, words, [f"{each:03d}" for each in who], DRAWS, 0)
    return {"errors": (found, narrowed(found, low, high, speakers), (low, high))}


def codes(rng: np.random.Generator, speakers: int, phones: int = 20, size: int = 64, frames: int = 400) -> dict[str, Found]:
    """Say what codes tell of phones (PNMI) and how many are in use, by the functions of the units probe."""
    common = np.random.default_rng(0).dirichlet(np.full(size, 0.1), phones)
    heard, said = [], []
    for _ in range(speakers):
        own = 0.6 * common + 0.4 * rng.dirichlet(np.full(size, 0.1), phones)
        phone = rng.integers(phones, size=frames)
        edges = np.cumsum(own[phone], 1)
        heard.append(np.minimum((rng.random(frames)[:, None] > edges).sum(1), size - 1)[None])
        said.append(phone)
    aligned = Aligned.of(heard, said, [f"{each:03d}" for each in range(speakers)], phones, size)
    weights = np.concatenate([multiplicities(speakers, DRAWS // 4, 0), 1 - np.eye(speakers)])
    counts = np.stack([np.bincount(each[0], minlength=size) for each in heard])
    found = {name: (value, draws) for name, value, draws, _ in aligned.qualities(0, weights, [])}
    found["perplexity"] = float(perplexity(counts.sum(0)[None])[0]), perplexity(weights @ counts)
    return {
        name: (value, plain(draws[:-speakers] - draws[:-speakers].mean() + value), jackknifed(value, draws[-speakers:]))
        for name, (value, draws) in found.items()
    }


def voices(rng: np.random.Generator, speakers: int) -> dict[str, Found]:
    """Equal error rate of the pairs of all recordings."""
    who = np.repeat(np.arange(speakers), UTTERANCES)
    place = rng.standard_normal((speakers, 8))[who] + 0.7 * rng.standard_normal((len(who), 8))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    a, b = np.triu_indices(len(who), 1)
    score, same = (place[a] * place[b]).sum(1), who[a] == who[b]
    counts = np.concatenate([np.ones((1, speakers)), multiplicities(speakers, DRAWS // 4, 0)])
    weights = [pair_weights(counts, who[a[side]], who[b[side]]) for side in (same, ~same)]
    rates = equal_error_rate(score[same], score[~same], *weights)
    return {"eer": (float(rates[0]), plain(rates[1:]), ends(float(rates[0]), rates[1:], speakers))}


def called(rng: np.random.Generator, speakers: int) -> list[list[bool]]:
    """Whether the difference of two equals is called one at each level: by percentiles, by these stretched, by draws spread as t."""
    who = np.repeat(np.arange(speakers), UTTERANCES)
    value = rng.standard_normal(speakers)[who] + rng.standard_normal(len(who))
    counts = np.concatenate([np.ones((1, speakers)), multiplicities(speakers, DRAWS, 0)])[:, who]
    draws = counts @ value / counts.sum(1)
    stretched = draws[0] + stretch(speakers) * (draws - draws[0])
    kinds = draws, stretched, t_spread(draws, speakers, 0)
    p = [(1 + (np.abs(each[1:] - each[0]) >= abs(each[0])).sum()) / (1 + DRAWS) for each in kinds]
    return [[bool(each <= level) for level in LEVELS] for each in p]


def main(trials: int) -> None:
    """Print both tables."""
    print(f"share of {trials} intervals of {LEVEL:.0%} that hold the mean over all trials, and their mean width in standard deviations of")
    print("the value over trials (3.9 for a normal value whose deviation is known): percentiles; as reported")
    for draw in (mean, errors, codes, voices):
        for speakers in SPEAKERS:
            made = [draw(np.random.default_rng([speakers, trial]), speakers) for trial in range(trials)]
            for name in made[0]:
                found = [each[name] for each in made]
                values = np.array([value for value, *_ in found])
                cells = []
                for kind in (1, 2):
                    low, high = np.array([each[kind] for each in found]).T
                    held = ((low <= values.mean()) & (values.mean() <= high)).mean()
                    cells.append(f"{held:.3f} ({(high - low).mean() / values.std():.1f})")
                print(f"  {name:15}{speakers:2} speakers: {cells[0]}; {cells[1]}", flush=True)
    print(f"share of {trials} pairs of equals that are told apart at p <= {LEVELS}")
    for speakers in SPEAKERS:
        share = np.mean([called(np.random.default_rng([speakers, trial]), speakers) for trial in range(trials)], 0)
        told = (f"{kind} " + " ".join(f"{each:.4f}" for each in row) for kind, row in zip(("percentiles", "stretched", "as t"), share))
        print(f"  {speakers:2} speakers: " + "   ".join(told), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
