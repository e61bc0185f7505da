"""Words cut from speech, encoded side by side on one thread each, against one after another on torch's own threads. Wall time.

EnCodec of 16 kHz, 8 filters, random weights: a laptop run's. On one core there is nothing to gain; no row there.
"""

import tempfile
from time import perf_counter

import torch
from bench_word_pairs import encodec, row
from timing import seconds
from transformers import EncodecConfig

from laminal import parallel

WORDS, LENGTHS = 16, 60  # of each length; lengths of 0.1 s and a tick more each


def run() -> list[dict]:
    threads = torch.get_num_threads()
    if threads < 2:
        return []
    generator = torch.Generator().manual_seed(0)
    words = [0.05 * torch.randn(WORDS, 1600 + 160 * tick, generator=generator) for tick in range(LENGTHS)]
    config = EncodecConfig(sampling_rate=16000, num_filters=8, upsampling_ratios=[8, 5, 4, 2], target_bandwidths=[4.0])
    with tempfile.TemporaryDirectory() as folder:
        codec = encodec(folder, config)
    for _ in range(2):  # the second time counts
        together = seconds(lambda: list(parallel.each(codec, codec.codes_and_latent, words)), perf_counter)
        in_turn = seconds(lambda: [codec.codes_and_latent(each) for each in words], perf_counter)
    what = f"{WORDS * LENGTHS} words side by side on {threads} threads, x faster than in turn"
    return [row(what, together, in_turn, in_turn / together, None)]
