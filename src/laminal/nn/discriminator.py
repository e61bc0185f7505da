"""Multi-scale STFT discriminator: a stack of 2-D convolutions judges the complex spectrogram at several window lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from laminal.errors import RequestError

DILATIONS = (1, 2, 4)  # over time, one convolution each
SLOPE = 0.2  # of the leaky ReLU


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one scale says of a batch: logits (b, 1, n, f), and the activations (b, c, n, f_l) of its hidden layers."""

    logits: Float[Tensor, "b 1 _ _"]
    features: tuple[Float[Tensor, "b _ _ _"], ...]


class STFTDiscriminator(nn.Module):
    """One scale of the discriminator of EnCodec (arXiv 2210.13438, section 3.4 and figure 2), written from its description.

    Real and imaginary parts enter as two channels; a 3 x 9 convolution (time x frequency; the paper says 3 x 8, odd keeps it centred),
    three of dilation 1, 2, 4 over time and stride 2 over frequency, a 3 x 3 one, and a 3 x 3 one to a logit per position.
    No layer has a stride over time: frame k of every activation is centred at sample k * hop.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop: int, filters: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        first = nn.Conv2d(2, filters, (3, 9), padding=(1, 4))
        dilated = [nn.Conv2d(filters, filters, (3, 9), (1, 2), (dilation, 4), (dilation, 1)) for dilation in DILATIONS]
        last = nn.Conv2d(filters, filters, 3, padding=1)
        self.layers = nn.ModuleList(weight_norm(layer) for layer in (first, *dilated, last))
        self.head = weight_norm(nn.Conv2d(filters, 1, 3, padding=1))

    def spectrogram(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b 2 n f"]:
        """Complex STFT over the root of the window's energy: white noise has one power at every scale; never in half precision."""
        with torch.autocast(wav.device.type, enabled=False):
            wav = wav.float() if wav.dtype in (torch.float16, torch.bfloat16) else wav
            window = (self.window / self.window.square().sum().sqrt()).to(wav.dtype)
            stft = torch.stft(wav, self.n_fft, self.hop, window=window, center=True, pad_mode="constant", return_complex=True)  # b f n
        return torch.view_as_real(stft).permute(0, 3, 2, 1)  # b 2 n f, already channels-last in memory: twice as fast on a CPU

    def forward(self, wav: Float[Tensor, "b t"]) -> Judgement:
        """Judge audio; n = t // hop + 1."""
        hidden = self.spectrogram(wav)
        features = []
        for layer in self.layers:
            hidden = nn.functional.leaky_relu(layer(hidden), SLOPE)
            features.append(hidden)
        return Judgement(self.head(hidden), tuple(features))

    def frame_mask(self, mask: Bool[Tensor, "b t"]) -> Bool[Tensor, "b n"]:
        """Frames whose centre is a real sample."""
        samples = mask.shape[1]
        centres = torch.arange(0, samples + 1, self.hop, device=mask.device).clamp(max=samples - 1)
        return mask[:, centres]


class MultiScaleSTFTDiscriminator(nn.Module):
    """One STFT discriminator per window length; laptop size: 8 filters at 1024, 512, 256 samples with hop n/2.

    Raises RequestError where a window is no power of two or the hop is neither a half nor a quarter of it.
    """

    def __init__(self, n_ffts: Sequence[int], filters: int, hops_per_window: int) -> None:
        super().__init__()
        for n_fft in n_ffts:
            if n_fft < 16 or n_fft & (n_fft - 1):
                raise RequestError(f"n_ffts {list(n_ffts)}: {n_fft} is not a power of two from 16 on; use for example [1024, 512, 256]")
        if not n_ffts:
            raise RequestError("n_ffts is empty: a discriminator needs a scale; use for example [1024, 512, 256]")
        if hops_per_window not in (2, 4):
            raise RequestError(f"hops_per_window {hops_per_window} is neither 2 nor 4; the hop is n_fft / 2 or n_fft / 4")
        self.scales = nn.ModuleList(STFTDiscriminator(n_fft, n_fft // hops_per_window, filters) for n_fft in n_ffts)

    def forward(self, wav: Float[Tensor, "b t"]) -> tuple[Judgement, ...]:
        """Judge audio at every scale."""
        return tuple(scale(wav) for scale in self.scales)

    def frame_masks(self, mask: Bool[Tensor, "b t"]) -> tuple[Bool[Tensor, "b _"], ...]:
        """Frames of every scale whose centre is a real sample."""
        return tuple(scale.frame_mask(mask) for scale in self.scales if isinstance(scale, STFTDiscriminator))
