"""The tokenizer that is trained: transformers' EnCodec (SEANet encoder and decoder) around our residual quantizer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel

from laminal.errors import RequestError
from laminal.nn.quantizer import ResidualQuantizer

QUIET = 0.2  # of the last convolution at the start: its audio is then about as loud as speech
LEVEL = 20.0  # of the encoder's last convolution, taken back by the decoder's first: the latent of speech then has a variance of 1 to 8


@dataclass(frozen=True, slots=True)
class TokenizerOutput:
    """What one forward gives to the losses; gradients as in `ResidualQuantizer`."""

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

    def through(self, codebook: int) -> Float[Tensor, "b n d"]:
        """z_1:k, the first `codebook` codebooks, with gradient one to the latent."""
        latent = self.latent.float()
        return self.sums[codebook - 1] + (latent - latent.detach())


class Tokenizer(nn.Module):
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
        shell = _shell(self.config, seed)
        self.encoder, self.decoder = shell.encoder, shell.decoder
        self.quantizer = ResidualQuantizer(
            dim=dim, codebooks=codebooks, codebook_size=codebook_size, dropout=dropout, seed=seed, **(quantizer or {})
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.config.sampling_rate

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    def forward(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> TokenizerOutput:
        """Code and decode `wav`; `mask` holds the real samples, the others are taken as silence and count nowhere."""
        latent, frame_mask = self.latent(wav, mask)
        quantized = self.quantizer(latent, frame_mask)
        audio = self.decoder(quantized.z.transpose(1, 2))  # (b, 1, n * hop)
        return TokenizerOutput(
            audio=audio[:, 0, : wav.shape[1]], latent=latent, z=quantized.z, z_1=quantized.z_1, z_rest=quantized.z_rest,
            codes=quantized.codes, sums=quantized.sums, frame_mask=frame_mask, commitment=quantized.commitment,
            perplexity=quantized.perplexity, usage=quantized.usage, frame_rate=self.frame_rate, sample_rate=self.sample_rate,
        )  # fmt: skip

    def latent(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Give the encoder output, and its frames that hold at least one real sample."""
        latent = self.encoder((wav * mask)[:, None]).transpose(1, 2)
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

        return self.quantizer.initialise(frames(wav, mask) for wav, mask in batches)

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
        return model.to(self.quantizer.embed.device).eval()  # type: ignore[arg-type]


def bandwidths(sample_rate: int, hop: int, codebooks: int, codebook_size: int) -> list[float]:
    """Bandwidths in kbps of 1, 2, 4, .. and of all codebooks, by EncodecConfig's reckoning (its frame rate is rounded up)."""
    counts = [2**power for power in range(codebooks.bit_length()) if 2**power < codebooks] + [codebooks]
    return [count * math.ceil(sample_rate / hop) * math.ceil(math.log2(codebook_size)) / 1000 for count in counts]


def _shell(config: EncodecConfig, seed: int) -> EncodecModel:
    """Make a fresh EncodecModel from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = EncodecModel(config)
        _keep_variance(model)
        return model


@torch.no_grad()
def _keep_variance(model: EncodecModel) -> None:
    """Draw convolutions that keep the variance of their input (LeCun et al. 1998), without bias; quiet at the output, a latent of order 1.

    With a latent as quiet as speech the mean squared commitment is nothing beside the other losses at its usual weight, and the losses that
    see directions alone blow it up (docs/recipe.md).

    transformers' own Kaiming initialisation writes to the computed weight of weight norm and is lost. What remains is PyTorch's default:
    0.6 of the amplitude a layer and biases above the level of speech, so that the latent at the start is constant to within 3 %, the
    codebooks learn that constant, and 1,200 steps teach nothing (measured on LibriSpeech at 8 filters, mel on held-out speech:
    1.82 after 1,200 steps from there; from here 1.38 after 300 and 1.16 after 1,200).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            overlap = module.stride[0] if isinstance(module, nn.ConvTranspose1d) else 1
            scale = (module.in_channels * module.kernel_size[0] / overlap) ** -0.5
            _set_weight(module, torch.randn(module.weight.shape) * scale)
            if module.bias is not None:
                module.bias.zero_()
    output = model.decoder.layers[-1].get_submodule("conv")
    _set_weight(output, QUIET * torch.as_tensor(output.weight))
    for side, gain in ((model.encoder.layers[-1], LEVEL), (model.decoder.layers[0], 1 / LEVEL)):
        convolution = side.get_submodule("conv")
        _set_weight(convolution, gain * torch.as_tensor(convolution.weight))


def _set_weight(module: nn.Module, weight: Tensor) -> None:
    if parametrize.is_parametrized(module, "weight"):
        module.weight = weight  # goes through weight norm's own inverse
    else:
        module.get_parameter("weight").copy_(weight)
