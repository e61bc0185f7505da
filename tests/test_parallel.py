"""Calls of a codec side by side."""

import threading
import time

import pytest
import torch

from laminal import parallel
from laminal.codecs.encodec import EncodecCodec
from laminal.nn.tokenizer import Tokenizer
from oracle_tokenizer import speech, stepped

SMALL = {
    "sample_rate": 16000, "ratios": [8, 5, 4, 2], "filters": 4, "dim": 16, "codebooks": 4, "codebook_size": 64, "lstm_layers": 1,
    "residual_layers": 1, "causal": True, "norm": "weight_norm", "dropout": 0.0, "seed": 5, "quantizer": {"kmeans_frames": 128},
}  # fmt: skip


class Concurrent:
    concurrent = True


class OnAnAccelerator(Concurrent):
    device = torch.device("meta")


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def slow_first(number: int) -> tuple[int, str, int, bool]:
    time.sleep(0.02 if number == 0 else 0.0)
    return number, threading.current_thread().name, torch.get_num_threads(), torch.is_grad_enabled()


def test_in_order_on_one_thread_each_and_torch_has_its_threads_back(four_threads):
    numbers, names, threads, gradients = zip(*parallel.each(Concurrent(), slow_first, range(50)), strict=True)
    assert numbers == tuple(range(50)) and 1 < len(set(names)) <= 4 and set(threads) == {1} and not any(gradients)
    assert torch.get_num_threads() == 4 and torch.is_grad_enabled()


@pytest.mark.parametrize("codec", [object(), OnAnAccelerator()], ids=["says nothing", "not on the CPU"])
def test_one_after_another_on_all_threads(codec, four_threads):
    found = list(parallel.each(codec, slow_first, range(5)))
    assert {each[1:] for each in found} == {(threading.current_thread().name, 4, False)}


def test_pieces_are_asked_for_a_few_ahead(four_threads):
    asked = []
    found = parallel.each(Concurrent(), lambda number: number, (asked.append(number) or number for number in range(1000)))
    assert next(found) == 0 and len(asked) <= 4 + 1
    found.close()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("codec", [Concurrent(), object()], ids=["side by side", "in turn"])
def test_an_error_is_raised_in_its_place(codec, four_threads):
    def refuse(number):
        if number == 3:
            raise ValueError("three")
        return number

    found = parallel.each(codec, refuse, range(100))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert torch.get_num_threads() == 4


def test_encodec_side_by_side_is_encodec_in_turn(four_threads):
    codec = EncodecCodec.from_module(stepped(Tokenizer(**SMALL), 1, batches=60, samples=8000))
    pieces = [speech(seed, batch=1 + seed % 3, samples=4000 + 160 * seed) for seed in range(40)]
    together = list(parallel.each(codec, codec.codes_and_latent, pieces))
    sounds = list(parallel.each(codec, codec.decode, [codes for codes, _ in together]))
    with parallel.one_thread():
        for piece, (codes, latent), sound in zip(pieces, together, sounds, strict=True):
            alone = codec.codes_and_latent(piece)
            assert torch.equal(codes, alone[0]) and torch.equal(latent, alone[1]) and torch.equal(sound, codec.decode(codes))
