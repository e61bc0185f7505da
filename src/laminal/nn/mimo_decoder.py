"""The decoder of MiMo-Audio-Tokenizer: summed codebook vectors to a coarse mel, and a vocoder from that to audio."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from laminal.nn.mimo_config import MimoConfig
from laminal.nn.mimo_transformer import Transformer

LOUDEST = 1e2  # bound of the magnitudes of a spectrum


class Upsampling(nn.Module):
    """A transposed convolution cut at its end, and a group norm of one group: over all frames, so every frame depends on later ones."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.excess = kernel - stride
        self.conv = nn.ConvTranspose1d(inner, outer, kernel, stride)
        self.norm = nn.GroupNorm(1, outer)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "m f"]:
        """Give `stride` frames for each; those cut off have their part in the norm, as published."""
        y = self.norm(self.conv(x.T[None]))[0].T
        return y[: len(y) - self.excess]


class InverseSTFT(nn.Module):
    """Overlap-add of windowed inverse FFTs, divided by the sum of squared windows; `hop` samples a frame ("same" padding)."""

    window: Tensor

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size))

    def forward(self, spectrum: Complex[Tensor, "k n"]) -> Float[Tensor, " t"]:
        """Audio of spectra of `size` // 2 + 1 bins."""
        frames, edge = spectrum.shape[1], (self.size - self.hop) // 2
        pieces = torch.fft.irfft(spectrum, self.size, dim=0) * self.window[:, None]  # (size, n)
        weights = self.window.square()[:, None].expand(-1, frames)
        length = (frames - 1) * self.hop + self.size
        summed, envelope = (
            nn.functional.fold(values[None], (1, length), (1, self.size), stride=(1, self.hop))[0, 0, 0, edge : length - edge]
            for values in (pieces, weights)
        )
        return summed / envelope


class Head(nn.Module):
    """Log-magnitude and phase of each frame's spectrum from its features, and the audio (Vocos: Siuzdak 2023, arXiv 2306.00814)."""

    def __init__(self, width: int, size: int, hop: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, size + 2)
        self.istft = InverseSTFT(size, hop)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " t"]:
        """Audio of `hop` samples a frame."""
        magnitude, phase = self.out(x).T.chunk(2)
        magnitude = magnitude.exp().clip(max=LOUDEST)
        return self.istft(torch.complex(magnitude * phase.cos(), magnitude * phase.sin()))


class Vocoder(Transformer):
    """A transformer on mel frames that see a window around them (40 back and 10 ahead as published), and the spectral head."""

    def __init__(self, config: MimoConfig) -> None:
        super().__init__(
            config, config.vocoder_dim, config.vocoder_num_layers, config.vocoder_attention_heads, config.vocoder_intermediate_dim,
            False, config.vocoder_attn_window_size,
        )  # fmt: skip
        self.embeddings = nn.Linear(config.n_mels, config.vocoder_dim, bias=False)
        self.head = Head(config.vocoder_dim, config.nfft, config.hop_length)

    def forward(self, mel: Float[Tensor, "m f"]) -> Float[Tensor, " t"]:
        """Audio of `hop_length` samples a mel frame."""
        return self.head(self.transform(self.embeddings(mel)))


class Decoder(Transformer):
    """Doubles the rate, transforms, doubles it again to a coarse mel, and hands that to the vocoder."""

    def __init__(self, config: MimoConfig) -> None:
        super().__init__(
            config, config.d_model, config.decoder_layers, config.decoder_attention_heads, config.decoder_ffn_dim,
            config.decoder_causal, config.decoder_attn_window_size,
        )  # fmt: skip
        self.dconv1 = Upsampling(config.d_model, config.d_model, config.avg_pooler, config.avg_pooler)
        self.dconv2 = Upsampling(config.d_model, config.n_mels, config.decoder_kernel_size, config.decoder_stride_size)
        self.vocoder = Vocoder(config)

    def forward(self, summed: Float[Tensor, "n d"]) -> Float[Tensor, " t"]:
        """Audio of one utterance from the sum of its codebook vectors."""
        return self.vocoder(self.dconv2(self.transform(self.dconv1(summed))))
