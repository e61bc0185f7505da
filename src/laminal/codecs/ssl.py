"""HuBERT (Hsu et al. 2021), WavLM (Chen et al. 2022), wav2vec 2.0 (Baevski et al. 2020): no codes, their hidden states are the layers."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from laminal.codecs.base import Encoder
from laminal.nn.speech_encoder import RATE, SpeechEncoder


class SslCodec(Encoder):
    """Layer k = output of the k-th transformer layer; "latent" = what enters the first. Not causal: every frame hears all of the audio."""

    def __init__(self, path: str | Path, device: str = "auto", random_weights: int | None = None) -> None:
        """Load from `path`, a hub name or a folder; `random_weights`: seed of a copy with the library's random initialisation."""
        self.encoder = SpeechEncoder(path, device, random_weights)
        self.name, self.sample_rate, self.frame_rate = Path(path).name, RATE, RATE / self.encoder.hop
        self.device, self.revision = self.encoder.device, self.encoder.revision

    @torch.no_grad()
    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Hidden states of audio (b t)."""
        first, *others = self.encoder.hidden_states(self._from_audio(wav_or_codes))
        return {"latent": first} | {str(number): each for number, each in enumerate(others, start=1)}
