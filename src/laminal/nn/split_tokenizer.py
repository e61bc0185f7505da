"""A tokenizer of a low frame rate with a semantic codebook beside acoustic ones: transformers' Mimi around our quantizers."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from laminal import compat
from laminal.errors import RequestError
from laminal.nn.split_quantizer import ORDERS, SplitQuantizer
from laminal.nn.start import LEVEL, QUIET, keep_variance
from laminal.nn.tokenizer import TrainedTokenizer

# strides of the decoder by sample rate and frame rate, Hz; a further convolution of stride 2 stands between them and the quantizer, as in
# MimiModel, which asks for one. Strides are lengthened where audio is finest, so a lower rate costs less; 50 Hz is for comparison
STRIDES: dict[int, dict[float, tuple[int, ...]]] = {
    16000: {50.0: (5, 4, 4, 2), 25.0: (8, 5, 4, 2), 12.5: (8, 5, 4, 4), 6.25: (8, 8, 5, 4)},
    24000: {50.0: (6, 5, 4, 2), 25.0: (8, 6, 5, 2), 12.5: (8, 6, 5, 4), 6.25: (8, 8, 6, 5)},  # 12.5: Mimi's own
}
RATES = sorted({rate for rates in STRIDES.values() for rate in rates}, reverse=True)
WINDOW = 250  # frames before it that its transformers look back on, as in Mimi


def strides(sample_rate: int, frame_rate: float) -> tuple[int, ...]:
    """Give the decoder's strides, without the last halving; raises RequestError for a rate that there is no way to."""
    if sample_rate not in STRIDES:
        known = " or ".join(map(str, STRIDES))
        raise RequestError(f"tokenizer.sample_rate={sample_rate}: {known} Hz is expected with tokenizer.frame_rate; correct it")
    if float(frame_rate) not in STRIDES[sample_rate]:
        known = " or ".join(f"{rate:g}" for rate in STRIDES[sample_rate])
        raise RequestError(f"tokenizer.frame_rate={frame_rate:g}: {known} is expected; correct it")
    return STRIDES[sample_rate][float(frame_rate)]


