"""Feature matching: decoded audio should excite the discriminators' hidden layers as real audio does."""

import torch
from jaxtyping import Float
from torch import Tensor

from laminal.corpora.crops import Batch
from laminal.losses.base import DiscriminatorFeatures, Loss, full, masked_mean, required
from laminal.nn.tokenizer import TokenizerOutput


class FeatureMatchingLoss(Loss):
    """Relative L1 of discriminator features, mean over scales and layers (EnCodec, arXiv 2210.13438, section 3.4).

    For each layer mean |D_l(real) - D_l(decoded)| / mean |D_l(real)|, over the frames centred on real samples; the real side is a constant.
    """

    name = "feature_matching"
    on_waveform = True
    needs_features = True

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term; raises RequestError without `features`."""
        judged = required(features, self.name)
        ratios = []
        for real_layers, fake_layers, mask in zip(judged.real_features, judged.fake_features, judged.masks, strict=True):
            for real, fake in zip(real_layers, fake_layers, strict=True):
                real = full(real.detach())
                # channels and frequencies first: masking then touches (b, n) numbers, not whole activations
                difference = masked_mean((real - full(fake)).abs().mean(dim=(1, 3)), mask)
                ratios.append(difference / masked_mean(real.abs().mean(dim=(1, 3)), mask).clamp(min=1e-8))
        return torch.stack(ratios).mean()
