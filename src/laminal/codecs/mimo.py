"""MiMo-Audio-Tokenizer (Xiaomi 2025): our own module for the published weights, without flash-attn or code from the hub."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from laminal import audio
from laminal.errors import RequestError
from laminal.nn.mimo_config import PUBLISHED, MimoConfig, read_config
from laminal.nn.mimo_mel import LogMel
from laminal.nn.mimo_quantizer import STATISTICS
from laminal.nn.mimo_tokenizer import MimoTokenizer, random_tokenizer

SEGMENT = 1500  # frames (60 s): the authors' own inference cuts longer mels and codes there
HEARD, HEARD_SECONDS = 16, 4.0  # recordings from which random codebooks are drawn, and how much of each
NAMED = 3  # weights named in a message, of those that do not fit


class MimoCodec:
    """Layer k = sum of the first k codebooks' vectors (20 codebooks: 1024, 1024, 18 x 128; 1280-d, 25 Hz, 24 kHz), in float32.

    t samples give t // 960 + 1 frames. A frame hears the whole utterance (attention is not causal); by its convolutions alone frame k
    hears samples 960 k - 960 to 960 k + 1440, so that sounds are answered 10 ms late on the clock where it stands at (k + 0.5) / 25 s:
    `delay`. Utterances are encoded and decoded one by one, in pieces of 60 s as the authors do: a batch changes no number.
    Codebooks differ in size: `codebook_sizes`; `codebook_size` is the largest.
    """

    causal = False  # whatever config.json says of attention: the convolutions look ahead

    def __init__(
        self,
        path: str | Path = "XiaomiMiMo/MiMo-Audio-Tokenizer",
        device: str = "auto",
        random_weights: int | None = None,
        sound: str | Path | None = None,
    ) -> None:
        """Load from `path`, a hub name or a folder with config.json and model.safetensors; `device` "auto" is a GPU where there is one.

        `random_weights`: seed of random weights of that architecture (of the published one where `path` is no folder), as a baseline. Their
        codebooks are drawn from what the encoder makes of the recordings in the folder `sound`; without it from made-up sound, and
        speech then uses few codes. Raises RequestError for a folder that is absent, of another architecture, or whose weights do not fit.
        """
        if random_weights is None:
            folder = _folder(str(path))
            config = _config(folder)
            model, self.name = _load(folder, config), "mimo"
        else:
            config = _config(Path(path)) if Path(path).is_dir() else PUBLISHED
            mels = _heard(Path(sound), LogMel(config)) if sound else ()
            model, self.name = random_tokenizer(config, random_weights, mels), "mimo_random"
        self.revision = _revision(model)
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.model, self.mel = model.to(self.device), LogMel(config).to(self.device)
        self.sample_rate, self.frame_rate = config.sampling_rate, config.sampling_rate / config.hop
        self.codebooks, self.codebook_sizes = config.num_quantizers, config.codebook_size
        self.codebook_size = max(config.codebook_size)
        middle = (config.avg_pooler - 1) / 2 * config.stride_size * config.hop_length  # sample on which frame 0 is centred
        self.delay = (config.hop / 2 - middle) / config.sampling_rate  # s

    @torch.no_grad()
    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Codes of all codebooks."""
        return self._quantize(self._latent(wav))

    @torch.no_grad()
    def codes_and_latent(self, wav: Float[Tensor, "b t"]) -> tuple[Int[Tensor, "b q n"], Float[Tensor, "b n d"]]:
        """Codes and the encoder's output, of one pass: what `encode` and `layers(wav)["latent"]` give."""
        latent = self._latent(wav)
        return self._quantize(latent), latent

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Audio of the codebooks given (the first q), 960 samples a frame."""
        pieces = self._sums(codes)[-1].split(SEGMENT, dim=1)
        return torch.stack([torch.cat([self.model.decoder(piece[row]) for piece in pieces]) for row in range(len(codes))])

    @torch.no_grad()
    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Accumulated codebook vectors "1".."20" of codes; from audio (b t) also the encoder's output, "latent"."""
        if not wav_or_codes.is_floating_point():
            return self._named(wav_or_codes)
        latent = self._latent(wav_or_codes)
        return {"latent": latent} | self._named(self._quantize(latent))

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        if wav.shape[1] == 0:
            raise RequestError("0 samples cannot be encoded; give at least one")
        config = self.model.config
        segment = SEGMENT * config.stride_size * config.avg_pooler  # mel frames
        return torch.stack(
            [torch.cat([self.model.encoder(piece) for piece in self.mel(row).split(segment, dim=1)]) for row in wav.to(self.device)]
        )

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        return torch.stack([self.model.encoder.quantizer.encode(row) for row in latent])

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        if not 1 <= codes.shape[1] <= self.codebooks:
            raise RequestError(f"codes of {codes.shape[1]} codebooks, and {self.name} has {self.codebooks}: give its first few or all")
        for number, (book, size) in enumerate(zip(codes.unbind(1), self.codebook_sizes), start=1):
            low, high = (int(book.amin()), int(book.amax())) if book.numel() else (0, 0)
            if low < 0 or high >= size:
                raise RequestError(
                    f"codes {low} to {high} in codebook {number}: they must be 0 to {size - 1}; give codes of this tokenizer"
                )
        return self.model.encoder.quantizer.sums(codes.to(self.device))

    def _named(self, codes: Int[Tensor, "b q n"]) -> dict[str, Float[Tensor, "b n d"]]:
        return {str(number): layer for number, layer in enumerate(self._sums(codes), start=1)}


