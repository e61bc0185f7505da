"""Tokenizers some steps off their start, for tests of what they give and export."""

from typing import TypeVar

import torch

from laminal.nn.tokenizer import TrainedTokenizer

T = TypeVar("T", bound=TrainedTokenizer)


def speech(seed: int, batch: int = 2, samples: int = 8000) -> torch.Tensor:
    return 0.05 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def whole(wav: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(wav, dtype=torch.bool)


def stepped(tokenizer: T, steps: int, batches: int, samples: int) -> T:
    """Start the codebooks from `batches` of `samples` and train for `steps`, so that no buffer is at its first value."""
    made = (speech(100 + i, samples=samples) for i in range(batches))
    tokenizer.initialise((wav, whole(wav)) for wav in made)
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=1e-3)
    for step in range(steps):
        wav = speech(step, samples=samples)
        out = tokenizer(wav, whole(wav))
        ((out.audio - wav).square().mean() + out.commitment.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return tokenizer.eval()
