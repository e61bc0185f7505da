"""HuBERT, WavLM and wav2vec 2.0 on the clock of codecs: their hidden states, frame k centred in its hop."""

from math import prod
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from laminal.errors import RequestError
from laminal.nn import pretrained

CLASSES = {"hubert": "HubertModel", "wavlm": "WavLMModel", "wav2vec2": "Wav2Vec2Model"}
RATE = 16_000  # Hz
HEADS = ("lm_head.", "project_hid.", "project_q.", "quantizer.", "projector.", "classifier.", "layer_weights")  # of other tasks
UNUSED = ("masked_spec_embed",)  # of masking, in training alone


class SpeechEncoder:
    """Hidden states of a self-supervised encoder, frozen.

    The first frame of such a network sees more than one hop (400 samples, hop 320): as many zeros before and after make frame k the one
    centred at (k + 0.5) hops, and the last hop is filled with zeros. Where the folder's preprocessor_config.json says `do_normalize`
    (or there is none), each row is brought to mean 0 and variance 1, as the library's feature extractor does.
    """

    def __init__(self, path: str | Path, device: str = "auto", random_weights: int | None = None) -> None:
        """Load from `path`, a hub name or a folder; `random_weights`: seed of a copy with the library's random initialisation.

        Raises RequestError for another type of model, or weights that do not fit.
        """
        self.network, folder = pretrained.obtain(CLASSES, path, random_weights, HEADS, UNUSED)
        self.device = pretrained.device(device)
        self.network.to(self.device)
        config = self.network.config
        self.kind, self.layers, self.width = config.model_type, int(config.num_hidden_layers), int(config.hidden_size)
        self.hop = prod(config.conv_stride)
        strides = [prod(config.conv_stride[:index]) for index in range(len(config.conv_stride))]
        self.field = 1 + sum((kernel - 1) * stride for kernel, stride in zip(config.conv_kernel, strides))  # samples that a frame sees
        if self.field < self.hop:
            raise RequestError(f"path={path}: frames see {self.field} samples every {self.hop}; take a network that hears all of the audio")
        self.margin = (self.field - self.hop) // 2
        self.normalise = bool(pretrained.read_json(folder / "preprocessor_config.json", {}).get("do_normalize", True))
        self.revision = pretrained.weights_sha256(self.network, normalise=self.normalise, clock=1)

    @torch.no_grad()
    def hidden_states(self, wav: Float[Tensor, "b t"]) -> list[Float[Tensor, "b n d"]]:
        """Give what enters the first layer, then each layer's output: the library's `hidden_states`, its `last_hidden_state` at the end.

        In networks that normalise after the last layer (the large ones) the library's own list may hold that layer before it.
        """
        if self.normalise:
            wav = (wav - wav.mean(1, keepdim=True)) / (wav.var(1, keepdim=True, unbiased=False) + 1e-7).sqrt()
        frames = -(-wav.shape[1] // self.hop)
        heard = (frames - 1) * self.hop + self.field  # samples that so many frames see
        padded = torch.nn.functional.pad(wav, (self.margin, heard - self.margin - wav.shape[1]))
        found = self.network(padded, output_hidden_states=True)
        return [*found.hidden_states[:-1], found.last_hidden_state]
