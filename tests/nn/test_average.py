"""The mean of the weights against a slow reckoning, and that it leaves the trained network alone."""

import torch
from torch import nn

from laminal.nn.average import Average


class Small(nn.Module):
    """A weight and a counter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def test_the_mean_is_the_weighted_sum_of_all_steps():
    trained, decay = Small(), 0.3
    average, series = Average(trained, decay), [trained.weight.detach().clone()]
    for step in range(12):
        with torch.no_grad():
            trained.weight.add_(torch.randn(2, generator=torch.Generator().manual_seed(step), dtype=torch.float64))
            trained.count += 1
        series.append(trained.weight.detach().clone())
        average.update(trained, step)
    shares = []  # of the start and of each step, each shrunk by what came after
    for step in range(-1, 12):
        kept = 1.0 if step < 0 else 1 - min(decay, (1 + step) / (10 + step))
        for later in range(step + 1, 12):
            kept *= min(decay, (1 + later) / (10 + later))
        shares.append(kept)
    assert abs(sum(shares) - 1) < 1e-12
    expected = sum(share * weight for share, weight in zip(shares, series))
    torch.testing.assert_close(average.network(trained).weight.detach(), expected, rtol=0, atol=1e-12)


def test_buffers_are_copied_and_the_trained_network_is_left_alone():
    trained = Small()
    average = Average(trained, 0.9)
    trained.count += 7
    mean = average.network(trained)
    assert mean.count == 7 and mean.count is not trained.count and mean.weight is not trained.weight
    assert not mean.weight.requires_grad and trained.weight.requires_grad and trained.training and not mean.training
    with torch.no_grad():
        trained.weight.zero_()
    assert average.network(trained).weight.tolist() == [1.0, -2.0]  # nothing moves without an update


def test_the_state_goes_on_exactly():
    trained, other = Small(), Small()
    first = Average(trained, 0.9)
    with torch.no_grad():
        trained.weight.mul_(3)
    first.update(trained, 0)
    second = Average(other, 0.9)
    second.restore(first.state())
    for each in (first, second):
        each.update(trained, 1)
    assert torch.equal(first.network(trained).weight, second.network(trained).weight)
