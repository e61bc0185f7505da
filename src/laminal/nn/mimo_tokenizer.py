"""MiMo-Audio-Tokenizer as a module whose weights have the published names and shapes; and one with random weights."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from laminal.nn.mimo_config import MimoConfig
from laminal.nn.mimo_decoder import Decoder
from laminal.nn.mimo_encoder import Encoder
from laminal.nn.mimo_mel import FLOOR

RECORDINGS, FRAMES = 20, 200  # of made-up sound from which random codebooks are drawn; mel frames in each


class MimoTokenizer(nn.Module):
    """Encoder with quantizer, and decoder with vocoder; `state_dict()` has the names and shapes of the published file (1,305 of them)."""

    def __init__(self, config: MimoConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


def random_tokenizer(config: MimoConfig, seed: int, mels: Sequence[Float[Tensor, "m _"]] = ()) -> MimoTokenizer:
    """Give a tokenizer as it is before training: torch's own initial weights, codebooks drawn from its latents of `mels`.

    Entries far from the latents would give every frame the same code: an untrained encoder moves all frames of one kind of recording
    by more than it tells them apart. Without `mels` the sound is made up, and speech uses few of the codes. The global generator is
    put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MimoTokenizer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    mels = mels or [_made_up(config.n_mels, generator) for _ in range(RECORDINGS)]
    with torch.no_grad():
        model.encoder.quantizer.draw(torch.cat([model.encoder(mel) for mel in mels]), generator)
    return model


def _made_up(bands: int, generator: torch.Generator) -> Float[Tensor, "m f"]:
    """Log-mel like a recording's: its own level and tilt, nothing above some band, slow and fast changes of loudness and of spectrum."""

    def smooth(height: int, width: int) -> Tensor:
        coarse = torch.randn(1, 1, height, width, generator=generator)
        return nn.functional.interpolate(coarse, (bands, FRAMES), mode="bilinear")[0, 0]

    level, cut = torch.rand(2, generator=generator).tolist()
    mel = 3 * smooth(8, 1) - 4 * level + 1.5 * smooth(16, 20) + 1.2 * smooth(1, 20)
    mel += 0.5 * torch.randn(bands, FRAMES, generator=generator)
    mel[int(bands * (0.5 + 0.6 * cut)) :] -= 10
    return mel.clamp(min=math.log(FLOOR))
