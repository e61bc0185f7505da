"""k-means units of a self-supervised encoder: one codebook, the nearest centre to one layer's hidden states (as in arXiv 2412.17048)."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from laminal.codecs.base import Summed, bursts, random_entries
from laminal.errors import RequestError
from laminal.nn.nearest import nearest
from laminal.nn.speech_encoder import RATE, SpeechEncoder

FILE = "kmeans.safetensors"
HEARD = 8.0  # seconds of noise from which the centres of a random copy are drawn


class KmeansCodec(Summed):
    """Layer "1" = the centre that a frame's unit stands for; "latent" = the hidden state it was chosen for. No vocoder: nothing to hear.

    Centres come from `python -m laminal.codecs.fit_kmeans`, which writes what they were fitted on beside them.
    """

    codebooks = 1
    decodes = False

    def __init__(
        self, path: str | Path, encoder: str | Path, layer: int, k: int, device: str = "auto", random_weights: int | None = None
    ) -> None:
        """Load centres from folder `path`; `encoder`: hub name or folder of a HuBERT, WavLM or wav2vec 2.0; `layer`: 0 to its last.

        `random_weights`: seed of a copy with a random encoder and drawn centres. Raises RequestError where the centres are missing, or
        were fitted on another encoder or layer, or are not `k`.
        """
        held = _read(Path(path).expanduser(), encoder, layer, k) if random_weights is None else None
        self.encoder = SpeechEncoder(encoder, device, random_weights)
        if not 0 <= layer <= self.encoder.layers:
            raise RequestError(f"layer={layer}: {encoder} has layers 0 to {self.encoder.layers}; give one of them")
        self.device, self.layer = self.encoder.device, layer
        if held is not None:
            self.centres = held[0].to(self.device)
            if held[1].get("encoder_revision") != self.encoder.revision:
                raise RequestError(f"{path}: its centres were fitted on {held[1].get('encoder')}, whose weights are not those of {encoder}")
        else:
            noise = bursts(RATE, HEARD, random_weights or 0).to(self.device)
            self.centres = random_entries(self._latent(noise)[0], k, random_weights or 0)
        self.name, self.sample_rate, self.frame_rate = Path(path).name, RATE, RATE / self.encoder.hop
        self.codebook_size = k
        digest = hashlib.sha256(f"kmeans 1 {self.encoder.revision} {layer}".encode() + self.centres.cpu().numpy().tobytes())
        self.revision = digest.hexdigest()

    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Refuse: units of a self-supervised encoder need a vocoder trained for them."""
        raise RequestError(f"{self.name}: k-means units have no vocoder here, so nothing to decode with; probe word_pairs and units")

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        return self.encoder.hidden_states(wav)[self.layer]

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        return nearest(latent.flatten(0, 1), self.centres).view(len(latent), 1, -1)

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        return [torch.nn.functional.embedding(codes[:, 0], self.centres)]


def _read(folder: Path, encoder: str | Path, layer: int, k: int) -> tuple[Float[Tensor, "k d"], dict[str, Any]]:
    """Read the centres and what they were fitted on."""
    file = folder / FILE
    if not file.is_file():
        raise RequestError(
            f"path={folder} has no {FILE}: fit it by python -m laminal.codecs.fit_kmeans codec.path={folder} codec.encoder={encoder} "
            f"codec.layer={layer} codec.k={k} corpus=librispeech corpus.root=DIR"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            centres, facts = opened.get_tensor("centres"), dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{file} cannot be read ({str(error).splitlines()[0]}); fit it again") from error
    for key, wanted, found in (("layer", layer, facts.get("layer")), ("k", k, str(len(centres)))):
        if str(wanted) != found:
            raise RequestError(f"{key}={wanted}: the centres of {file} were fitted with {key}={found}; say codec.{key}={found}")
    return centres, facts
