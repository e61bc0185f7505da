"""The Whisper encoder by transformers, on the crop alone (Radford et al. 2022, arXiv 2212.04356; as teacher: LM-SPT, arXiv 2506.16738)."""

from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from laminal import compat
from laminal.errors import RequestError
from laminal.nn.whisper_mel import STEP, WINDOW, LogMel
from laminal.teachers.base import HOP, Frozen, check_layer, find, pretrained, read_json, select

NEEDS = ("config.json", "*.safetensors")


class WhisperTeacher(Frozen):
    """Hidden states of a Whisper encoder, one layer or the mean of layers 1..L (the last one after the final layer norm)."""

    def __init__(self, path: str | Path, layer: int | str):
        """Load from `path`: a local folder or a hub name such as openai/whisper-base.

        layer: 0 (positions added) to L, or "mean". Raises RequestError for a path that is missing or of another type.
        """
        encoder = load(find(path, NEEDS))
        super().__init__(encoder, LogMel(encoder.config.num_mel_bins))
        self.sample_rate = 16000
        self.frame_rate = 50.0
        self.width = int(encoder.config.d_model)
        self.layers = int(encoder.config.encoder_layers)
        self.layer = check_layer(layer, self.layers)

    def frames(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Features of t // 320 frames, frame t centred at sample 320 t + 160; at most 30 s."""
        return select(self.hidden_states(wav), self.layer)

    def hidden_states(self, wav: Float[Tensor, "b t"]) -> list[Tensor]:
        """All L + 1 hidden states, each (b, n, d).

        Whisper's frame k is centred at 320 k: dropping the first 160 samples puts it at 320 k + 160 of `wav`. Past the crop
        it sees silence, as it would in its own 30 s window; positions and attention stop at the crop's last frame.
        """
        encoder = self._networks[0]
        count = wav.shape[1] // HOP
        most = encoder.config.max_source_positions
        if not 1 <= count <= most:
            raise RequestError(f"{wav.shape[1]} samples are {count} frames; Whisper takes 1 to {most}: crop the audio")
        heard = nn.functional.pad(wav[:, STEP:], (0, STEP + 2 * WINDOW))
        mel = self._networks[1](heard)[..., : 2 * count + 1].to(encoder.conv1.weight.dtype)  # one more: the stem looks one frame ahead
        stem = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(mel))))[..., :count]
        states = [stem.transpose(1, 2) + encoder.embed_positions.weight[:count]]  # (b, n, d)
        for layer in encoder.layers:
            states.append(layer(states[-1], None))
        states[-1] = encoder.layer_norm(states[-1])
        return states


def load(folder: Path) -> Any:
    """Load the encoder in `folder` as float32, from safetensors."""
    compat.torchaudio()
    from transformers import WhisperModel

    kind = read_json(folder / "config.json").get("model_type")
    if kind != "whisper":
        raise RequestError(f"{folder}: model_type {kind!r} is not whisper; give a Whisper folder")
    return pretrained(folder, WhisperModel).get_encoder()
