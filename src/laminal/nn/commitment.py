"""Commitment: how far the latent is from what each layer chose, with a live gradient from every layer."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class _Commitment(torch.autograd.Function):
    """The gradient in closed form, one pass over the residuals: autograd's own would walk down the chain of layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residuals: Tensor, weight: Tensor) -> Tensor:
        """Sum of weighted squares per layer."""
        ctx.save_for_backward(residuals, weight)
        return (residuals.square().sum(-1) * weight).sum((1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """d/dx of ||r_i - sg(q_i)||^2 is 2 (r_i - q_i), as r_i = x - sg(Q_{i-1})."""
        residuals, weight = ctx.saved_tensors
        return torch.einsum("q,qbnd->bnd", gradients[0], residuals) * (2 * weight)[..., None], None, None


def commitment(x: Float[Tensor, "b n d"], residuals: Float[Tensor, "q b n d"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, " q"]:
    """Mean over valid frames and features of (r_i - sg(q_i))^2 for each layer i (VQ-VAE, van den Oord et al. 2017).

    `residuals` are the values r_i - q_i; the gradient goes to `x`. Without a valid frame all are 0.
    """
    weight = mask / (mask.sum() * x.shape[-1]).clamp_min(1)
    return _Commitment.apply(x, residuals, weight)
