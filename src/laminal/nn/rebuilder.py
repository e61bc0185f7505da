"""A decoder of its own, from the first codebook's vectors to audio: small, for a loss alone."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from laminal import compat
from laminal.nn.split_tokenizer import WINDOW, strides
from laminal.nn.start import LEVEL, QUIET, keep_variance


class Rebuilder(nn.Module):
    """The decoder half of MimiModel: upsampling, `transformer_layers` layers, SEANet of `filters` filters at the fine end.

    `width`: of the vectors, `frame_rate` of them a second. Weights are drawn from the global generator, as those of every loss's head.
    Raises RequestError for a frame rate that there is no way from.
    """

    def __init__(
        self, *, width: int, sample_rate: int, frame_rate: float, filters: int, residual_layers: int, transformer_layers: int, heads: int
    ) -> None:
        super().__init__()
        compat.torchaudio()
        from transformers import MimiConfig, MimiDecoderConfig
        from transformers.models.mimi.modeling_mimi import MimiDecoderModel

        config = MimiConfig(
            sampling_rate=sample_rate, hidden_size=width, num_filters=filters, num_residual_layers=residual_layers,
            upsampling_ratios=list(strides(sample_rate, frame_rate)), upsample_groups=width, num_hidden_layers=transformer_layers,
            intermediate_size=4 * width, num_attention_heads=heads, num_key_value_heads=heads, sliding_window=WINDOW,
        )  # fmt: skip
        decoder: Any = MimiDecoderModel(MimiDecoderConfig(**config.to_dict()))
        keep_variance(decoder, [(decoder.decoder_seanet.layers[-1].conv, QUIET), (decoder.upsample.conv, 1 / LEVEL)])
        self.decoder = decoder

    def forward(self, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b t"]:
        """Give audio, whole frames."""
        return self.decoder(z.transpose(1, 2)).audio_values[:, 0]
