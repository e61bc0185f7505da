"""The transformer layer of MiMo-Audio-Tokenizer: attention with rotary positions, causal or not, within a window or not."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.nn.mimo_config import MimoConfig

Rotation = tuple[Float[Tensor, "n h"], Float[Tensor, "n h"]]  # cosine and sine of each frame's angles


def rotation(frames: int, width: int, theta: float, device: torch.device) -> Rotation:
    """Cosines and sines that turn the halves of a head of `width` dimensions against each other (Su et al. 2021, arXiv 2104.09864).

    Pair i of frame n is (i, i + width / 2), turned by n x theta^(-2 i / width).
    """
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2, device=device).float() / width)
    angles = torch.arange(frames, device=device).float()[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Float[Tensor, "heads n d"], by: Rotation) -> Float[Tensor, "heads n d"]:
    """Turn queries or keys by the angles of their frames."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = by
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def visible(frames: int, causal: bool, window: tuple[int, int], device: torch.device) -> Bool[Tensor, "n n"] | None:
    """Which frames (columns) a frame (row) attends to; None for all. A causal model looks at none ahead, whatever its window says."""
    back, ahead = window[0], 0 if causal else window[1]
    if (back < 0 or back >= frames) and (ahead < 0 or ahead >= frames):
        return None
    place = torch.arange(frames, device=device)
    offset = place[None, :] - place[:, None]
    seen = torch.ones(frames, frames, dtype=torch.bool, device=device)
    if back >= 0:
        seen &= offset >= -back
    if ahead >= 0:
        seen &= offset <= ahead
    return seen


class Attention(nn.Module):
    """Scaled dot-product attention over one utterance; keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "n d"], by: Rotation, seen: Bool[Tensor, "n n"] | None) -> Float[Tensor, "n d"]:
        """Mix frames; `seen` None: all of them."""
        q, k, v = (
            projection(x).unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, n, d / heads)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, by), rotate(k, by)
        mixed = nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=seen)[0]
        return self.out_proj(mixed.transpose(0, 1).flatten(1))


class Layer(nn.Module):
    """Attention, then a feed-forward network, each added to what came in and each after a layer norm (pre-norm)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "n d"], by: Rotation, seen: Bool[Tensor, "n n"] | None) -> Float[Tensor, "n d"]:
        """Give the layer's output."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), by, seen)
        return x + self.fc2(nn.functional.gelu(self.fc1(self.final_layer_norm(x))))


class Transformer(nn.Module):
    """What encoder, decoder and vocoder have in common: layers that share rotation and window, and a last norm."""

    def __init__(self, config: MimoConfig, width: int, layers: int, heads: int, inner: int, causal: bool, window: tuple[int, int]) -> None:
        super().__init__()
        self.theta, self.head_width = config.rope_theta, width // heads
        self.causal, self.window = causal, window
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)

    def transform(self, x: Float[Tensor, "n d"], skip: int | None = None) -> Float[Tensor, "n d"]:
        """Run all layers and the last norm; the output of layer `skip` (counted from 1) is added to the last one's, before the norm."""
        by = rotation(len(x), self.head_width, self.theta, x.device)
        seen = visible(len(x), self.causal, self.window, x.device)
        kept: Tensor | None = None
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, by, seen)
            if number == skip:
                kept = x
        return self.layer_norm(x if kept is None else x + kept)
