"""A semantic codebook beside, or before, an acoustic residual quantizer, each in a projection of the latent of its own."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.nn.nearest import nearest_as_mimi
from laminal.nn.quantizer import Quantized, ResidualQuantizer

ORDERS = ("parallel", "serial")
SEEDS = 2**32  # of runs are below this: the acoustic quantizer's generators are beyond, no two alike


class SplitQuantizer(nn.Module):
    """One semantic codebook and `codebooks - 1` acoustic ones, as in Mimi (Defossez et al. 2024, arXiv 2410.00037, section 3.3.3).

    With s = S.in(x) and a = A.in(x), or in the order "serial" a = A.in(x - sg(z_1)), of the latent x, and S, A residual quantizers with
    the gradients of `ResidualQuantizer`:

        z_1   = S.out(s + sg(Q_S - s))          z_2:K = A.out(a + sg(Q_A - a))          z = z_1 + z_2:K

    so that z_1 alone is what the semantic codebook says; "parallel": both hear the same latent, the acoustic codebooks do not encode what
    the semantic one left. Values of the single layers are the semantic codebook's, then the acoustic ones'. Projections are 1 x 1
    convolutions without bias, learnt. `dropout`: see `ResidualQuantizer`, of the acoustic codebooks alone (Mimi's too): the semantic one
    is always kept. All are computed in fp32.
    """

    def __init__(
        self, *, dim: int, codebook_dim: int, codebooks: int, codebook_size: int, order: str, dropout: float, seed: int, **settings: Any
    ) -> None:
        super().__init__()
        self.codebooks, self.codebook_size, self.order = codebooks, codebook_size, order
        shape: dict[str, Any] = {"dim": codebook_dim, "codebook_size": codebook_size, "assign": nearest_as_mimi} | settings
        self.semantic = ResidualQuantizer(codebooks=1, dropout=0.0, seed=seed, **shape)
        self.acoustic = ResidualQuantizer(codebooks=codebooks - 1, dropout=dropout, seed=seed + SEEDS, **shape)
        self.semantic_in, self.acoustic_in = (nn.Conv1d(dim, codebook_dim, 1, bias=False) for _ in range(2))
        self.semantic_out, self.acoustic_out = (nn.Conv1d(codebook_dim, dim, 1, bias=False) for _ in range(2))

    @property
    def ready(self) -> Bool[Tensor, " q"]:
        """Which codebooks k-means has started."""
        return torch.cat([self.semantic.ready, self.acoustic.ready])

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Quantized:
        """Quantize the latent `x`; `mask` holds the valid frames. The codebooks learn in training mode only."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            s = self.semantic(_project(self.semantic_in, x), mask)
            z_1 = _project(self.semantic_out, s.z_1)
            inner = _project(self.acoustic_in, self._heard(x, z_1.detach()))
            a = self.acoustic(inner, mask)
            through = inner - inner.detach()  # exactly 0, with gradient one
            rest = [_project(self.acoustic_out, each + through) for each in a.sums]
            z = z_1 + (_project(self.acoustic_out, a.z) if self.training and self.acoustic.dropout else rest[-1])
            partial = torch.stack([z_1, *(z_1 + each for each in rest)])
        return Quantized(
            z=z, z_1=z_1, z_rest=rest[-1], codes=torch.cat([s.codes, a.codes], 1), sums=partial.detach(), partial=partial,
            **{name: torch.cat([getattr(s, name), getattr(a, name)]) for name in ("commitment", "perplexity", "usage")},
        )  # fmt: skip

    @torch.no_grad()
    def initialise(self, batches: Iterator[Float[Tensor, "n d"]]) -> int:
        """Start the semantic codebook, then the acoustic ones; see `ResidualQuantizer.initialise`."""
        drawn = self.semantic.initialise(_projected(self.semantic_in, rows) for rows in batches)
        return drawn + self.acoustic.initialise(_projected(self.acoustic_in, self._left(rows.float())) for rows in batches)

    def _left(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Give what the acoustic codebooks hear of latent frames."""
        codes = nearest_as_mimi(_projected(self.semantic_in, rows), self.semantic.embed[0])
        return self._heard(rows, _projected(self.semantic_out, self.semantic.embed[0][codes]))

    def _heard(self, x: Float[Tensor, "*n d"], z_1: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        return x - z_1 if self.order == "serial" else x


def _project(by: nn.Conv1d, frames: Float[Tensor, "b n _"]) -> Float[Tensor, "b n _"]:
    """Convolve over frames: the very operation of transformers, so that an export gives the same bits."""
    return by(frames.transpose(1, 2)).transpose(1, 2)


def _projected(by: nn.Conv1d, rows: Float[Tensor, "n _"]) -> Float[Tensor, "n _"]:
    return rows.float() @ by.weight[:, :, 0].T
