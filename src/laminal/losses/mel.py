"""Mel: L1 of mel magnitudes and squared error of their logarithm, at window lengths of 32 to 2048 samples."""

import warnings

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from laminal import compat
from laminal.corpora.crops import Batch
from laminal.errors import RequestError
from laminal.losses.base import DiscriminatorFeatures, Loss, full, masked_mean
from laminal.nn.tokenizer import TokenizerOutput


class MelLoss(Loss):
    """Multi-scale mel loss (EnCodec, arXiv 2210.13438, section 3.4, frequency domain, with squared log error as audiocraft reads it).

    At each window 2^i, i = shortest..longest, hop 2^i / 4: mean |M - M'| + log_weight * mean (L - L')^2 with L = 2 log10(M + floor),
    in bel; the mean over the scales is the term. Normalised by scale: the STFT is divided by the root of the window's energy and each
    filter sums to 1, so M is a local mean magnitude and white noise gives the same M at every window; filters that fall between two bins
    of a short window hold nothing and are left out. One STFT serves both parts. Padding is zero on both sides, frames centred on it do
    not count. EnCodec sums over bins and prints no floor: both are choices here.
    Raises RequestError where the scales are empty.
    """

    name = "mel"
    on_waveform = True

    def __init__(self, sample_rate: int, mels: int, shortest: int, longest: int, log_weight: float, floor: float) -> None:
        super().__init__()
        if not 4 <= shortest <= longest:
            raise RequestError(f"mel scales 2^{shortest}..2^{longest} are none; EnCodec has shortest=5 and longest=11")
        self.sample_rate, self.log_weight, self.floor = sample_rate, log_weight, floor
        self.windows = tuple(2**i for i in range(shortest, longest + 1))
        for window in self.windows:
            self.register_buffer(f"filters_{window}", _filters(sample_rate, mels, window), persistent=False)
            hann = torch.hann_window(window)
            self.register_buffer(f"hann_{window}", hann / hann.square().sum().sqrt(), persistent=False)

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term; raises RequestError where the tokenizer's sample rate is not the one that the filters were made for."""
        if out.sample_rate != self.sample_rate:
            raise RequestError(f"mel has sample_rate {self.sample_rate} Hz, the tokenizer {out.sample_rate} Hz; set losses.mel.sample_rate")
        with torch.autocast(out.audio.device.type, enabled=False):
            fake, real = full(out.audio) * batch.mask, full(batch.wav) * batch.mask
            return torch.stack([self._scale(window, fake, real, batch.mask) for window in self.windows]).mean()

    def _scale(self, window: int, fake: Float[Tensor, "b t"], real: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, ""]:
        with torch.no_grad():
            target = self.mel(real, window)
        mel = self.mel(fake, window)
        linear = (mel - target).abs().mean(dim=2)
        bel = 2 * (torch.log10(mel + self.floor) - torch.log10(target + self.floor))
        centres = torch.arange(mel.shape[1], device=mask.device) * (window // 4)
        return masked_mean(linear + self.log_weight * bel.square().mean(dim=2), mask[:, centres.clamp(max=mask.shape[1] - 1)])

    def mel(self, wav: Float[Tensor, "b t"], window: int) -> Float[Tensor, "b n m"]:
        """Mel magnitudes with frame k centred at sample k * window / 4."""
        hann, filters = self.get_buffer(f"hann_{window}"), self.get_buffer(f"filters_{window}")
        stft = torch.stft(
            wav, window, window // 4, window=hann.to(wav.dtype), center=True, pad_mode="constant", return_complex=True
        )  # b f n, in memory b n f
        return stft.abs().transpose(1, 2) @ filters.to(wav.dtype)  # |.| of a complex zero has gradient 0


def _filters(sample_rate: int, mels: int, window: int) -> Float[Tensor, "f m"]:
    """Triangular filters that each sum to 1; those without any bin are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchaudio warns of empty filters, which the next lines remove
        filters = compat.torchaudio().functional.melscale_fbanks(window // 2 + 1, 0.0, sample_rate / 2, mels, sample_rate)
    filters = filters[:, filters.sum(dim=0) > 0]
    return filters / filters.sum(dim=0)