def _folder(path: str) -> Path:
    """Find the folder `path`, or fetch the hub's; raises RequestError."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        raise RequestError(f"path={path} is no folder, and no hub name (OWNER/NAME); give one of the two")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        offline = os.environ.get("HF_HUB_OFFLINE") == "1"
        return Path(snapshot_download(path, allow_patterns=["config.json", "*.safetensors"], local_files_only=offline))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        here = f"models/{path.split('/')[1]}"
        raise RequestError(
            f"path={path} is no folder, and the hub did not give it ({type(error).__name__}); download its config.json and "
            f"model.safetensors into a folder, say {here}, and say path={here}"
        ) from error


def _heard(folder: Path, mel: LogMel) -> list[Tensor]:
    """Mels of the beginnings of some recordings in `folder`, spread evenly over their sorted names."""
    files = sorted(path for path in folder.expanduser().rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    if not files:
        raise RequestError(f"sound={folder}: no audio in it; give a folder with {', '.join(sorted(audio.SUFFIXES))} files")
    chosen = files[:: -(-len(files) // HEARD)]
    return [mel(torch.from_numpy(audio.read(file, mel.config.sampling_rate, 0.0, HEARD_SECONDS))) for file in chosen]


def _config(folder: Path) -> MimoConfig:
    file = folder / "config.json"
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file}: unreadable JSON ({error}); download the folder of MiMo-Audio-Tokenizer again") from error
    if not isinstance(given, dict):
        raise RequestError(f"{file}: holds {type(given).__name__}, not an object; download the folder of MiMo-Audio-Tokenizer again")
    return read_config(given, str(file))


def _load(folder: Path, config: MimoConfig) -> MimoTokenizer:
    """Fill a tokenizer with the folder's weights, as float32: every published name once, in its shape, and no other."""
    with torch.device("meta"):
        model = MimoTokenizer(config)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RequestError(f"{folder}: no *.safetensors in it; download model.safetensors of MiMo-Audio-Tokenizer into it")
    weights: dict[str, Tensor] = {}
    try:
        found = {name: shape for file in files for name, shape in _shapes(file).items()}
        _compare(folder, wanted, found)
        for file in files:
            with safe_open(file, framework="pt") as held:
                for name in held.keys():  # noqa: SIM118 (no mapping)
                    weights[name] = held.get_tensor(name).float()
    except (SafetensorError, OSError, RuntimeError) as error:
        raise RequestError(f"{folder}: unreadable weights ({' '.join(str(error).split())}); download them again") from error
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(file, framework="pt") as held:
        return {name: tuple(held.get_slice(name).get_shape()) for name in held.keys()}  # noqa: SIM118


def _compare(folder: Path, wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    """Raise RequestError where the weights are not those of the architecture, naming the first few that are not."""
    both = sorted(set(wanted) & set(found))
    wrong = {
        "missing": sorted(set(wanted) - set(found)),
        "unknown": sorted(set(found) - set(wanted)),
        "of another shape": [f"{name} {found[name]} for {wanted[name]}" for name in both if found[name] != wanted[name]],
    }
    said = [
        f"{len(names)} {kind} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})" for kind, names in wrong.items() if names
    ]
    if said:
        raise RequestError(f"{folder}: weights that do not fit its config.json: {'; '.join(said)}; download the folder again")


def _revision(model: MimoTokenizer) -> str:
    """Hash of all that features and audio depend on: architecture, cuts and weights (not the statistics of training)."""
    settings: dict[str, Any] = asdict(model.config) | {"segment": SEGMENT}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.endswith(STATISTICS):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()
