"""ECAPA-TDNN by speechbrain (Desplanques et al. 2020, arXiv 2005.07143): its own class, filter bank and sentence normalisation."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal import compat
from laminal.errors import RequestError
from laminal.teachers.base import Frozen, find, read_json

NEEDS = ("embedding_model.ckpt", "embedding_model.safetensors", "sizes.json")
NORMALISE = ("bands", "level")
# speechbrain/spkrec-ecapa-voxceleb; its hyperparams.yaml says the same, but as YAML that runs code: it is never read
PUBLISHED: dict[str, Any] = {
    "n_mels": 80,
    "channels": [1024, 1024, 1024, 1024, 3072],
    "kernel_sizes": [5, 3, 3, 3, 1],
    "dilations": [1, 2, 3, 4, 1],
    "groups": [1, 1, 1, 1, 1],
    "attention_channels": 128,
    "se_channels": 128,
    "res2net_scale": 8,
    "lin_neurons": 192,
    "normalise": "bands",
}


class EcapaTeacher(Frozen):
    """Speaker embedding of an utterance or a crop."""

    def __init__(self, path: str | Path):
        """Load from `path`: "shipped/ecapa-small", a local folder, or the hub name speechbrain/spkrec-ecapa-voxceleb.

        The folder holds embedding_model.safetensors or .ckpt, and a sizes.json unless the sizes are the published ones.
        Raises RequestError for a path that is missing or whose weights do not fit the sizes.
        """
        folder = find(path, NEEDS)
        sizes = PUBLISHED | read_json(folder / "sizes.json", {})
        network = build(sizes)
        try:
            network.load_state_dict(_weights(folder))
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise RequestError(f"{folder}: weights do not fit the sizes ({reason}); write its sizes.json") from error
        super().__init__(network, front_end(sizes["n_mels"]))
        self.sample_rate = 16000
        self.sizes = sizes
        self.width = int(sizes["lin_neurons"])
        self.normalise = str(sizes["normalise"])

    def embed(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b d"]:
        """Embeddings, not normalised; `mask` marks real samples, which come first in each row (at least 25 ms)."""
        network, bank = self._networks
        length = None if mask is None else mask.sum(1) / mask.shape[1]
        return network(normalised(bank(wav), length, self.normalise), length)[:, 0]


def build(sizes: dict[str, Any]) -> Any:
    """Make speechbrain's ECAPA_TDNN with `sizes` (keys as PUBLISHED); raises RequestError for an unknown key."""
    unknown = sorted(set(sizes) - set(PUBLISHED))
    if unknown:
        raise RequestError(f"sizes.json: unknown {', '.join(unknown)}; known are {', '.join(PUBLISHED)}")
    if sizes["normalise"] not in NORMALISE:
        raise RequestError(f"sizes.json: normalise {sizes['normalise']!r} must be one of {', '.join(NORMALISE)}")
    compat.torchaudio()
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    compat.forget_lazy("speechbrain")
    return ECAPA_TDNN(sizes["n_mels"], **{key: value for key, value in sizes.items() if key not in ("n_mels", "normalise")})


def front_end(n_mels: int) -> nn.Module:
    """Make speechbrain's log-mel filter bank (dB, 25 ms every 10 ms, at 16 kHz): wav (b, t) -> (b, n, n_mels)."""
    compat.torchaudio()
    from speechbrain.lobes.features import Fbank

    compat.forget_lazy("speechbrain")
    return Fbank(n_mels=n_mels)


def normalised(bank: Float[Tensor, "b n m"], length: Float[Tensor, "b"] | None, how: str) -> Float[Tensor, "b n m"]:
    """Subtract a mean over each row's real frames: per mel band (how = "bands") or one for all bands (how = "level").

    "bands" is the published network's (speechbrain's InputNormalization, sentence, std_norm false): it removes the channel, and the
    voice's average spectrum with it. "level" removes the loudness alone. length: share of real frames per row, None for all.
    """
    if length is None:
        mean = bank.mean(1, keepdim=True)
    else:
        count = (length * bank.shape[1]).clamp(min=1)[:, None]  # a part of a frame counts, as in speechbrain
        real = (torch.arange(bank.shape[1], device=bank.device) < count).to(bank.dtype)[..., None]
        mean = (bank * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
    if how == "bands":
        return bank - mean
    return (bank - mean.mean(2, keepdim=True)) / 10  # tens of dB: what is left is of the size of 1


def _weights(folder: Path) -> dict[str, Tensor]:
    safe, pickled = folder / "embedding_model.safetensors", folder / "embedding_model.ckpt"
    try:
        if safe.is_file():
            from safetensors.torch import load_file

            return {name: value.float() if value.is_floating_point() else value for name, value in load_file(safe).items()}
        return torch.load(pickled, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise many kinds, all of them about this one file
        raise RequestError(f"{folder}: no readable embedding_model.safetensors or .ckpt ({error}); download the folder again") from error
