"""From frames to one vector: attention pooling by a learned query, and the mean of the frames of a span."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from laminal.errors import RequestError


class AttentionPooling(nn.Module):
    """Multi-head attention with one learned query; keys and values are the frames alone, so nothing but the frames can be in the result.

    Attention whose keys and values are the teacher's own features leaks: pure-noise tokens then match the teacher.
    Raises RequestError where `width` does not divide into `heads`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise RequestError(f"width {width} does not divide into {heads} heads; choose heads among its divisors")
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, width // heads) * (width // heads) ** -0.5)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, frames: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Pool the frames where `mask` holds; a row without any frame gives the mean over all of its frames, finite but meaningless."""
        keys = rearrange(self.key(frames), "b n (h c) -> b h n c", h=self.heads)
        values = rearrange(self.value(frames), "b n (h c) -> b h n c", h=self.heads)
        scores = torch.einsum("hc,bhnc->bhn", self.query.to(keys.dtype), keys) * (keys.shape[-1] ** -0.5)
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)  # not -inf: a row without frames must not give NaN
        attention = scores.softmax(dim=-1).to(values.dtype)
        pooled = torch.einsum("bhn,bhnc->bhc", attention, values)
        return self.output(rearrange(pooled, "b h c -> b (h c)"))


def pool_spans(
    frames: Float[Tensor, "b n d"],
    mask: Bool[Tensor, "b n"],
    row: Int[Tensor, "w"],
    start: Float[Tensor, "w"],
    end: Float[Tensor, "w"],
    frame_rate: float,
) -> Float[Tensor, "w d"]:
    """Mean of the valid frames of `row` with centre (k + 0.5) / frame_rate in [start, end] s; where there is none, the nearest one."""
    centres = (torch.arange(frames.shape[1], device=frames.device, dtype=torch.float64) + 0.5) / frame_rate
    valid = mask[row]  # w n
    first, last = start.double()[:, None], end.double()[:, None]
    inside = (centres >= first) & (centres <= last) & valid
    distance = (centres - (first + last) / 2).abs().masked_fill(~valid, torch.inf)
    nearest = nn.functional.one_hot(distance.argmin(dim=1), frames.shape[1]).bool() if frames.shape[1] else inside
    chosen = torch.where(inside.any(dim=1, keepdim=True), inside, nearest).to(frames.dtype)
    return torch.einsum("wn,wnd->wd", chosen, frames[row]) / chosen.sum(dim=1, keepdim=True)
