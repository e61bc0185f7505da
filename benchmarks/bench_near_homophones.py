"""Near-homophones of 3,000 words: ours (whole, with the synonym and lemma filters) against the published double loop with jiwer.

The loop is timed on a part of its pairs and scaled to all 4,498,500; it takes first pronunciations and filters nothing, so the ratio errs
against us. A loop over rapidfuzz's own scorer is there too: what is gained by not looping.
"""

import random
import time
from collections.abc import Callable, Sequence
from itertools import combinations, islice

import jiwer
from rapidfuzz.distance import Levenshtein

from laminal.lexicon import pairs, pronounce, wordnet

WORDS = 3000


def jiwer_distance(x: Sequence[str], y: Sequence[str]) -> float:
    found = jiwer.process_words(" ".join(x), " ".join(y))
    return (found.substitutions + found.deletions + found.insertions) / max(len(x), len(y))


def rapidfuzz_distance(x: Sequence[str], y: Sequence[str]) -> float:
    return Levenshtein.distance(x, y) / max(len(x), len(y))


def loop(words: Sequence[str], distance: Callable[[Sequence[str], Sequence[str]], float], timed: int) -> float:
    """Seconds of the double loop over all pairs, from `timed` of them."""
    phones = {word: pronounce.pronunciations(word)[0] for word in words}
    chosen = list(islice(combinations(random.Random(1).sample(words, len(words)), 2), timed))
    start = time.perf_counter()
    near = {}
    for a, b in chosen:
        apart = distance(phones[a], phones[b])
        if 0 < apart <= pairs.NEAR:
            near[a, b] = apart
    return (time.perf_counter() - start) * len(words) * (len(words) - 1) / 2 / timed


def run() -> list[dict]:
    known = sorted(word for word in pronounce.words() if word.isalpha() and wordnet.lemmas(word))
    words = random.Random(0).sample(known, WORDS)
    times = []
    for _ in range(3):
        wordnet.ranks.cache_clear()
        start = time.perf_counter()
        pairs.near_homophones(words)
        times.append(time.perf_counter() - start)
    ours = sorted(times)[1]
    rows = []
    for name, distance, timed, target in (("jiwer", jiwer_distance, 20_000, 100), ("rapidfuzz", rapidfuzz_distance, 200_000, None)):
        reference = loop(words, distance, timed)
        what = f"near-homophones of {WORDS} words against a {name} double loop (timed on {timed:,} pairs, scaled)"
        rows.append({"what": what, "ours_s": ours, "reference_s": reference, "ratio": reference / ours, "target": target})
    return rows


if __name__ == "__main__":
    for row in run():
        times = f"ours {row['ours_s']:.3f} s, reference {row['reference_s']:.1f} s"
        print(f"{row['what']}: {times}, ratio {row['ratio']:.0f}, target {row['target']}")
