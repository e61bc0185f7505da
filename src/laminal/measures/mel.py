"""Multi-scale mel distance: L1 between log mel spectrograms at seven window lengths."""

import torch
from jaxtyping import Float
from torch import Tensor

from laminal import compat

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
BANDS = (5, 10, 20, 40, 80, 160, 320)
FLOOR = 1e-5


class MelScales:
    """The mel distance of DAC (Kumar et al. 2023, arXiv 2306.06546, section 3.5), the log part of its training loss.

    At each window w of WINDOWS: magnitudes of an STFT (Hann, hop w / 4, centred, ends mirrored), BANDS of Slaney's mel filters (area 1)
    from 0 Hz to half the rate, log10 of the larger of that and FLOOR. The distance is the sum over scales of the mean absolute difference
    over frames and bands, for samples within +-1.
    """

    def __init__(self, sample_rate: int) -> None:
        fbanks = compat.torchaudio().functional.melscale_fbanks
        self.filters = [
            fbanks(window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, norm="slaney", mel_scale="slaney")
            for window, bands in zip(WINDOWS, BANDS)
        ]

    def __call__(self, wav: Float[Tensor, "b t"]) -> list[Float[Tensor, "b _ _"]]:
        """Log mel spectrograms of every scale; `wav` has at least 1025 samples."""
        found = []
        for window, filters in zip(WINDOWS, self.filters):
            stft = torch.stft(wav, window, window // 4, window=torch.hann_window(window), pad_mode="reflect", return_complex=True)
            magnitude = (stft.real.square() + stft.imag.square()).sqrt().transpose(1, 2)  # abs() takes twice as long
            found.append((magnitude @ filters).clamp(min=FLOOR).log10())
        return found


def mel_distance(a: list[Float[Tensor, "b _ _"]], b: list[Float[Tensor, "b _ _"]]) -> Float[Tensor, " b"]:
    """Sum over scales of the mean absolute difference of log mel spectrograms, one value an utterance."""
    return torch.stack([(x - y).abs().mean((1, 2)) for x, y in zip(a, b)]).sum(0)
