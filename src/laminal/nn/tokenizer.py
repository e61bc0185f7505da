"""What is trained, and the tokenizer of the default: transformers' EnCodec (SEANet encoder and decoder) around our residual quantizer."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncodecConfig, EncodecModel

from laminal.errors import RequestError
from laminal.nn.quantizer import ResidualQuantizer
from laminal.nn.start import LEVEL, QUIET, keep_variance


@dataclass(frozen=True, slots=True)
class TokenizerOutput:
    """What one forward gives to the losses; gradients as in `ResidualQuantizer`, or as in `SplitQuantizer`."""

    audio: Float[Tensor, "b t"]
    latent: Float[Tensor, "b n d"]
    z: Float[Tensor, "b n d"]
    z_1: Float[Tensor, "b n d"]
    z_rest: Float[Tensor, "b n d"]  # codebooks 2..K
    codes: Int[Tensor, "b q n"]
    sums: Float[Tensor, "q b n d"]  # Q_1 .. Q_K, without gradient
    frame_mask: Bool[Tensor, "b n"]
    commitment: Float[Tensor, " q"]
    perplexity: Float[Tensor, " q"]
    usage: Float[Tensor, " q"]
    frame_rate: float  # Hz
    sample_rate: int  # Hz
    partial: Float[Tensor, "q b n d"] | None = None  # z_1:1 .. z_1:K with gradient, where they are not `sums` with gradient one
    decode: Callable[[Tensor], Tensor] | None = None  # the tokenizer's own decoder: z (b n d) -> audio (b n*hop)

    def through(self, codebook: int) -> Float[Tensor, "b n d"]:
        """z_1:k, the first `codebook` codebooks, with gradient one to the latent (with projections: with theirs)."""
        if self.partial is not None:
            return self.partial[codebook - 1]
        latent = self.latent.float()
        return self.sums[codebook - 1] + (latent - latent.detach())


class TrainedTokenizer(nn.Module):
    """What is trained: an encoder, a quantizer of ours, a decoder; a subclass gives `encode`, `decode`, `stock`, and its rates."""

    exported = "EncodecModel"  # the class of transformers that reads an export; "" where none does
    encoder: nn.Module
    decoder: nn.Module
    quantizer: Any
    sample_rate: int  # samples per second
    hop: int  # samples per frame

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    def encode(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Give the encoder's output."""
        raise NotImplementedError

    def decode(self, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b t"]:
        """Give audio, whole frames."""
        raise NotImplementedError

    def stock(self) -> Any:
        """Copy these weights into a plain model of transformers in eval mode, on the same device; this module is not touched."""
        raise NotImplementedError

    def take(self, model: Any) -> None:
        """Copy the weights and codebooks of a plain model of transformers, of the same sizes, into this module: `stock` the other way."""
        raise NotImplementedError

    def forward(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> TokenizerOutput:
        """Code and decode `wav`; `mask` holds the real samples, the others are taken as silence and count nowhere."""
        latent, frame_mask = self.latent(wav, mask)
        quantized = self.quantizer(latent, frame_mask)
        return TokenizerOutput(
            audio=self.decode(quantized.z)[:, : wav.shape[1]], latent=latent, z=quantized.z, z_1=quantized.z_1, z_rest=quantized.z_rest,
            codes=quantized.codes, sums=quantized.sums, frame_mask=frame_mask, commitment=quantized.commitment,
            perplexity=quantized.perplexity, usage=quantized.usage, frame_rate=self.frame_rate, sample_rate=self.sample_rate,
            partial=quantized.partial, decode=self.decode,
        )  # fmt: skip

    def latent(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Give the encoder output, and its frames that hold at least one real sample."""
        latent = self.encode(wav * mask)
        padded = functional.pad(mask, (0, latent.shape[1] * self.hop - mask.shape[1]))
        return latent, rearrange(padded, "b (n hop) -> b n hop", hop=self.hop).any(-1)

    @torch.no_grad()
    def initialise(self, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
        """Start the codebooks by k-means before the first step; returns how many batches of (wav (b t), mask (b t)) were drawn.

        Each codebook draws as many batches as hold `kmeans_frames` frames. Raises RequestError where `batches` ends too early.
        """

        def frames(wav: Tensor, mask: Tensor) -> Tensor:
            latent, frame_mask = self.latent(wav, mask)
            return latent[frame_mask]

        drawn: int = self.quantizer.initialise(frames(wav, mask) for wav, mask in batches)
        return drawn


class Tokenizer(TrainedTokenizer):
    """EnCodec (Defossez et al. 2022) with `codebooks` codebooks of `codebook_size` entries at sample_rate / prod(ratios) Hz.

    `ratios` are the decoder's, as in EncodecConfig. `filters`: of the first convolution (32 as published); `dim`: of the latent.
    `dropout`, `seed` and `quantizer`'s further settings: see `ResidualQuantizer`. The weights depend on `seed` alone. Weight norm is kept.
    """

    def __init__(
        self, *, sample_rate: int, ratios: Sequence[int], filters: int, dim: int, codebooks: int, codebook_size: int,
        lstm_layers: int, residual_layers: int, causal: bool, norm: str, dropout: float, seed: int,
        quantizer: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = EncodecConfig(
            sampling_rate=sample_rate, upsampling_ratios=list(ratios), num_filters=filters, hidden_size=dim, codebook_dim=dim,
            codebook_size=codebook_size, num_lstm_layers=lstm_layers, num_residual_layers=residual_layers, use_causal_conv=causal,
            norm_type=norm, target_bandwidths=bandwidths(sample_rate, math.prod(ratios), codebooks, codebook_size),
        )  # fmt: skip
        if self.config.num_quantizers != codebooks or 2**self.config.codebook_nbits != codebook_size:
            raise RequestError(
                f"{codebooks} codebooks of {codebook_size} at {sample_rate}/{math.prod(ratios)} Hz cannot be written as an EncodecConfig "
                f"(it would have {self.config.num_quantizers}); take a codebook_size that is a power of 2 and a hop that divides the rate"
            )
        self.sample_rate, self.hop = self.config.sampling_rate, self.config.hop_length
        shell = _shell(self.config, seed)
        self.encoder, self.decoder = shell.encoder, shell.decoder
        self.quantizer = ResidualQuantizer(
            dim=dim, codebooks=codebooks, codebook_size=codebook_size, dropout=dropout, seed=seed, **(quantizer or {})
        )

    def encode(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Give the encoder's output."""
        return self.encoder(wav[:, None]).transpose(1, 2)

    def decode(self, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b t"]:
        """Give audio, whole frames."""
        return self.decoder(z.transpose(1, 2))[:, 0]

    def stock(self) -> EncodecModel:
        """Copy these weights into a plain EncodecModel in eval mode, on the same device; this module is not touched."""
        model = _shell(self.config, seed=0)
        model.encoder.load_state_dict(self.encoder.state_dict())
        model.decoder.load_state_dict(self.decoder.state_dict())
        model.quantizer.load_state_dict(
            {
                f"layers.{layer}.codebook.{name}": value
                for layer in range(self.quantizer.codebooks)
                for name, value in self.quantizer.entries(layer).items()
            }
        )
        return model.to(self.quantizer.embed.device).eval()

    @torch.no_grad()
    def take(self, model: Any) -> None:
        """Copy an EncodecModel of the same sizes."""
        self.encoder.load_state_dict(model.encoder.state_dict())
        self.decoder.load_state_dict(model.decoder.state_dict())
        for layer in range(self.quantizer.codebooks):
            codebook = model.quantizer.layers[layer].codebook
            self.quantizer.take(layer, codebook.embed, codebook.cluster_size)


def bandwidths(sample_rate: int, hop: int, codebooks: int, codebook_size: int) -> list[float]:
    """Bandwidths in kbps of 1, 2, 4, .. and of all codebooks, by EncodecConfig's reckoning (its frame rate is rounded up)."""
    counts = [2**power for power in range(codebooks.bit_length()) if 2**power < codebooks] + [codebooks]
    return [count * math.ceil(sample_rate / hop) * math.ceil(math.log2(codebook_size)) / 1000 for count in counts]


def _shell(config: EncodecConfig, seed: int) -> EncodecModel:
    """Make a fresh EncodecModel from `seed`; the global generator is left as it was.

    With a latent as quiet as speech the mean squared commitment is nothing beside the other losses at its usual weight, and the losses that
    see directions alone blow it up (docs/recipe.md): hence LEVEL.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = EncodecModel(config)
        output = model.decoder.layers[-1].get_submodule("conv")
        first, last = model.decoder.layers[0].get_submodule("conv"), model.encoder.layers[-1].get_submodule("conv")
        keep_variance(model, [(output, QUIET), (last, LEVEL), (first, 1 / LEVEL)])
        return model
