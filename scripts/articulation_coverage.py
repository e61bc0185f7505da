"""How often 95 % intervals of the articulation probe hold the truth, by simulation: `python scripts/articulation_coverage.py [trials]`.

A speaker's tract is a few slow signals; two layers of features follow it equally well, each under noise whose strength differs between
speakers. The truth of a level is its mean over all trials, that of the difference between the layers is 0. A third layer follows the tract
half a frame late, so that lag 0 and one frame before it are equally good, and the gain of the best lag is nothing but chance. Percentiles
of the bootstrap over speakers are held against what the probe reports: stretched ones for levels, Student's t over speakers for
differences and gains.
"""

import sys
from dataclasses import dataclass

import numpy as np

from laminal.measures.bootstrap import half_widths, interval, multiplicities, stretched
from laminal.measures.cca import fold_of_groups
from laminal.measures.heldout import HeldOut, Track

CASES = {"2, 12": [6, 6], "3, 12": [4, 4, 4], "6, 8": [2, 2, 1, 1, 1, 1], "6, 24": [4] * 6, "16, 64": [4] * 16}  # speakers, tracks: of each
FRAMES, CAUSES, LINES, WIDE, RANK, FOLDS, DRAWS = 300, 6, 12, 16, (6, 12), 5, 1000
NOISE, SPREAD = 2.0, 0.3  # of the features; of its logarithm between speakers
LAGS = (-2, -1, 0, 1, 2)  # frames
MIX, TURN = np.random.default_rng(0).standard_normal((CAUSES, LINES)), np.random.default_rng(1).standard_normal((LINES, WIDE)) / 3
LAYERS, LATE = ["a", "b"], "late"


@dataclass(frozen=True)
class Found:
    """One trial: the level of layer a with both intervals, half-widths of its difference from b, of the gain of its best lag."""

    level: float
    percentiles: tuple[float, float]
    stretched: tuple[float, float]
    difference: float
    difference_percentiles: tuple[float, float]
    difference_half: float
    gain: float
    gain_half: float


def slow(rng: np.random.Generator, rows: int, columns: int, width: int = 9) -> np.ndarray:
    """Signals that change slowly, of variance 1."""
    noise = rng.standard_normal((columns, rows + width - 1)) / np.sqrt(width)
    return np.stack([np.convolve(each, np.ones(width), mode="valid") for each in noise], 1)


def trial(seed: int, tracks_of: list[int], lags: tuple[int, ...] = (0,)) -> Found:
    """Draw speakers and measure them as the probe does."""
    rng = np.random.default_rng(seed)
    margin = max(lags)
    made, speakers = [], []
    for speaker, count in enumerate(tracks_of):
        strength = NOISE * np.exp(SPREAD * rng.standard_normal(len(LAYERS)))
        for _ in range(count):
            tract = slow(rng, FRAMES + 2 * margin, CAUSES) @ MIX + 0.3 * slow(rng, FRAMES + 2 * margin, LINES)
            x = tract[margin : margin + FRAMES]
            features = {name: x @ TURN + each * slow(rng, FRAMES, WIDE) for name, each in zip(LAYERS, strength)}
            if margin:
                features[LATE] = (x + tract[margin - 1 :][:FRAMES]) / 2 @ TURN + strength[0] * slow(rng, FRAMES, WIDE)
            made.append((tract, x, features))
            speakers.append(speaker)
    fold = fold_of_groups([f"{number:03d}" for number in range(len(made))], [FRAMES] * len(made), FOLDS)
    engine = HeldOut(list(made[0][2]), FOLDS, RANK, 1, 0, [float(lag) for lag in lags], [LATE])
    tracks = [
        Track(x, {float(lag): tract[margin + lag :][:FRAMES] for lag in lags}, int(fold[number]), np.array([50]), speakers[number])
        for number, (tract, x, _) in enumerate(made)
    ]
    for step in (lambda *given: engine.learn(*given, ""), engine.weigh):
        for track, (_, _, features) in zip(tracks, made, strict=True):
            step(track, features)
        if not engine.names:
            engine.ready()
    held = engine.finish()
    drawn = held.weighted(multiplicities(len(tracks_of), DRAWS, 0))
    ends = interval(drawn)
    wider = stretched(held.values, *ends, len(tracks_of))
    apart = interval(drawn[:, [0]] - drawn[:, [1]])
    own = held.weighted(np.eye(len(tracks_of)))
    gain, half = 0.0, 1.0
    if len(lags) > 1:
        value, each = held.at_lags(LATE, np.ones((1, len(tracks_of))))[0], held.at_lags(LATE, np.eye(len(tracks_of)))
        best, zero = int(value.argmax()), lags.index(0)
        gain = float(value[best] - value[zero])
        half = float(half_widths(each[:, [best]] - each[:, [zero]])[0])
    return Found(
        float(held.values[0]), (float(ends[0][0]), float(ends[1][0])), (float(wider[0][0]), float(wider[1][0])),
        float(held.values[0] - held.values[1]), (float(apart[0][0]), float(apart[1][0])), float(half_widths(own[:, [0]] - own[:, [1]])[0]),
        gain, half,
    )  # fmt: skip


def shares(found: list[Found]) -> dict[str, float]:
    """Share of trials whose interval holds the mean level, and whose difference or gain leaves out 0 though there is none."""
    truth = np.mean([each.level for each in found])
    made = {
        "percentiles": [each.percentiles[0] <= truth <= each.percentiles[1] for each in found],
        "stretched": [each.stretched[0] <= truth <= each.stretched[1] for each in found],
        "difference_percentiles": [not each.difference_percentiles[0] <= 0 <= each.difference_percentiles[1] for each in found],
        "difference_t": [abs(each.difference) > each.difference_half for each in found],
        "gain_t": [each.gain > each.gain_half for each in found],
    }
    return {name: float(np.mean(each)) for name, each in made.items()}


def main(trials: int) -> None:
    """Print a table, a row for each number of speakers and tracks."""
    print("| speakers, tracks | level held: percentiles, stretched | told apart in error: percentiles, t | late in error: t |")
    print("|---|---|---|---|")
    for name, tracks_of in CASES.items():
        of = shares([trial(seed, tracks_of, LAGS) for seed in range(trials)])
        pairs = [("percentiles", "stretched"), ("difference_percentiles", "difference_t"), ("gain_t",)]
        print(f"| {name} | " + " | ".join(", ".join(f"{of[each]:.2f}" for each in pair) for pair in pairs) + " |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
