"""The Whisper encoder (Radford et al. 2022, arXiv 2212.04356): no codes, its hidden states are the layers."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from laminal.codecs.base import Encoder
from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.whisper_mel import STEP, WINDOW, LogMel

RATE = 16_000  # Hz
HOP = 2 * STEP
DECODER = ("decoder.", "proj_out.")


class WhisperEncoderCodec(Encoder):
    """Layer k = output of the k-th transformer layer (the last one normalised, as decoders see it); "latent" = what enters the first.

    Whisper centres its frame k at 320 k samples: the first 160 samples are dropped, so that it stands at 320 k + 160. `window="crop"`:
    positions and attention stop with the audio given; `"whole"`: silence up to 30 s is heard too, as in Whisper's own use and with
    its very numbers, at the price of 30 s of work for each word. Audio over 30 s is heard in equal windows that do not overlap.
    """

    def __init__(self, path: str | Path, window: str, device: str = "auto", random_weights: int | None = None) -> None:
        """Load from `path`, a hub name or a folder (its decoder is not needed); `random_weights`: seed of a random copy."""
        if window not in ("crop", "whole"):
            raise RequestError(f"window={window} is neither crop nor whole; crop hears the audio alone, whole the silence up to 30 s too")
        model, _ = pretrained.obtain({"whisper": "WhisperModel"}, path, random_weights, DECODER, DECODER)
        self.window, self.device = window, pretrained.device(device)
        self.encoder = model.get_encoder().to(self.device)
        self.mel = LogMel(self.encoder.config.num_mel_bins).to(self.device)
        self.most = int(self.encoder.config.max_source_positions)
        self.name, self.sample_rate, self.frame_rate = Path(path).name, RATE, RATE / HOP
        self.revision = pretrained.weights_sha256(self.encoder, window=window, clock=1)

    @torch.no_grad()
    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Hidden states of audio (b t)."""
        wav = self._from_audio(wav_or_codes)
        frames = -(-wav.shape[1] // HOP)
        each = -(-frames // -(-frames // self.most))  # frames of one window
        states = [self._states(part) for part in wav.split(each * HOP, dim=1)]
        first, *others = [torch.cat(parts, 1) for parts in zip(*states, strict=True)]
        return {"latent": first} | {str(number): state for number, state in enumerate(others, start=1)}

    def _states(self, wav: Float[Tensor, "b t"]) -> list[Float[Tensor, "b n d"]]:
        count = -(-wav.shape[1] // HOP)
        heard = count if self.window == "crop" else self.most
        end = STEP + heard * HOP + 2 * WINDOW  # past the window it hears silence
        mel = self.mel(nn.functional.pad(wav, (0, end - wav.shape[1]))[:, STEP:])
        if self.window == "whole":
            states = self.encoder(mel[..., : 2 * heard], output_hidden_states=True).hidden_states
            return [state[:, :count] for state in states]
        encoder = self.encoder
        stem = nn.functional.gelu(encoder.conv1(mel[..., : 2 * count + 1]))  # one more: the stem looks one frame ahead
        stem = nn.functional.gelu(encoder.conv2(stem))[..., :count]
        states = [stem.transpose(1, 2) + encoder.embed_positions.weight[:count]]
        for layer in encoder.layers:
            states.append(layer(states[-1], None))
        states[-1] = encoder.layer_norm(states[-1])
        return states
