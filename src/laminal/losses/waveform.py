"""Waveform: L1 between decoded and real samples."""

from jaxtyping import Float
from torch import Tensor

from laminal.corpora.crops import Batch
from laminal.losses.base import DiscriminatorFeatures, Loss, full, masked_mean
from laminal.nn.tokenizer import TokenizerOutput


class WaveformLoss(Loss):
    """Mean absolute difference of the real samples (EnCodec, arXiv 2210.13438, section 3.4, time domain)."""

    name = "waveform"
    on_waveform = True

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term, in units of full scale."""
        return masked_mean((full(out.audio) - full(batch.wav)).abs(), batch.mask)
