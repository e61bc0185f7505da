"""The GE2E speaker encoder whose weights the PyPI package resemblyzer carries (Wan et al. 2018, arXiv 1710.10467)."""

import importlib.util
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal import compat
from laminal.errors import RequestError
from laminal.teachers.base import Frozen

MELS, WIDTH, WINDOW, STEP = 40, 256, 400, 160
PARTIAL, SHIFT = 160, 77  # frames of one partial utterance (1.6 s), and from one to the next (1.3 a second)
COVERED = 0.75  # a partial with less real audio is left out, but for the first
LEVEL = 10 ** (-30 / 20)  # rms that quieter audio is raised to


class Ge2eTeacher(Frozen):
    """Speaker embedding: the normalised mean over partial utterances of 1.6 s. Long silences are not cut (resemblyzer cuts them)."""

    def __init__(self, path: str | Path):
        """Load `path`: the path of a pretrained.pt, or "resemblyzer" for the one in that installed package (its code is not run).

        Raises RequestError where there is none.
        """
        network = nn.ModuleDict({"lstm": nn.LSTM(MELS, WIDTH, 3, batch_first=True), "linear": nn.Linear(WIDTH, WIDTH)})
        network.load_state_dict(_weights(_find(str(path))))
        super().__init__(network, PowerMel())
        self.sample_rate = 16000
        self.width = WIDTH

    def embed(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b d"]:
        """Embeddings of length 1; `mask` marks real samples, which come first in each row."""
        network, mel = self._networks
        real = torch.ones_like(wav, dtype=torch.bool) if mask is None else mask
        level = ((wav * real).square().sum(1) / real.sum(1).clamp(min=1)).sqrt().clamp(min=1e-6)
        raised = wav * real * (LEVEL / level).clamp(min=1)[:, None]
        starts, kept = partials(real.sum(1), wav.shape[1])
        end = (starts[-1] + PARTIAL) * STEP
        frames = mel(nn.functional.pad(raised, (0, max(0, end - wav.shape[1]))))
        cut = torch.stack([frames[:, start : start + PARTIAL] for start in starts], 1)  # (b, p, 160, 40)
        hidden = network["lstm"](cut.flatten(0, 1))[1][0][-1]
        each = nn.functional.normalize(network["linear"](hidden).relu(), dim=1).unflatten(0, cut.shape[:2])
        return nn.functional.normalize((each * kept[..., None]).sum(1), dim=1)


def partials(length: Tensor, samples: int) -> tuple[list[int], Float[Tensor, "b p"]]:
    """Start frames of the partials of `samples` samples, and which of them each row of `length` real samples keeps."""
    count = -(-(samples + 1) // STEP)
    starts = list(range(0, max(1, count - PARTIAL + SHIFT + 1), SHIFT))
    begin = torch.tensor(starts, device=length.device)
    enough = (length[:, None] - begin * STEP) / (PARTIAL * STEP) >= COVERED
    return starts, (enough | (begin == 0)).float()


class PowerMel(nn.Module):
    """Mel power (not its logarithm) of librosa's shape: Hann 25 ms every 10 ms, Slaney's mel, zeros around the ends."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        functional = compat.torchaudio().functional
        bank = functional.melscale_fbanks(WINDOW // 2 + 1, 0.0, 8000.0, MELS, 16000, norm="slaney", mel_scale="slaney")
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("filters", bank, persistent=False)

    def forward(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n m"]:
        """Power of t // 160 + 1 frames."""
        spectrum = torch.stft(wav, WINDOW, STEP, window=self.window, pad_mode="constant", return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2) @ self.filters


def _find(name: str) -> Path:
    if name != "resemblyzer":
        path = Path(name).expanduser()
        if not path.is_file():
            raise RequestError(f"teacher {name}: no such file; give resemblyzer's pretrained.pt, or install the extra ge2e")
        return path
    found = importlib.util.find_spec("resemblyzer")  # finds the folder without running the package
    if found is None or found.origin is None:
        cure = "pip install --no-deps resemblyzer (17 MB), or give the path of its pretrained.pt"
        raise RequestError(f"teacher ge2e: the package resemblyzer is not installed; {cure}")
    return Path(found.origin).parent / "pretrained.pt"


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    except Exception as error:  # torch raises many kinds, all of them about this one file
        raise RequestError(f"{path}: no readable GE2E weights ({error}); install resemblyzer again") from error
    return {name: value for name, value in state.items() if not name.startswith("similarity")}
