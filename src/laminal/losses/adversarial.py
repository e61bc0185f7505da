"""Adversarial: decoded audio should pass for real with the discriminators, which this loss owns."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from laminal.corpora.crops import Batch
from laminal.losses.base import Critic, DiscriminatorFeatures, full, masked_mean, required
from laminal.nn.discriminator import MultiScaleSTFTDiscriminator
from laminal.nn.tokenizer import TokenizerOutput


class AdversarialLoss(Critic):
    """Hinge loss (EnCodec, arXiv 2210.13438, section 3.4; Lim and Ye, arXiv 1705.02894), mean over scales and positions.

    Generator: max(0, 1 - D(decoded)); discriminator: max(0, 1 - D(real)) + max(0, 1 + D(decoded)). Padding is set to zero on both sides
    before it is judged, and frames centred on it do not count. Logged: share of positions that the discriminators took for real, in
    their last step. `n_ffts`, `filters`, `hops_per_window`: see MultiScaleSTFTDiscriminator.
    """

    name = "adversarial"
    on_waveform = True
    needs_features = True

    def __init__(self, n_ffts: Sequence[int], filters: int, hops_per_window: int) -> None:
        super().__init__()
        self.discriminators: MultiScaleSTFTDiscriminator = MultiScaleSTFTDiscriminator(n_ffts, filters, hops_per_window)

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the generator's raw term; raises RequestError without `features`."""
        judged = required(features, self.name)
        scales = zip(judged.fake_logits, judged.masks, strict=True)
        return torch.stack([masked_mean(_doubt(logits), mask) for logits, mask in scales]).mean()

    def features(self, out: TokenizerOutput, batch: Batch) -> DiscriminatorFeatures:
        """Judge real audio, without gradient, and decoded audio, with gradient.

        Two passes: in one, half of the backward pass would be spent on real audio, for zeros.
        """
        with torch.no_grad():
            real = self.discriminators(batch.wav * batch.mask)
        fake = self.discriminators(out.audio * batch.mask)
        return DiscriminatorFeatures(
            real_logits=tuple(judgement.logits for judgement in real),
            real_features=tuple(judgement.features for judgement in real),
            fake_logits=tuple(judgement.logits for judgement in fake),
            fake_features=tuple(judgement.features for judgement in fake),
            masks=self.discriminators.frame_masks(batch.mask),
        )

    def discriminator(self, out: TokenizerOutput, batch: Batch) -> Float[Tensor, ""]:
        """Give the discriminators' loss; real and decoded audio go through in one pass, and no gradient reaches the tokenizer."""
        both = torch.cat([batch.wav * batch.mask, out.audio.detach() * batch.mask])
        terms, accepted = [], []
        for judgement, mask in zip(self.discriminators(both), self.discriminators.frame_masks(batch.mask), strict=True):
            real, fake = judgement.logits.chunk(2)
            terms.append(masked_mean(_doubt(real), mask) + masked_mean(_doubt(-fake), mask))
            accepted.append(torch.stack([masked_mean((side > 0).float().mean(dim=(1, 3)), mask) for side in (real, fake)]))
        real_accepted, fake_accepted = torch.stack(accepted).mean(dim=0)
        self.logged = {"real_accepted": real_accepted, "fake_accepted": fake_accepted}
        return torch.stack(terms).mean()


def _doubt(logits: Float[Tensor, "b 1 n f"]) -> Float[Tensor, "b n"]:
    """Hinge of each frame, mean over its frequencies."""
    return torch.relu(1 - full(logits)).mean(dim=(1, 3))
