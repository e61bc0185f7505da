"""HuBERT, WavLM and wav2vec 2.0 by transformers (Hsu et al. 2021, arXiv 2106.07447; Chen et al. 2022, arXiv 2110.13900)."""

from math import prod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from laminal import compat
from laminal.errors import RequestError
from laminal.teachers.base import HOP, Frozen, check_layer, find, pretrained, read_json, select

TYPES = ("hubert", "wavlm", "wav2vec2")
NEEDS = ("*.json", "*.safetensors", "pytorch_model.bin")
PAD = 40  # samples on each side: its first frame sees 400 samples, so without them t samples give t / 320 - 1 frames, half a hop late


class HubertTeacher(Frozen):
    """Hidden states of a HuBERT-shaped network, one layer or the mean of layers 1..L."""

    def __init__(self, path: str | Path, layer: int | str):
        """Load from `path`: "shipped/hubert-small", a local folder, or a hub name.

        layer: 0 to L, or "mean". Raises RequestError for a path that is missing, of another type, or not at 50 Hz.
        """
        folder = find(path, NEEDS)
        network = load(folder)
        super().__init__(network)
        self.sample_rate = 16000
        self.frame_rate = 50.0
        self.width = int(network.config.hidden_size)
        self.layers = int(network.config.num_hidden_layers)
        self.layer = check_layer(layer, self.layers)
        self.normalise = bool(read_json(folder / "preprocessor_config.json", {}).get("do_normalize", True))

    def frames(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Features of t // 320 frames, frame t centred at sample 320 t + 160."""
        return select(self.hidden_states(wav), self.layer)

    def hidden_states(self, wav: Float[Tensor, "b t"]) -> list[Tensor]:
        """All L + 1 hidden states, each (b, n, d): what enters the first layer, then each layer's output."""
        if wav.shape[1] < HOP:
            raise RequestError(f"{wav.shape[1]} samples: a teacher's frame is {HOP}; give at least one frame of audio")
        if self.normalise:
            wav = (wav - wav.mean(1, keepdim=True)) / (wav.var(1, keepdim=True, unbiased=False) + 1e-7).sqrt()
        padded = torch.nn.functional.pad(wav, (PAD, PAD))
        return list(self._networks[0](padded, output_hidden_states=True).hidden_states)


def load(folder: Path) -> Any:
    """Load the network in `folder` as float32; only safetensors or weights-only checkpoints are read, no code."""
    compat.torchaudio()
    from transformers import AutoModel

    config = read_json(folder / "config.json")
    if config.get("model_type") not in TYPES:
        raise RequestError(f"{folder}: model_type {config.get('model_type')!r} is none of {', '.join(TYPES)}; give such a folder")
    stride = prod(config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2)))
    if stride != HOP:
        raise RequestError(f"{folder}: hop of {stride} samples, must be {HOP} (50 Hz at 16 kHz); take a network on HuBERT's grid")
    return pretrained(folder, AutoModel)
