"""Mimi (Defossez et al. 2024, arXiv 2410.00037) as transformers' MimiModel: a semantic and an acoustic quantizer of one latent."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.codecs.base import Summed, bursts, random_entries
from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.split_tokenizer import SplitTokenizer

HEARD = 40.0  # seconds of noise from which the codebooks of a random copy are drawn: 500 frames


class MimiCodec(Summed):
    """F_1 = the semantic codebook, projected; F_(1+j) = F_1 + the projected sum of the first j acoustic codebooks.

    Both quantizers see the same latent, in parallel: the acoustic ones do not encode what the semantic one left (but in a tokenizer of ours
    of the order "serial", which is no export: there they do). The last layer equals the decoder input of `MimiModel.decode`, difference 0;
    the codes are those of `MimiModel.encode` without a mask. Causal.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        codebooks: int | None = None,
        random_weights: int | None = None,
        name: str | None = None,
    ) -> None:
        """Load from `path`, a hub name or a folder; `codebooks`: the first so many (Moshi and the seed study use 8), None for all.

        `random_weights`: seed of a copy with random weights. Raises RequestError for a count of codebooks that the model does not have.
        """
        model, _ = pretrained.obtain({"mimi": "MimiModel"}, path, random_weights)
        config = model.config
        least, most = int(config.num_semantic_quantizers), int(config.num_quantizers)
        if model.encoder is None or model.decoder is None or config.audio_channels != 1:
            raise RequestError(f"path={path}: half a Mimi, or {config.audio_channels} channels; take a whole mono model (kyutai/mimi)")
        if codebooks is not None and not least <= codebooks <= most:
            raise RequestError(f"codebooks={codebooks}: {Path(path).name} has {least} to {most}; give one of these, or null for all")
        if random_weights is not None:
            _draw_codebooks(model, random_weights)
        self._take(model.to(pretrained.device(device)), name or Path(path).name, codebooks or most)

    @classmethod
    def from_module(cls, tokenizer: SplitTokenizer, name: str = "laminal") -> "MimiCodec":
        """Probe a tokenizer as it is now: a copy, with the numbers that its export gives; `tokenizer` is not touched."""
        codec = cls.__new__(cls)
        model = tokenizer.stock().requires_grad_(False)
        codec._take(model, name, tokenizer.quantizer.codebooks, serial=tokenizer.order == "serial")
        return codec

    def _take(self, model: Any, name: str, codebooks: int, serial: bool = False) -> None:
        """Make `model` our own, with its first `codebooks` codebooks."""
        config = model.config
        self.model, self.device = model, model.quantizer.semantic_residual_vector_quantizer.layers[0].codebook.embed_sum.device
        for module in model.modules():
            if hasattr(module, "_embed"):
                module._embed = None  # codebook vectors are kept when first asked for: make them anew on this device
        self.name, self.sample_rate = name, int(config.sampling_rate)
        self.frame_rate = float(config.frame_rate)
        self.codebooks, self.codebook_size, self.semantic = codebooks, int(config.codebook_size), int(config.num_semantic_quantizers)
        self.causal, self.serial = bool(config.use_causal_conv), serial
        settings: dict[str, Any] = {"serial": True} if serial else {}
        self.revision = pretrained.weights_sha256(model, codebooks=codebooks, **settings)

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        return self.model.encoder(wav[:, None]).latents.transpose(1, 2)

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        if not self.serial:
            return self.model.quantizer.encode(latent.transpose(1, 2), self.codebooks).transpose(0, 1)
        semantic, acoustic = self._halves
        first = semantic.encode(latent.transpose(1, 2))
        left = latent.transpose(1, 2) - semantic.decode(first.transpose(0, 1))
        return torch.cat([first, acoustic.encode(left, self.codebooks - self.semantic)]).transpose(0, 1)

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        semantic, acoustic = (
            _projected(half, part) for half, part in zip(self._halves, (codes[:, : self.semantic], codes[:, self.semantic :]))
        )
        return [each.transpose(1, 2) for each in (*semantic, *(semantic[-1] + each for each in acoustic))]

    @property
    def _halves(self) -> tuple[Any, Any]:
        quantizer = self.model.quantizer
        return quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer

    def _audio(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        return self.model.decode(codes).audio_values[:, 0]


def _projected(quantizer: Any, codes: Int[Tensor, "b q n"]) -> list[Tensor]:
    """Project the running sum of the codebooks' vectors, one (b, d, n) for each codebook of `codes`."""
    found, total = [], torch.zeros((), device=codes.device)
    for layer, indices in zip(quantizer.layers, codes.unbind(1)):
        total = total + layer.decode(indices)
        found.append(total if quantizer.output_proj is None else quantizer.output_proj(total))
    return found


@torch.no_grad()
def _draw_codebooks(model: Any, seed: int) -> None:
    """Give the random copy codebooks: the library starts them at zero, to be filled by training."""
    latent = model.encoder(bursts(model.config.sampling_rate, HEARD, seed)[:, None]).latents
    number = seed
    for quantizer in (model.quantizer.semantic_residual_vector_quantizer, model.quantizer.acoustic_residual_vector_quantizer):
        residual = (latent if quantizer.input_proj is None else quantizer.input_proj(latent))[0].T
        for layer in quantizer.layers:
            entries = random_entries(residual, model.config.codebook_size, number)
            layer.codebook.embed_sum.copy_(entries)
            layer.codebook.cluster_usage.fill_(1.0)
            layer.codebook._embed = None
            residual = residual - entries[layer.codebook.encode(residual)]
            number += 1
