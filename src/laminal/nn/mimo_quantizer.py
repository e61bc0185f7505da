"""The residual quantizer of MiMo-Audio-Tokenizer: codebooks of different sizes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from laminal.nn.nearest import nearest_as_stock

STATISTICS = ("inited", "cluster_size", "embed_avg")  # of the authors' EMA training: published, and no feature depends on them


class Codebook(nn.Module):
    """Entries (s, d), and the statistics beside which they are published."""

    embed: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed", torch.zeros(size, width))
        self.register_buffer("embed_avg", torch.zeros(size, width))


class Quantization(nn.Module):
    """One stage; its only part has an underscore in the published names."""

    _codebook: Codebook

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self._codebook = Codebook(size, width)

    @property
    def entries(self) -> Float[Tensor, "s d"]:
        """Vectors of the codebook."""
        return self._codebook.embed

    def decode(self, codes: Int[Tensor, " *n"]) -> Float[Tensor, "*n d"]:
        """Give the codebook's vectors."""
        return nn.functional.embedding(codes, self.entries)


class Stages(nn.Module):
    """The list of stages."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Quantization(size, width) for size in sizes)


class Quantizer(nn.Module):
    """Each stage codes what the stages before it left over (Zeghidour et al. 2021, arXiv 2107.03312, algorithm 1)."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.vq = Stages(sizes, width)

    @property
    def stages(self) -> list[Quantization]:
        """All stages, in order."""
        return list(self.vq.layers)  # type: ignore[arg-type]

    def encode(self, latent: Float[Tensor, "n d"]) -> Int[Tensor, "q n"]:
        """Codes of every stage."""
        residual, codes = latent, []
        for stage in self.stages:
            codes.append(nearest_as_stock(residual, stage.entries))
            residual = residual - stage.decode(codes[-1])
        return torch.stack(codes)

    def sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        """Sum up the vectors of the first 1, 2, .. q stages, in the order of the authors' decoding: the last is theirs to the last bit."""
        sums: list[Tensor] = []
        for stage, chosen in zip(self.stages, codes.unbind(1)):
            vectors = stage.decode(chosen)
            sums.append(sums[-1] + vectors if sums else vectors)
        return sums

    @torch.no_grad()
    def draw(self, latent: Float[Tensor, "n d"], generator: torch.Generator) -> None:
        """Fill every codebook at random from `latent`: entries are random points between two residuals, stage after stage."""
        residual = latent
        for stage in self.stages:
            size = len(stage.entries)
            one, two = (residual[torch.randint(len(residual), (size,), generator=generator)] for _ in range(2))
            stage.entries.copy_(torch.lerp(one, two, torch.rand(size, 1, generator=generator)))
            residual = residual - stage.decode(nearest_as_stock(residual, stage.entries))
