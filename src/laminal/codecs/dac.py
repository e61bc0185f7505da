"""DAC, the Descript Audio Codec (Kumar et al. 2023, arXiv 2306.06546), as transformers' DacModel: 16, 24 and 44.1 kHz."""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal.codecs.base import Summed, whole_frames
from laminal.nn import pretrained


class DacCodec(Summed):
    """Layer k = sum over the first k codebooks of their projected vectors, `out_proj(codebook(codes))`.

    The last layer equals the decoder input of `DacModel.decode(audio_codes=codes)`, difference 0, and the codes are those of
    `DacModel.encode` on audio filled with zeros to whole frames, as the library's feature extractor fills it. Odd strides lose a few
    samples in decoding: zeros at the end bring them back to whole frames. Not causal: the strides of a frame lie around its centre.
    """

    def __init__(self, path: str | Path, device: str = "auto", random_weights: int | None = None) -> None:
        """Load from `path`, a hub name or a folder; `random_weights`: seed of a copy with the library's random initialisation."""
        model, _ = pretrained.obtain({"dac": "DacModel"}, path, random_weights)
        self.model, self.device = model.to(pretrained.device(device)), pretrained.device(device)
        config = model.config
        self.name, self.sample_rate, self.hop = Path(path).name, int(config.sampling_rate), int(config.hop_length)
        self.frame_rate = self.sample_rate / self.hop
        self.codebooks, self.codebook_size = int(config.n_codebooks), int(config.codebook_size)
        self.revision = pretrained.weights_sha256(model)

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        return self.model.encoder(whole_frames(wav, self.hop)[:, None]).transpose(1, 2)

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        return self.model.quantizer(latent.transpose(1, 2))[1]

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        sums: list[Tensor] = []
        for layer, quantizer in zip(codes.unbind(1), self.model.quantizer.quantizers):
            projected = quantizer.out_proj(quantizer.codebook(layer).transpose(1, 2))
            sums.append((sums[-1] if sums else 0.0) + projected)
        return [each.transpose(1, 2) for each in sums]

    def _audio(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        wav = self.model.decode(audio_codes=codes).audio_values
        return torch.nn.functional.pad(wav, (0, codes.shape[2] * self.hop - wav.shape[1]))
