"""Gradient balancer: each loss on the waveform gets a fixed share of the gradient at the waveform, whatever its scale."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from laminal.errors import RequestError


class Balancer(nn.Module):
    """The loss balancer of EnCodec (arXiv 2210.13438, section 3.4), written from its formula.

    With g_i the gradient of loss i at the decoder's audio and <|g_i|> the bias-corrected exponential moving average of its norm,
    the audio receives sum_i total * (w_i / sum_j w_j) * g_i / <|g_i|>. A weight is then a share: a loss ten times larger moves nothing.

    |g| is the sum over the batch of each crop's own norm, so that a batch-mean loss keeps its size when the batch grows;
    the norms are averaged over ranks. The averages are buffers, hence in the checkpoint. Limits: a share says nothing about
    losses elsewhere (on codes), which stay outside, and a loss whose gradient is often zero is amplified when it is not.
    Raises RequestError for a decay outside [0, 1) or a total that is not positive.
    """

    sums: Tensor
    masses: Tensor

    def __init__(self, names: Sequence[str], total: float | int, decay: float | int) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise RequestError(f"balancer decay {decay} is outside [0, 1); EnCodec uses 0.999")
        if total <= 0:
            raise RequestError(f"balancer total {total} is not positive; EnCodec uses 1")
        self.names, self.total, self.decay = tuple(names), total, decay
        self.register_buffer("sums", torch.zeros(len(self.names)))
        self.register_buffer("masses", torch.zeros(len(self.names)))

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float], audio: Float[Tensor, "b t"]
    ) -> Float[Tensor, ""]:
        """Scalar whose value is the weighted sum of `terms` and whose gradient at `audio` (b, t) is the balanced one.

        A loss that has not started has no term and no share yet. The graph of the terms is kept; only `audio` and what is behind it
        receives a gradient.
        """
        names = [name for name in self.names if name in terms]
        gradients = [self._gradient(terms[name], audio) for name in names]
        norms = torch.stack([gradient.float().norm(dim=1).sum() for gradient in gradients])
        averages = self._update(norms, torch.tensor([self.names.index(name) for name in names], device=self.sums.device))
        share = self.total / sum(weights[name] for name in names)
        balanced = torch.zeros_like(audio)
        for name, gradient, average in zip(names, gradients, averages, strict=True):
            # a loss that never had a gradient has average 0, and then the gradient is 0 as well
            balanced += gradient * (share * weights[name] / average.clamp(min=1e-12)).to(gradient.dtype)
        value = torch.stack([weights[name] * terms[name].detach().float() for name in names]).sum()
        pull = (audio * balanced).sum()
        return value + (pull - pull.detach())

    def _gradient(self, term: Tensor, audio: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(term, audio, retain_graph=True, allow_unused=True)
        return torch.zeros_like(audio) if gradient is None else gradient

    @torch.no_grad()
    def _update(self, norms: Float[Tensor, "losses"], rows: Int[Tensor, "losses"]) -> Float[Tensor, "losses"]:
        """Average over ranks, then over steps, in `rows` of the buffers."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(norms)
            norms = norms / torch.distributed.get_world_size()
        self.sums[rows] = self.sums[rows] * self.decay + norms.to(self.sums)
        self.masses[rows] = self.masses[rows] * self.decay + 1
        return self.sums[rows] / self.masses[rows]
