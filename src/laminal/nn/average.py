"""Exponential moving average of a network's weights: what is validated, probed and exported while the weights themselves are trained."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


class Average(Generic[N]):
    """A copy of a network whose parameters follow those of the trained one: mean <- decay * mean + (1 - decay) * weights at every step.

    The decay of step n (from 0) is min(`decay`, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage: else the start, which is
    noise, would still be a fifth of the mean after 1,440 steps of 0.999. Buffers are copied, not averaged: codebooks are means already, and
    their counters count. It is no nn.Module, so that neither the trained network's state_dict nor an optimizer nor DDP sees it; on all
    ranks it is the same.
    """

    def __init__(self, network: N, decay: float) -> None:
        self.decay = decay
        self._network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, trained: N, step: int) -> None:
        """Take in the weights after generator step `step` (from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mean, weight in zip(self._beside(trained).parameters(), trained.parameters(), strict=True):
            mean.lerp_(weight.detach(), share)

    @torch.no_grad()
    def network(self, trained: N) -> N:
        """Give the network of averaged parameters, with the buffers that `trained` has now, in eval mode; it changes with `update`."""
        network = self._beside(trained)
        for own, buffer in zip(network.buffers(), trained.buffers(), strict=True):
            own.copy_(buffer)
        return network

    def state(self) -> dict[str, Tensor]:
        """Give the averaged parameters by their names in the network."""
        return {name: mean.detach().clone() for name, mean in self._network.named_parameters()}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave; raises KeyError where a parameter is missing."""
        for name, mean in self._network.named_parameters():
            mean.copy_(state[name])

    def _beside(self, trained: N) -> N:
        """Follow the trained network to its device."""
        return self._network.to(next(trained.parameters()).device)
