"""From a name, a folder, a checkpoint or `file.py:Class` to a Codec."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from laminal import config
from laminal.codecs.base import Codec
from laminal.codecs.encodec import EncodecCodec
from laminal.codecs.mimi import MimiCodec
from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.recipes import tokenizer_of
from laminal.nn.split_tokenizer import SplitTokenizer
from laminal.nn.tokenizer import Tokenizer, TrainedTokenizer


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The codec of a run's checkpoint, and where in the run it stands."""

    codec: Codec
    epoch: int
    step: int


def load_codec(what: str, **arguments: Any) -> Codec:
    """Load the codec that `what` names, with `arguments` over those of its YAML twin.

    `what`: a name of `configs/codecs`, `file.py:Class`, a checkpoint (.ckpt), a run folder (its last.ckpt), or a folder of
    save_pretrained, read by the codec of its model_type. Raises RequestError where it is none of these, cannot be read or takes no
    such argument.
    """
    path = Path(what)
    if ".py:" in what:
        return _from_file(what, arguments)
    if path.suffix == ".ckpt" or (path / "last.ckpt").is_file():
        return load_checkpoint(path).codec
    if (path / "config.json").is_file():
        return _twin(_codec_of(path), {"path": str(path.resolve())} | arguments)
    if path.exists():
        raise RequestError(f"{what} holds neither last.ckpt nor config.json: give a run, a checkpoint or a folder of save_pretrained")
    if path.suffix or "/" in what:
        raise RequestError(f"{what} does not exist; give a checkpoint, a run folder, or one of {', '.join(config.names('codecs'))}")
    return _twin(what, arguments)


def _codec_of(folder: Path) -> str:
    """Name the twin whose codec reads a folder of save_pretrained."""
    kind = str(pretrained.read_json(folder / "config.json").get("model_type"))
    return {"whisper": "whisper_encoder"}.get(kind, kind if kind in config.names("codecs") else "transformers_codec")


def _twin(name: str, arguments: dict[str, Any]) -> Codec:
    """Make the codec of a YAML twin; what its constructor refuses comes out as its own error."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    asked = config.merge(config.twin("codecs", name), OmegaConf.create(arguments), f"codec={name}")
    try:
        made: Codec = instantiate(asked, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, RequestError):
            raise error.__cause__ from None
        raise
    return made


def load_checkpoint(path: Path) -> Checkpoint:
    """Load the codec of a checkpoint, or of the last one of a run folder; nothing in the file is executed.

    A checkpoint may name an export beside it (`weights: tokenizer`) in place of weights of its own.
    Raises RequestError for a file that is truncated, foreign, or of another architecture.
    """
    file = path / "last.ckpt" if path.is_dir() else path
    held = _held(file)
    own = held["laminal"]
    if "weights" in own:
        beside = file.parent / Path(str(own["weights"])).name
        kind = MimiCodec if _codec_of(beside) == "mimi" else EncodecCodec
        codec: Codec = kind(str(beside.resolve()), name="laminal")
    else:
        codec = codec_of(_tokenizer(file, held).to(pretrained.device("auto")))
    return Checkpoint(codec, int(held.get("epoch", -1)), int(own["generator_step"]))


def codec_of(tokenizer: TrainedTokenizer) -> EncodecCodec | MimiCodec:
    """Probe a tokenizer as it is now: a copy, with the numbers that its export gives; `tokenizer` is not touched."""
    if isinstance(tokenizer, SplitTokenizer):
        return MimiCodec.from_module(tokenizer)
    assert isinstance(tokenizer, Tokenizer)
    return EncodecCodec.from_module(tokenizer)


def load_tokenizer(file: Path) -> TrainedTokenizer:
    """Load the tokenizer of a checkpoint that holds its weights, in eval mode; raises as `load_checkpoint`."""
    return _tokenizer(file, _held(file))


def _held(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise RequestError(f"{file} does not exist; give checkpoints/<run> or one of its step=*.ckpt")
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RequestError(f"{file} cannot be read as a checkpoint ({type(error).__name__}): it is truncated or not of torch") from error
    if not isinstance(held, dict) or "laminal" not in held or "state_dict" not in held:
        raise RequestError(f"{file} is no checkpoint of laminal (no 'laminal' section); for another codec say codec=NAME")
    return held


def _tokenizer(file: Path, held: dict[str, Any]) -> TrainedTokenizer:
    prefix = "tokenizer."
    weights = {key.removeprefix(prefix): value for key, value in held["state_dict"].items() if key.startswith(prefix)}
    weights |= held["laminal"].get("average", {})  # of a run with optimizer.ema: what it validates, probes and exports
    try:
        tokenizer = tokenizer_of(held["laminal"]["tokenizer"])
        tokenizer.load_state_dict(weights)
    except (RuntimeError, TypeError, KeyError) as error:
        raise RequestError(f"{file} does not fit its own description ({' '.join(str(error).split())[:200]}); it is damaged") from error
    return tokenizer.eval()


def _from_file(what: str, arguments: dict[str, Any]) -> Codec:
    file, _, name = what.rpartition(":")
    if not Path(file).is_file():
        raise RequestError(f"codec={what}: {file} does not exist; write codec=path/to/file.py:Class")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, name, None)
    if made is None:
        raise RequestError(f"codec={what}: {file} has no {name}; it has {', '.join(key for key in vars(module) if key[0] != '_')}")
    codec: Codec = made(**arguments)
    return codec
