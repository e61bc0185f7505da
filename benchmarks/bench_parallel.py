"""Words cut from speech, encoded side by side on one thread each, against one after another on torch's own threads. Wall time.

EnCodec of 16 kHz, 8 filters, random weights: a laptop run's. On one core there is nothing to gain; no row there.
"""

import tempfile
import time
from collections.abc import Callable

import torch
from transformers import EncodecConfig, EncodecModel

from laminal import parallel
from laminal.codecs.encodec import EncodecCodec

WORDS, LENGTHS = 16, 60  # of each length; lengths of 0.1 s and a tick more each


def codec(folder: str) -> EncodecCodec:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = EncodecConfig(sampling_rate=16000, num_filters=8, upsampling_ratios=[8, 5, 4, 2], target_bandwidths=[4.0])
        EncodecModel(config).save_pretrained(folder)
    return EncodecCodec(folder)


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run() -> list[dict]:
    threads = torch.get_num_threads()
    if threads < 2:
        return []
    generator = torch.Generator().manual_seed(0)
    words = [0.05 * torch.randn(WORDS, 1600 + 160 * tick, generator=generator) for tick in range(LENGTHS)]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        measured = codec(folder)
        for _ in range(2):
            together = seconds(lambda: list(parallel.each(measured, measured.codes_and_latent, words)))
            in_turn = seconds(lambda: [measured.codes_and_latent(each) for each in words])
    what = f"{WORDS * LENGTHS} words in {LENGTHS} batches side by side on {threads} threads, x faster than in turn"
    return [{"what": what, "ours_s": together, "reference_s": in_turn, "ratio": in_turn / together, "target": None}]
