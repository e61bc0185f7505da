"""Train forward and backward of the residual quantizer against the encodec package and vector-quantize-pytorch, at one thread count.

Run: python benchmarks/bench_quantizer.py [threads]. For the references, without their dependencies (pip install --no-deps):
encodec vector-quantize-pytorch einx frozendict loguru torch-einops-utils.
8 codebooks of 1024, 128-d, 16 x 150 frames. Ours with masks, EMA, revival, commitments and outputs of every layer on; the references
with what they have: EMA, commitment, dead-code replacement. Interleaved rounds, the median of each.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from laminal import compat
from laminal.nn.quantizer import ResidualQuantizer

CODEBOOKS, SIZE, DIM, BATCH, FRAMES, ROUNDS = 8, 1024, 128, 16, 150, 15
TARGETS = {"encodec": 2.0, "vector-quantize-pytorch": 4.0}


def latents(seed: int) -> torch.Tensor:
    """Frames that drift slowly, as a codec's do."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, FRAMES, DIM, generator=generator).cumsum(1) / 10


def ours() -> Callable[[torch.Tensor], None]:
    quantizer = ResidualQuantizer(dim=DIM, codebooks=CODEBOOKS, codebook_size=SIZE, dropout=0.0, seed=0)
    quantizer.initialise(latents(1000 + i).flatten(0, 1) for i in range(CODEBOOKS))
    mask = torch.ones(BATCH, FRAMES, dtype=torch.bool)
    mask[::4, 120:] = False

    def step(x: torch.Tensor) -> None:
        out = quantizer(x, mask)
        (out.z.mean() + out.z_1.mean() + out.z_rest.mean() + out.commitment.mean()).backward()

    return step


def encodec_package() -> Callable[[torch.Tensor], None]:
    compat.torchaudio()  # encodec imports it
    from encodec.quantization.core_vq import ResidualVectorQuantization

    quantizer = ResidualVectorQuantization(
        num_quantizers=CODEBOOKS, dim=DIM, codebook_size=SIZE, kmeans_init=False, decay=0.99, threshold_ema_dead_code=2
    ).train()
    fill([layer._codebook.embed for layer in quantizer.layers])

    def step(x: torch.Tensor) -> None:
        out, _, losses = quantizer(x.transpose(1, 2))
        (out.mean() + losses.mean()).backward()

    return step


def vector_quantize_pytorch() -> Callable[[torch.Tensor], None]:
    from vector_quantize_pytorch import ResidualVQ

    quantizer = ResidualVQ(dim=DIM, num_quantizers=CODEBOOKS, codebook_size=SIZE, decay=0.99, threshold_ema_dead_code=2).train()
    fill([layer._codebook.embed[0] for layer in quantizer.layers])

    def step(x: torch.Tensor) -> None:
        out, _, losses = quantizer(x)
        (out.mean() + losses.mean()).backward()

    return step


@torch.no_grad()
def fill(codebooks: list[torch.Tensor]) -> None:
    """Start from frames, shrinking by layer, without a k-means that takes minutes."""
    for number, embed in enumerate(codebooks):
        embed.copy_(latents(2000 + number).flatten(0, 1)[:SIZE] * 0.7**number)


def seconds(steps: dict[str, Callable[[torch.Tensor], None]]) -> dict[str, float]:
    """Median time of one forward and backward of each, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 2):
        for name, step in steps.items():
            x = latents(number).requires_grad_()
            begun = time.perf_counter()
            step(x)
            if number >= 2:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def run() -> list[dict[str, object]]:
    """One row a reference; a reference that is not installed gives none."""
    made: dict[str, Callable[[torch.Tensor], None]] = {"ours": ours()}
    for name, build in (("encodec", encodec_package), ("vector-quantize-pytorch", vector_quantize_pytorch)):
        try:
            made[name] = build()
        except ImportError as error:
            print(f"{name} is left out: {error}; pip install --no-deps {name}", file=sys.stderr)
    found = seconds(made)
    own = found.pop("ours")
    what = f"quantizer train forward + backward, {torch.get_num_threads()} threads, against "
    return [
        {"what": what + name, "ours_s": own, "reference_s": taken, "ratio": taken / own, "target": TARGETS[name]}
        for name, taken in found.items()
    ]


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for row in run():
        print(row)
