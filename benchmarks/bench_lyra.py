"""word_pairs with Lyra V2, which encodes 180 x faster than real time on one core: cold against its encoder alone, warm against cold.

One thread; processor time, of three turns the median of each ratio. The encoder's time is taken inside the cold probing, call by call:
a machine drifts by more than is measured here. It is a fresh interpreter for every word (or utterance) and its frames in order (its state
cannot be set back), without and with the choice of codes in 46 codebooks. Needs the weights in $LAMINAL_WEIGHTS/lyra_v2 (default
../shared/weights); no rows where they are not there.
"""

import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_word_pairs import SLICES, probe, row, speech
from timing import seconds

from laminal import parallel
from laminal.codecs.lyra import LyraCodec
from laminal.corpora.base import Corpus
from laminal.features import features_by_slice

ROOT = Path(__file__).resolve().parents[1]
TURNS = 3


def run() -> list[dict]:
    folder = Path(os.environ.get("LAMINAL_WEIGHTS", ROOT / ".." / "shared" / "weights")) / "lyra_v2"
    if not folder.is_dir():
        return []
    codec = LyraCodec(folder)
    with parallel.one_thread():
        turns = [turn(speech(), codec) for _ in range(TURNS)]
    return [median(rows) for rows in zip(*turns, strict=True)]


def turn(corpus: Corpus, codec: LyraCodec) -> list[dict]:
    inside: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        kept = probe(corpus, place)
        sample = kept.sample(0)
        cold = seconds(lambda: timed(codec, inside, lambda: list(kept.run(codec))))
        warm = seconds(lambda: list(kept.run(codec)))
        words: dict = {}
        looked = seconds(lambda: words.update(features_by_slice(codec, corpus, sample.tokens, SLICES, kept.cache)))
    pairs = seconds(lambda: list(probe(corpus, None).scored(sample, words, 0)))
    alone, coded = inside["_latent"], inside["codes_and_latent"]
    return [
        row("Lyra cold / encoder with its quantizer", cold, coded, cold / coded, "<= 1.2"),
        row("Lyra cold / encoder network alone", cold, alone, cold / alone, "<= 1.2"),
        row("Lyra cold without the pair stage / encoder network alone", cold - pairs, alone, (cold - pairs) / alone, "<= 1.2"),
        row("Lyra warm, x faster than cold", warm, cold, cold / warm, ">= 30"),
        row("Lyra features alone warm, x faster than cold", looked, cold, cold / looked, None),
    ]


def timed(codec: LyraCodec, spent: Counter[str], work: Callable[[], object]) -> None:
    """Do `work` and add up what the codec's calls take in it."""

    def watched(name: str) -> Callable[[Any], Any]:
        inner = getattr(codec, name)

        def call(wav: Any) -> Any:
            begun = time.thread_time()
            found = inner(wav)
            spent[name] += time.thread_time() - begun
            return found

        return call

    names = ("_latent", "codes_and_latent")
    vars(codec).update({name: watched(name) for name in names})
    work()
    for name in names:
        delattr(codec, name)


def median(rows: tuple[dict, ...]) -> dict:
    """Give the turn whose ratio is in the middle."""
    middle = statistics.median_low(each["ratio"] for each in rows)
    return next(each for each in rows if each["ratio"] == middle)


if __name__ == "__main__":
    for found in run():
        print("{what}: {ours_s:.3f} s, {reference_s:.3f} s, ratio {ratio:.2f} (target {target})".format(**found))
