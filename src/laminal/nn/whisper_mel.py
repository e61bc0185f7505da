"""The log-mel that Whisper hears (Radford et al. 2022, arXiv 2212.04356), in torch and differentiable."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from laminal import compat

WINDOW = 400  # samples
STEP = 160  # samples between two mel frames; the encoder's second convolution keeps every other one


class LogMel(nn.Module):
    """Whisper's log-mel in torch, differentiable: log10 of mel power, floored 8 decades under the loudest value, (x + 4) / 4."""

    window: Tensor
    filters: Tensor

    def __init__(self, mels: int):
        super().__init__()
        compat.torchaudio()
        from transformers.audio_utils import mel_filter_bank

        bank = mel_filter_bank(WINDOW // 2 + 1, mels, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("filters", torch.from_numpy(bank.T.copy()).float(), persistent=False)

    def forward(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b m f"]:
        """Log-mel of t // 160 frames, frame f centred at sample 160 f."""
        with torch.autocast(wav.device.type, enabled=False):  # the power spans more decades than half floats hold
            spectrum = torch.stft(wav.float(), WINDOW, STEP, window=self.window.float(), return_complex=True)[..., :-1]
            power = spectrum.real.square() + spectrum.imag.square()
            level = (self.filters.float() @ power).clamp(min=1e-10).log10()
            floor = level.amax((1, 2), keepdim=True) - 8
            return (torch.maximum(level, floor) + 4) / 4