class SplitTokenizer(TrainedTokenizer):
    """MimiModel (Defossez et al. 2024, arXiv 2410.00037) with `codebooks` codebooks of `codebook_size` entries, one of them semantic.

    Encoder and decoder are causal: SEANet, then `transformer_layers` layers of `heads` heads at twice the frame rate (0: none; Mimi has 8),
    then a convolution to the frame rate. `filters`: of the first convolution (Mimi: 64); `dim`: of the latent; `codebook_dim`: of the
    codebooks, unlike `dim` (only then has MimiModel projections). `order`, `dropout`, `seed` and `quantizer`'s further settings: see
    `SplitQuantizer`. The weights depend on `seed` alone.

    In the order "serial" there is no export: MimiModel.encode would give the acoustic codebooks the whole latent, not what is left of it.
    """

    def __init__(
        self, *, sample_rate: int, frame_rate: float | int, filters: int, dim: int, codebook_dim: int, codebooks: int, codebook_size: int,
        residual_layers: int, transformer_layers: int, heads: int, order: str, dropout: float, seed: int,
        quantizer: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if order not in ORDERS:
            raise RequestError(f"tokenizer.order={order}: {' or '.join(ORDERS)} is expected; correct it")
        if codebooks < 2:
            raise RequestError(f"tokenizer.codebooks={codebooks}: at least 2, a semantic and an acoustic one; raise it")
        if codebook_dim == dim or dim % (2 * heads):
            given = f"tokenizer.dim={dim} codebook_dim={codebook_dim} heads={heads}"
            raise RequestError(f"{given}: codebook_dim must not be dim (MimiModel has projections only then), and 2 heads must divide dim")
        compat.torchaudio()
        from transformers import MimiConfig

        self.config = MimiConfig(
            sampling_rate=sample_rate, hidden_size=dim, num_filters=filters, num_residual_layers=residual_layers,
            upsampling_ratios=list(strides(sample_rate, frame_rate)), codebook_size=codebook_size, codebook_dim=codebook_dim,
            vector_quantization_hidden_dimension=codebook_dim, num_quantizers=codebooks, num_semantic_quantizers=1, upsample_groups=dim,
            num_hidden_layers=transformer_layers, intermediate_size=4 * dim, num_attention_heads=heads, num_key_value_heads=heads,
            sliding_window=WINDOW,
        )  # fmt: skip
        self.sample_rate, self.hop, self.order = sample_rate, round(sample_rate / frame_rate), order
        self.exported = "MimiModel" if order == "parallel" else ""
        shell, projections = _shell(self.config, seed)
        self.encoder, self.decoder = shell.encoder, shell.decoder
        with torch.random.fork_rng(devices=[]):  # its projections are drawn, and replaced by the shell's
            self.quantizer = SplitQuantizer(
                dim=dim, codebook_dim=codebook_dim, codebooks=codebooks, codebook_size=codebook_size, order=order, dropout=dropout,
                seed=seed, **(quantizer or {}),
            )  # fmt: skip
        self.quantizer.load_state_dict(projections, strict=False)

    def encode(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Give the encoder's output."""
        return self.encoder(wav[:, None]).latents.transpose(1, 2)

    def decode(self, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b t"]:
        """Give audio, whole frames."""
        return self.decoder(z.transpose(1, 2)).audio_values[:, 0]

    def stock(self) -> Any:
        """Copy these weights into a plain MimiModel in eval mode; in the order "serial" its `decode` is right and its `encode` is not."""
        model, _ = _shell(self.config, seed=0)
        model.encoder.load_state_dict(self.encoder.state_dict())
        model.decoder.load_state_dict(self.decoder.state_dict())
        for name in ("semantic", "acoustic"):
            ours, theirs = getattr(self.quantizer, name), getattr(model.quantizer, f"{name}_residual_vector_quantizer")
            for side in ("in", "out"):
                getattr(theirs, f"{side}put_proj").load_state_dict(getattr(self.quantizer, f"{name}_{side}").state_dict())
            for entries, layer in zip(ours.embed, theirs.layers, strict=True):  # embed = embed_sum / cluster_usage, which is 1: no rounding
                layer.codebook.embed_sum.copy_(entries)
                layer.codebook._embed = None
        return model.to(self.quantizer.semantic.embed.device).eval()

    @torch.no_grad()
    def take(self, model: Any) -> None:
        """Copy a MimiModel of the same sizes; raises RequestError in the order "serial", which its codebooks are not made for."""
        if self.order == "serial":
            raise RequestError("tokenizer.order=serial: Mimi's codebooks were trained in parallel; give tokenizer.order=parallel")
        self.encoder.load_state_dict(model.encoder.state_dict())
        self.decoder.load_state_dict(model.decoder.state_dict())
        for name in ("semantic", "acoustic"):
            ours, theirs = getattr(self.quantizer, name), getattr(model.quantizer, f"{name}_residual_vector_quantizer")
            for side in ("in", "out"):
                getattr(self.quantizer, f"{name}_{side}").load_state_dict(getattr(theirs, f"{side}put_proj").state_dict())
            for number, layer in enumerate(theirs.layers):
                layer.codebook._embed = None  # stale after loading
                ours.take(number, layer.codebook.embed, layer.codebook.cluster_usage)


def _shell(config: Any, seed: int) -> tuple[Any, dict[str, Tensor]]:
    """Make a fresh MimiModel from `seed` and its projections by our names; the global generator is left as it was."""
    from transformers import MimiModel

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: Any = MimiModel(config)
        down, up = model.encoder.downsample.conv, model.decoder.upsample.conv
        keep_variance(model, [(model.decoder.decoder_seanet.layers[-1].conv, QUIET), (down, LEVEL), (up, 1 / LEVEL)])
    halves = {name: getattr(model.quantizer, f"{name}_residual_vector_quantizer") for name in ("semantic", "acoustic")}
    sides = {"in": "input_proj", "out": "output_proj"}
    return model, {f"{n}_{s}.weight": getattr(half, attr).weight for n, half in halves.items() for s, attr in sides.items()}
