"""Other audio tokenizers of transformers whose layers can be summed (X-Codec, Higgs Audio v2, ...), by what their quantizers share."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal import compat
from laminal.codecs.base import Summed, bursts, random_entries, whole_frames
from laminal.errors import RequestError
from laminal.nn import pretrained

OWN = {name: name for name in ("encodec", "dac", "mimi", "hubert", "wavlm", "wav2vec2")} | {"whisper": "whisper_encoder"}
TRIAL = 0.5  # seconds of noise on which the sums are compared with the quantizer's own
HEARD = 8.0  # seconds of noise from which the codebooks of a random copy are drawn
STATISTICS = ("cluster_size", "embed_avg", "inited")  # of EMA training: no feature depends on them


class TransformersCodec(Summed):
    """Layer k = sum over the first k codebooks of `quantizer.quantizers[i].decode(codes[i])`.

    Its model must have `encode`, `decode` and a residual `quantizer` that keeps its codebooks in a list `quantizers` or `layers`; on
    loading, the sum over all of them is compared with `quantizer.decode` (difference 0). Audio is filled with zeros to whole frames, as
    the libraries' feature extractors do; the codes are those of `encode` at the largest bandwidth. Not causal.
    """

    def __init__(self, path: str | Path, device: str = "auto", random_weights: int | None = None) -> None:
        """Load from `path`, a hub name or a folder; `random_weights`: seed of a copy with random weights.

        Raises RequestError for a model with a codec of its own here, or one whose layers cannot be summed.
        """
        folder = pretrained.find(path, pretrained.NEEDS if random_weights is None else pretrained.NEEDS[:2])
        kind = str(pretrained.read_json(folder / "config.json").get("model_type"))
        if kind in OWN:
            raise RequestError(f"path={path} holds a model of type {kind!r}, which has an adapter of its own: say codec={OWN[kind]}")
        name = _class_of(kind, path)
        model = pretrained.load(name, folder) if random_weights is None else pretrained.fresh(name, folder, random_weights)
        self.model, self.device = model.to(pretrained.device(device)), pretrained.device(device)
        config = model.config
        self.quantizer: Any = getattr(model, "quantizer", None)
        self.books: Any = getattr(self.quantizer, "quantizers", None) or getattr(self.quantizer, "layers", None)
        rate = getattr(config, "sampling_rate", None) or getattr(config, "sample_rate", None)
        hop = getattr(config, "hop_length", None)
        if self.books is None or rate is None or hop is None or not all(hasattr(each, "decode") for each in self.books):
            raise RequestError(
                f"path={path}: {name} has no list of codebooks to sum (a residual `quantizer` with `quantizers` or `layers`, each with "
                "`decode`), so it has no layers; write its own codec (docs/codecs.md) or take xcodec, higgs_audio_v2_tokenizer"
            )
        self.name, self.sample_rate, self.hop = Path(path).name, int(rate), int(hop)
        self.frame_rate = self.sample_rate / self.hop
        self.codebooks, self.codebook_size = len(self.books), int(config.codebook_size)
        if random_weights is not None:
            self._draw_codebooks(random_weights)
        self._try(str(path))
        self.revision = pretrained.weights_sha256(model, unless=STATISTICS)

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Take what the model's `encode` gives its quantizer."""
        given: list[Tensor] = []

        def listen(latent: Tensor, *_: Any, **__: Any) -> Tensor:
            given.append(latent)
            return torch.zeros(self.codebooks, len(latent), latent.shape[2], dtype=torch.long, device=latent.device)

        self.quantizer.encode = listen  # hides the method, for this call
        try:
            self.model.encode(whole_frames(wav, self.hop)[:, None])
        finally:
            del self.quantizer.encode
        return given[0].transpose(1, 2)

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        return self.quantizer.encode(latent.transpose(1, 2)).transpose(0, 1)

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        sums, total = [], torch.zeros((), device=codes.device)
        for book, layer in zip(self.books, codes.unbind(1)):
            total = total + book.decode(layer)
            sums.append(total.transpose(1, 2))
        return sums

    def _audio(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        wav = self.model.decode(codes).audio_values[:, 0]
        whole = codes.shape[2] * self.hop
        return torch.nn.functional.pad(wav, (0, max(0, whole - wav.shape[1])))[:, :whole]

    @torch.no_grad()
    def _try(self, path: str) -> None:
        """Compare, on some noise, with the model's own codes and its own sum."""
        noise = bursts(self.sample_rate, TRIAL, 0).to(self.device)
        try:
            own = self.model.encode(whole_frames(noise, self.hop)[:, None]).audio_codes
            codes = self.encode(noise)
            total = self.quantizer.decode(codes.transpose(0, 1)).transpose(1, 2)
            same = torch.equal(own, codes) and torch.equal(total, self._sums(codes)[-1])
            frames = codes.shape[2] == -(-noise.shape[1] // self.hop)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise RequestError(
                f"path={path}: its layers cannot be summed by the generic adapter ({type(error).__name__}: {reason}); write its own codec"
            ) from error
        if not same or not frames:
            what = "the sum over its codebooks is not its decoder's input" if not same else "it does not give one frame for every hop"
            raise RequestError(f"path={path}: {what}; the generic adapter cannot read its layers: write its own codec (docs/codecs.md)")

    @torch.no_grad()
    def _draw_codebooks(self, seed: int) -> None:
        """Give the random copy codebooks where the library starts them at zero, to be filled by training."""
        residual = self._latent(bursts(self.sample_rate, HEARD, seed).to(self.device))
        for number, book in enumerate(self.books):
            entries = getattr(getattr(book, "codebook", None), "embed", None)
            if isinstance(entries, Tensor):
                inner = book.project_in(residual) if getattr(book, "project_in", None) is not None else residual
                entries.copy_(random_entries(inner[0], len(entries), seed + number))
            residual = residual - book.decode(book.encode(residual.transpose(1, 2))).transpose(1, 2)


def _class_of(kind: str, path: str | Path) -> str:
    """Name of the transformers class of `model_type` `kind`."""
    compat.torchaudio()
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(kind)
    made = pretrained.kind_of(name) if isinstance(name, str) else None
    if made is None or not (hasattr(made, "encode") and hasattr(made, "decode")):
        raise RequestError(f"path={path}: type {kind!r} is no audio tokenizer of transformers; write its own codec (docs/codecs.md)")
    return str(name)
