"""What a teacher is: a frozen network whose features a loss pulls the tokenizer's towards."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.errors import RequestError

SHIPPED = Path(__file__).parent / "weights"
HOP = 320  # samples between two frames of every frame teacher, at 16 kHz


@runtime_checkable
class FrameTeacher(Protocol):
    """Features on HuBERT's grid: frame t is centred at sample 320 t + 160."""

    sample_rate: int  # Hz
    frame_rate: float  # Hz
    width: int

    def frames(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        """Features of t // 320 frames; gradients reach `wav`, never the weights."""


@runtime_checkable
class SpeakerTeacher(Protocol):
    """One vector an utterance that says who speaks."""

    sample_rate: int  # Hz
    width: int

    def embed(self, wav: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b d"]:
        """Embeddings, not normalised; `mask` marks real samples, which come first in each row."""


@runtime_checkable
class WordTeacher(Protocol):
    """One vector a word of a written sentence."""

    width: int

    def vectors(self, sentence: Sequence[str | None]) -> tuple[Float[Tensor, "w d"], Bool[Tensor, " w"]]:
        """Vectors of the words, on the CPU, and which there are; None: a word that may not be read."""


class Frozen(nn.Module):
    """A network that moves with its owner but belongs to no one.

    It is no submodule: the owner's parameters(), state_dict() and train() pass it by, so it is never stepped, never in a
    checkpoint and always in eval mode.
    """

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self._networks: tuple[Any, ...] = tuple(network.eval().requires_grad_(False) for network in networks)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        super()._apply(fn, recurse)
        for network in self._networks:
            network._apply(fn)
        return self


def tensors(teacher: nn.Module) -> Iterator[Tensor]:
    """Weights and constants of a teacher, also of networks that it holds outside the module tree."""
    for network in networks(teacher):
        yield from network.parameters()
        yield from network.buffers()


def networks(teacher: nn.Module) -> Sequence[nn.Module]:
    """Give the teacher, and the networks that it holds outside the module tree."""
    return [teacher, *getattr(teacher, "_networks", ())]


def find(path: str | Path, needs: tuple[str, ...]) -> Path:
    """Find the folder of a teacher: "shipped/NAME" (in the package), a local folder, or a name on the Hugging Face hub.

    `needs` are patterns of the files to fetch from the hub. Raises RequestError where it is none of them.
    """
    name = str(path)
    if name.startswith("shipped/"):
        folder = SHIPPED / name.removeprefix("shipped/")
        if not folder.is_dir():
            shipped = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
            raise RequestError(f"teacher {name}: no such shipped teacher; there are {', '.join(shipped) or 'none'}")
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise RequestError(f"teacher {name}: no such folder, and no hub name (OWNER/NAME); give one of the two")
    return _from_hub(name, needs)


def _from_hub(name: str, needs: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=list(needs), local_files_only=os.environ.get("HF_HUB_OFFLINE") == "1"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise RequestError(
            f"teacher {name}: no such folder, and the hub did not give it ({type(error).__name__}); download {', '.join(needs)} "
            f"of https://huggingface.co/{name} into a folder, say models/{name.split('/')[1]}, and set the teacher's path to it"
        ) from error


def read_json(path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read a JSON object; `default` where the file is missing, RequestError where it is missing without default or broken."""
    if default is not None and not path.is_file():
        return default
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: unreadable JSON ({error}); a teacher's folder needs it: download it again") from error
    if not isinstance(value, dict):
        raise RequestError(f"{path}: holds {type(value).__name__}, not an object; download it again")
    return value


def pretrained(folder: Path, kind: Any) -> Any:
    """Load `kind` (a transformers class) from `folder` as float32, from local files and without running code of the folder.

    Raises RequestError where the weights are unreadable, or some are missing: transformers would go on with random ones.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        network, report = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RequestError(f"{folder}: weights cannot be loaded ({str(error).splitlines()[0]}); download the folder again") from error
    finally:
        logging.enable_progress_bar()
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("decoder."))
    if missing:
        raise RequestError(f"{folder}: {len(missing)} weights are missing ({missing[0]}, ...); download the folder again")
    return network


def select(states: list[Tensor], layer: int | str) -> Tensor:
    """Take layer `layer` (0: what enters the first layer), or the mean of layers 1..L for "mean"."""
    if layer == "mean":
        total = states[1].clone()
        for state in states[2:]:
            total = total + state
        return total / (len(states) - 1)
    return states[int(layer)]


def check_layer(layer: int | str, layers: int) -> int | str:
    """Give `layer` back if a network of `layers` layers has it; raises RequestError."""
    if layer == "mean" or (isinstance(layer, int) and 0 <= layer <= layers):
        return layer
    raise RequestError(f"teacher layer {layer!r}: this network has layers 0 to {layers}; give one of them, or mean (of 1 to {layers})")
