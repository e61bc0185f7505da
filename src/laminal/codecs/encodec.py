"""EnCodec in transformers' format: the published 24 kHz model, and every tokenizer that laminal trains."""

import hashlib
import json
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel

from laminal.codecs.base import Summed, bursts, random_entries
from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.nearest import nearest_as_stock
from laminal.nn.tokenizer import Tokenizer

STATISTICS = ("cluster_size", "embed_avg", "inited")  # of EMA training: no feature depends on them
HEARD = 8.0  # seconds of noise from which the codebooks of a random copy are drawn


class EncodecCodec(Summed):
    """EncodecModel (Defossez et al. 2022) at its full bandwidth: layer k = sum of the first k codebooks' vectors.

    The last layer equals the library's own decoder input, difference 0, and the codes are those of `EncodecModel.encode`. Weight norm is
    folded by the operation that it runs in every forward, which changes no bit. Batches hold equal lengths. Causal, but for the first six
    frames: its convolutions pad by reflection, so these hear some frames that follow them.
    """

    concurrent = True  # modules without state between calls

    def __init__(self, path: str | Path, device: str = "auto", random_weights: int | None = None, name: str | None = None) -> None:
        """Load from `path`, a hub name or a folder of save_pretrained (as a run's tokenizer/).

        `random_weights`: seed of a copy with random weights. Raises RequestError for a model that normalises or cuts its input (the
        published 48 kHz one) or whose weights do not fit.
        """
        model, _ = pretrained.obtain({"encodec": "EncodecModel"}, path, random_weights)
        self._check(model.config, str(path))
        if random_weights is not None:
            _draw_codebooks(model, random_weights)
        self._take(model.to(pretrained.device(device)), name or Path(path).name)  # the folder of a hub name is called by its commit

    @classmethod
    def from_module(cls, tokenizer: Tokenizer, name: str = "laminal") -> "EncodecCodec":
        """Probe a tokenizer as it is now: a copy, with the numbers that its export gives; `tokenizer` is not touched."""
        codec = cls.__new__(cls)
        codec._take(tokenizer.stock(), name)
        return codec

    def _take(self, model: EncodecModel, name: str) -> None:
        """Make `model` our own: frozen, in eval mode, weight norm folded."""
        config = model.config
        self._check(config, name)
        self.name, self.sample_rate = name, config.sampling_rate
        self.frame_rate = config.sampling_rate / config.hop_length
        self.codebooks, self.codebook_size = config.num_quantizers, config.codebook_size
        self.causal = bool(config.use_causal_conv)
        self.revision = _revision(model)
        self.model = model.eval().requires_grad_(False)
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        state = model.quantizer.state_dict()
        self.entries: list[Tensor] = [state[f"layers.{layer}.codebook.embed"] for layer in range(self.codebooks)]
        self.device = self.entries[0].device

    @staticmethod
    def _check(config: EncodecConfig, name: str) -> None:
        if config.audio_channels != 1 or config.normalize or config.chunk_length_s is not None:
            raise RequestError(
                f"{name}: {config.audio_channels} channels, normalize={config.normalize}, chunk_length_s={config.chunk_length_s}; "
                "its frames depend on the level and the cuts of the input: take a mono model without them, as facebook/encodec_24khz"
            )

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        return self.model.encoder(wav[:, None]).transpose(1, 2)

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        batch, frames, dim = latent.shape
        residual, codes = latent.reshape(batch * frames, dim), []
        for entries in self.entries:
            codes.append(nearest_as_stock(residual, entries))
            residual = residual - entries[codes[-1]]
        return torch.stack([layer.view(batch, frames) for layer in codes], dim=1)

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        sums: list[Tensor] = []
        for layer, entries in enumerate(self.entries[: codes.shape[1]]):
            chosen = torch.nn.functional.embedding(codes[:, layer], entries)
            sums.append((sums[-1] if sums else torch.zeros_like(chosen)) + chosen)
        return sums

    def _audio(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        return self.model.decoder(self._sums(codes)[-1].transpose(1, 2))[:, 0]


@torch.no_grad()
def _draw_codebooks(model: EncodecModel, seed: int) -> None:
    """Give the random copy codebooks: the library starts them at zero, to be filled by training."""
    residual = model.encoder(bursts(model.config.sampling_rate, HEARD, seed)[:, None])[0].T
    for number in range(model.config.num_quantizers):
        entries = random_entries(residual, model.config.codebook_size, seed + number)
        model.quantizer.get_buffer(f"layers.{number}.codebook.embed").copy_(entries)
        residual = residual - entries[nearest_as_stock(residual, entries)]


def _revision(model: EncodecModel) -> str:
    """Hash of all that the features depend on: architecture and weights (not of EMA statistics)."""
    names = EncodecConfig.__annotations__
    settings = {name: value for name, value in model.config.to_dict().items() if name in names and name != "model_type"}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.endswith(STATISTICS):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
