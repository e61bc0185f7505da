"""MiMo-Audio-Tokenizer as a module whose weights have the published names and shapes; and one with random weights."""

import torch
from torch import nn

from laminal.nn.mimo_config import MimoConfig
from laminal.nn.mimo_decoder import Decoder
from laminal.nn.mimo_encoder import Encoder

SOUND = 1000  # mel frames of made-up sound from which random codebooks are drawn


class MimoTokenizer(nn.Module):
    """Encoder with quantizer, and decoder with vocoder; `state_dict()` has the names and shapes of the published file (1,305 of them)."""

    def __init__(self, config: MimoConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


def random_tokenizer(config: MimoConfig, seed: int) -> MimoTokenizer:
    """Give a tokenizer as it is before training: torch's own initial weights, codebooks drawn from its latents of made-up sound.

    Entries that had nothing to do with the latents would give every frame the same code. The global generator is put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MimoTokenizer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, config.n_mels // 8 + 1, SOUND // 10, generator=generator)
    mel = 3 * nn.functional.interpolate(coarse, (config.n_mels, SOUND), mode="bilinear")[0, 0] - 4  # about the level and spread of speech
    with torch.no_grad():
        model.encoder.quantizer.draw(model.encoder(mel), generator)
    return model
