"""The encoder of MiMo-Audio-Tokenizer: log-mel to latent, four mel frames to one."""

from jaxtyping import Float
from torch import Tensor, nn

from laminal.nn.mimo_config import MimoConfig
from laminal.nn.mimo_quantizer import Quantizer
from laminal.nn.mimo_transformer import Transformer


class Encoder(Transformer):
    """Two convolutions (the second halves the rate), the transformer, and a strided convolution that halves it again.

    An odd number of frames before the last halving is filled up with a zero frame, as published. Holds the quantizer, as published.
    """

    def __init__(self, config: MimoConfig) -> None:
        super().__init__(
            config, config.d_model, config.encoder_layers, config.encoder_attention_heads, config.encoder_ffn_dim,
            config.encoder_causal, config.encoder_attn_window_size,
        )  # fmt: skip
        width, pool = config.d_model, config.avg_pooler
        self.skip, self.pool = config.encoder_skip_layer_id, pool
        self.conv1 = nn.Conv1d(config.n_mels, width, config.kernel_size, padding=1)
        self.conv2 = nn.Conv1d(width, width, config.kernel_size, config.stride_size, padding=1)
        self.down_sample_layer = nn.Sequential(nn.Conv1d(width, width, pool, pool, bias=False), nn.GELU())
        self.down_sample_norm = nn.LayerNorm(width)
        self.quantizer = Quantizer(config.codebook_size, width)

    def forward(self, mel: Float[Tensor, "m f"]) -> Float[Tensor, "n d"]:
        """Latent of one utterance, before quantization."""
        x = nn.functional.gelu(self.conv2(nn.functional.gelu(self.conv1(mel[None]))))[0].T
        x = self.transform(x, self.skip)
        x = nn.functional.pad(x, (0, 0, 0, -len(x) % self.pool))
        return self.down_sample_norm(self.down_sample_layer(x.T[None])[0].T)
