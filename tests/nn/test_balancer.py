"""Balancer: shares, averages, checkpoint, and what lies outside."""

import math
import os
import socket

import pytest
import torch

from laminal.errors import RequestError
from laminal.nn.balancer import Balancer


def _terms(audio, scale=1.0):
    return {"a": scale * audio.square().mean(), "b": (audio - 1).abs().mean()}


def _audio(seed=0, rows=3):
    return torch.randn(rows, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def test_first_step_is_the_formula():
    audio, weights = _audio(), {"a": 3.0, "b": 1.0}
    balancer = Balancer(["a", "b"], 2.0, 0.999)
    (got,) = torch.autograd.grad(balancer(_terms(audio), weights, audio), audio)
    expected = torch.zeros_like(audio)
    for name, term in _terms(audio).items():
        (gradient,) = torch.autograd.grad(term, audio)
        norm = sum(math.sqrt(sum(float(v) ** 2 for v in row)) for row in gradient)
        expected += 2.0 * weights[name] / 4.0 * gradient / norm
    assert torch.allclose(got, expected, rtol=1e-6)


def test_value_is_the_weighted_sum():
    audio, weights = _audio(), {"a": 3.0, "b": 1.0}
    terms = _terms(audio)
    value = Balancer(["a", "b"], 1.0, 0.9)(terms, weights, audio)
    assert value.item() == pytest.approx(3 * terms["a"].item() + terms["b"].item(), rel=1e-6)


def test_a_loss_a_thousand_times_larger_moves_nothing():
    weights, gradients = {"a": 1.0, "b": 1.0}, []
    for scale in (1.0, 1000.0):
        audio, balancer = _audio(), Balancer(["a", "b"], 1.0, 0.9)
        gradients.append(torch.autograd.grad(balancer(_terms(audio, scale), weights, audio), audio)[0])
    assert torch.allclose(*gradients, rtol=1e-5)


def test_average_is_bias_corrected_and_exponential():
    balancer, norms = Balancer(["a", "b"], 1.0, 0.75), []
    for seed in range(4):
        audio = _audio(seed)
        (gradient,) = torch.autograd.grad(_terms(audio)["a"], audio)
        norms.append(gradient.norm(dim=1).sum().item())
        balancer(_terms(audio), {"a": 1.0, "b": 1.0}, audio)
    weights = [0.75 ** (3 - i) for i in range(4)]
    expected = sum(w * n for w, n in zip(weights, norms, strict=True)) / sum(weights)
    assert (balancer.sums / balancer.masses)[0].item() == pytest.approx(expected, rel=1e-6)


def test_gradient_is_over_the_average_not_over_this_step():
    balancer, weights = Balancer(["a", "b"], 1.0, 0.75), {"a": 1.0, "b": 1e-9}
    for scale in (8.0, 8.0, 2.0):
        audio = _audio()
        (got,) = torch.autograd.grad(balancer(_terms(audio, scale), weights, audio), audio)
    assert got.norm(dim=1).sum().item() == pytest.approx(2 / ((8 * 0.75**2 + 8 * 0.75 + 2) / (0.75**2 + 0.75 + 1)), rel=1e-5)


def test_norm_does_not_depend_on_the_batch_size():
    one, many = Balancer(["a"], 1.0, 0.9), Balancer(["a"], 1.0, 0.9)
    audio = _audio(rows=1)
    repeated = audio.detach().repeat(8, 1).requires_grad_()
    one({"a": audio.square().mean()}, {"a": 1.0}, audio)
    many({"a": repeated.square().mean()}, {"a": 1.0}, repeated)
    assert torch.allclose(one.sums, many.sums)


def test_state_goes_into_the_checkpoint():
    first, second = Balancer(["a", "b"], 1.0, 0.9), Balancer(["a", "b"], 1.0, 0.9)
    audio = _audio()
    first(_terms(audio), {"a": 1.0, "b": 1.0}, audio)
    second.load_state_dict(first.state_dict())
    after = [balancer(_terms(audio, 5.0), {"a": 1.0, "b": 1.0}, audio) for balancer in (first, second)]
    assert torch.equal(*(torch.autograd.grad(value, audio, retain_graph=True)[0] for value in after))
    assert first.sums.abs().sum() > 0


def test_a_loss_without_gradient_is_harmless():
    audio = _audio()
    terms = {"a": audio.square().mean(), "b": torch.tensor(1.0, dtype=torch.float64, requires_grad=True) * 0, "c": (audio * 0).sum()}
    value = Balancer(["a", "b", "c"], 1.0, 0.9)(terms, dict.fromkeys("abc", 1.0), audio)
    (gradient,) = torch.autograd.grad(value, audio)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def _rank(rank, port, queue):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    audio, balancer = _audio(seed=rank), Balancer(["a", "b"], 1.0, 0.9)
    balancer(_terms(audio), {"a": 1.0, "b": 1.0}, audio)
    queue.put((rank, balancer.sums.tolist()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_agree():
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [context.Process(target=_rank, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=100) for _ in processes)
    for process in processes:
        process.join()
    alone = []
    for seed in range(2):
        audio, balancer = _audio(seed=seed), Balancer(["a", "b"], 1.0, 0.9)
        balancer(_terms(audio), {"a": 1.0, "b": 1.0}, audio)
        alone.append(balancer.sums)
    assert results[0] == results[1] and torch.allclose(torch.tensor(results[0]), torch.stack(alone).mean(0))


@pytest.mark.parametrize(("total", "decay"), [(1.0, 1.0), (1.0, -0.1), (0.0, 0.9)])
def test_refusals(total, decay):
    with pytest.raises(RequestError, match="EnCodec uses"):
        Balancer(["a"], total, decay)
