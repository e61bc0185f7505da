"""Encoding for probes by two processes against one: wall time of what `torchrun --nproc-per-node 2 probe.py` shares out.

One thread each; EnCodec of 24 kHz, 8 filters, random weights; started and warm before the clock is. Needs two idle cores. A few utterances
would not do: up to 2,048 cut words are one part, which one process gets.
"""

import multiprocessing
import tempfile
import time
from pathlib import Path

import torch
from bench_word_pairs import encodec, probe, row, speech
from transformers import EncodecConfig

from laminal.probes.run import fill


def work(folder: str, cache: str, share: tuple[int, int], start, done) -> None:
    torch.set_num_threads(1)
    measure = probe(speech(), cache)
    measure.sample(0)
    from laminal.codecs.encodec import EncodecCodec

    codec = EncodecCodec(folder)
    codec.encode(torch.zeros(1, 24_000))
    start.wait()
    begun = time.perf_counter()
    fill(codec, {"word_pairs": measure}, share)
    done.put(time.perf_counter() - begun)


def wall(folder: str, processes: int) -> float:
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(processes), context.Queue()
    with tempfile.TemporaryDirectory() as cache:
        workers = [context.Process(target=work, args=(folder, cache, (rank, processes), start, done)) for rank in range(processes)]
        for worker in workers:
            worker.start()
        seconds = max(done.get() for _ in workers)
        for worker in workers:
            worker.join()
    return seconds


def run() -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        encodec(folder, EncodecConfig(num_filters=8, target_bandwidths=[1.5, 3.0, 6.0]))
        one, two = wall(str(Path(folder)), 1), wall(str(Path(folder)), 2)
    return [row("encoding for word_pairs: one process / two, wall time", two, one, one / two, ">= 1.7")]


if __name__ == "__main__":
    for found in run():
        print("{what}: {ours_s:.3f} s, {reference_s:.3f} s, ratio {ratio:.2f} (target {target})".format(**found))
