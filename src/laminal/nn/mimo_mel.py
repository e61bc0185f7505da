"""The log-mel spectrogram that MiMo-Audio-Tokenizer hears."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from laminal import compat
from laminal.nn.mimo_config import MimoConfig

FLOOR = 1e-7


class LogMel(nn.Module):
    """Natural logarithm of mel magnitudes (power 1, HTK's scale, filters of height 1, Hann window), at least log of 1e-7.

    Frame m is centred at sample m x hop; the ends of the audio are mirrored. To the last bit what torchaudio's MelSpectrogram gives.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MimoConfig) -> None:
        super().__init__()
        self.config = config
        fbanks = compat.torchaudio().functional.melscale_fbanks
        top = config.sampling_rate / 2 if config.fmax is None else config.fmax
        filters = fbanks(config.nfft // 2 + 1, config.fmin, top, config.n_mels, config.sampling_rate, norm=None, mel_scale="htk")
        self.register_buffer("window", torch.hann_window(config.window_size), persistent=False)
        self.register_buffer("filters", filters, persistent=False)  # (bins, mels)

    def forward(self, wav: Float[Tensor, " t"]) -> Float[Tensor, "m f"]:
        """Mel bands of 1 + t // hop frames; audio of half a window or less, which cannot be mirrored, goes on as silence."""
        config = self.config
        wav = nn.functional.pad(wav, (0, max(0, config.nfft // 2 + 1 - len(wav))))
        stft = torch.stft(wav, config.nfft, config.hop_length, config.window_size, self.window, pad_mode="reflect", return_complex=True)
        return (stft.abs().transpose(0, 1) @ self.filters).transpose(0, 1).clamp(min=FLOOR).log()
