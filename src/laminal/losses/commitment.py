"""Commitment: the encoder stays close to the codes that it was given."""

from jaxtyping import Float
from torch import Tensor

from laminal.corpora.crops import Batch
from laminal.losses.base import DiscriminatorFeatures, Loss, full
from laminal.nn.tokenizer import TokenizerOutput


class CommitmentLoss(Loss):
    """Mean over the layers of || r_i - sg(q_i) ||^2 (VQ-VAE, arXiv 1711.00937, equation 3; per layer as in SoundStream and EnCodec)."""

    name = "commitment"

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term; padded frames are left out where the quantizer measures it."""
        return full(out.commitment).mean()
