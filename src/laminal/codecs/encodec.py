"""EnCodec in transformers' format: the published 24 kHz model, and every tokenizer that laminal trains."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel
from transformers.utils import logging

from laminal.errors import RequestError
from laminal.nn.nearest import nearest_as_stock
from laminal.nn.tokenizer import Tokenizer

STATISTICS = ("cluster_size", "embed_avg", "inited")  # of EMA training: no feature depends on them


class EncodecCodec:
    """EncodecModel (Defossez et al. 2022) at its full bandwidth: layer k = sum of the first k codebooks' vectors.

    `model`: a name on the hub or a folder. The last layer equals the library's own decoder input, difference 0, and the codes are those of
    `EncodecModel.encode`. Weight norm is folded by the operation that it runs in every forward, which changes no bit. Batches hold
    equal lengths. Raises RequestError for a model that normalises or cuts its input (the published 48 kHz one) or whose weights do not fit.
    """

    def __init__(self, model: str, device: str = "cpu", name: str | None = None) -> None:
        self._take(_load(model).to(device), name or Path(model).name)  # type: ignore[arg-type]

    @classmethod
    def from_module(cls, tokenizer: Tokenizer, name: str = "laminal") -> "EncodecCodec":
        """Probe a tokenizer as it is now: a copy, with the numbers that its export gives; `tokenizer` is not touched."""
        codec = cls.__new__(cls)
        codec._take(tokenizer.stock(), name)
        return codec

    @torch.no_grad()
    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Codes of all codebooks; the last frame is padded."""
        return self._quantize(self._latent(wav))

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Audio of the codebooks given (the first q), whole frames."""
        summed = self._sums(codes)[-1]
        return self.model.decoder(summed.transpose(1, 2))[:, 0]

    @torch.no_grad()
    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Accumulated codebook vectors "1".."K" of codes; from audio (b t) also the encoder's output, "latent"."""
        if not wav_or_codes.is_floating_point():
            return self._named(wav_or_codes)
        latent = self._latent(wav_or_codes)
        return {"latent": latent} | self._named(self._quantize(latent))

    @torch.no_grad()
    def codes_and_latent(self, wav: Float[Tensor, "b t"]) -> tuple[Int[Tensor, "b q n"], Float[Tensor, "b n d"]]:
        """Codes and the encoder's output, of one pass: what `encode` and `layers(wav)["latent"]` give."""
        latent = self._latent(wav)
        return self._quantize(latent), latent

    def _take(self, model: EncodecModel, name: str) -> None:
        """Make `model` our own: frozen, in eval mode, weight norm folded."""
        config = model.config
        self._check(config, name)
        self.name, self.sample_rate = name, config.sampling_rate
        self.frame_rate = config.sampling_rate / config.hop_length
        self.codebooks, self.codebook_size = config.num_quantizers, config.codebook_size
        self.revision = _revision(model)
        self.model = model.eval().requires_grad_(False)
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        state = model.quantizer.state_dict()
        self.entries: list[Tensor] = [state[f"layers.{layer}.codebook.embed"] for layer in range(self.codebooks)]

    @staticmethod
    def _check(config: EncodecConfig, name: str) -> None:
        if config.audio_channels != 1 or config.normalize or config.chunk_length_s is not None:
            raise RequestError(
                f"{name}: {config.audio_channels} channels, normalize={config.normalize}, chunk_length_s={config.chunk_length_s}; "
                "its frames depend on the level and the cuts of the input: take a mono model without them, as facebook/encodec_24khz"
            )

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        if wav.shape[1] == 0:
            raise RequestError("0 samples cannot be encoded; give at least one")
        return self.model.encoder(wav[:, None]).transpose(1, 2)

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        batch, frames, dim = latent.shape
        residual, codes = latent.reshape(batch * frames, dim), []
        for entries in self.entries:
            codes.append(nearest_as_stock(residual, entries))
            residual = residual - entries[codes[-1]]
        return torch.stack([layer.view(batch, frames) for layer in codes], dim=1)

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        """Sum up in the order in which the library adds, so that the last one is its decoder input to the last bit."""
        if not 1 <= codes.shape[1] <= self.codebooks:
            raise RequestError(f"codes of {codes.shape[1]} codebooks, and {self.name} has {self.codebooks}: give its first few or all")
        sums: list[Tensor] = []
        for layer, entries in enumerate(self.entries[: codes.shape[1]]):
            chosen = torch.nn.functional.embedding(codes[:, layer], entries)
            sums.append((sums[-1] if sums else torch.zeros_like(chosen)) + chosen)
        return sums

    def _named(self, codes: Int[Tensor, "b q n"]) -> dict[str, Float[Tensor, "b n d"]]:
        return {str(number): layer for number, layer in enumerate(self._sums(codes), start=1)}


def _load(model: str) -> EncodecModel:
    """Load float32 weights, all of them; the global generator, which from_pretrained draws from, is put back."""
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise RequestError(f"{model} is no folder; give a hub name or a folder of save_pretrained, as a run's tokenizer/")
    talk = logging.get_verbosity()
    logging.set_verbosity_error()  # no report of what is missing: it is raised below
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            config = EncodecConfig.get_config_dict(model)[0]
            if config.get("model_type") != "encodec":
                raise RequestError(f"{model} holds a model of type {config.get('model_type')!r}, not 'encodec'; take the codec made for it")
            settings: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
            answer: Any = EncodecModel.from_pretrained(model, **settings)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        cure = "give a hub name that can be reached or a folder of save_pretrained"
        raise RequestError(f"{model} is no readable EnCodec ({reason}); {cure}") from error
    finally:
        logging.set_verbosity(talk)
    loaded, found = answer
    wrong = sorted(str(key) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in found[kind])
    if wrong:
        raise RequestError(f"{model}: {len(wrong)} weights do not fit its config.json (the first: {wrong[0]}); export the tokenizer again")
    return loaded


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
