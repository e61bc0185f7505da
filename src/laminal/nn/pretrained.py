"""Published networks: find their folder, load all of their weights and no others, make a random copy, name what they are by a hash."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from laminal import compat
from laminal.errors import RequestError

NEEDS = ("config.json", "preprocessor_config.json", "*.safetensors", "pytorch_model.bin")
PASSING = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures")  # of a config.json: no feature depends on them
SHOWN = 3  # weights named in an error


def device(asked: str) -> torch.device:
    """Give the device `asked`; "auto" is a GPU where torch finds one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked)


def find(path: str | Path, needs: Sequence[str] = NEEDS) -> Path:
    """Give the folder `path`, or download it where `path` is a hub name (OWNER/NAME); `needs` are patterns of the files to fetch.

    Raises RequestError where it is no folder and the hub does not give it.
    """
    name, folder = str(path), Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise RequestError(f"path={name} is no folder, and no hub name (OWNER/NAME); give one of the two")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=list(needs), local_files_only=os.environ.get("HF_HUB_OFFLINE") == "1"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        here = f"models/{name.split('/')[1]}"
        raise RequestError(
            f"path={name} is no folder, and the hub did not give it ({type(error).__name__}); download {constants.ENDPOINT}/{name} "
            f"({', '.join(needs)}) into a folder, say {here}, and say path={here}"
        ) from error


def read_json(file: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read a JSON object; `default` where the file is missing; raises RequestError where there is no default or it is broken."""
    if not file.is_file():
        if default is not None:
            return default
        raise RequestError(f"{file.parent} has no {file.name}; give a folder of save_pretrained, or download it again")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} cannot be read as JSON ({type(error).__name__}); download the folder again") from error
    if not isinstance(value, dict):
        raise RequestError(f"{file} holds {type(value).__name__}, not an object; download it again")
    return value


def check_type(folder: Path, types: Sequence[str]) -> str:
    """Give the `model_type` of a folder's config.json; raises RequestError where it is none of `types`."""
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in types:
        raise RequestError(f"{folder} holds a model of type {kind!r}, not {' or '.join(map(repr, types))}; take the codec made for it")
    return str(kind)


def kind_of(name: str) -> Any:
    """Give the class `name` of transformers; its speech models import torchaudio, which must be made importable first."""
    compat.torchaudio()
    import transformers

    return getattr(transformers, name)


def load(name: str, folder: Path, foreign: Sequence[str] = (), unused: Sequence[str] = ()) -> Any:
    """Load the transformers class `name` from `folder`: float32, eval mode, frozen; no code of the folder runs.

    `foreign`: prefixes of weights that the file may hold beside the model's (heads of other tasks); `unused`: of weights that it may lack,
    since no feature depends on them. Raises RequestError that names the first weights that are missing, extra or of another shape.
    The global generator, which from_pretrained draws from, is put back.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    kind = kind_of(name)
    talk = logging.get_verbosity()
    logging.set_verbosity_error()  # no report of what is missing: it is raised below
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            model, found = kind.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{folder} is no readable {name} ({reason}); download the folder again") from error
    finally:
        logging.set_verbosity(talk)
        logging.enable_progress_bar()
    wrong = {
        "missing": [key for key in found["missing_keys"] if not str(key).startswith(tuple(unused))],
        "extra": [key for key in found["unexpected_keys"] if not str(key).startswith(tuple(foreign))],
        "of another shape": [each[0] if isinstance(each, tuple) else each for each in found["mismatched_keys"]],
    }
    said = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in wrong.items() if keys]
    if said:
        raise RequestError(f"{folder}: weights do not fit its config.json: {'; '.join(said)}; download or export the folder again")
    return model.eval().requires_grad_(False)


def _first(names: Sequence[str]) -> str:
    shown = sorted(map(str, names))
    return ", ".join(shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "")


def fresh(name: str, folder: Path, seed: int) -> Any:
    """Make the transformers class `name` by the config.json of `folder`, initialised by the library under `seed`; no weight is read."""
    kind = kind_of(name)
    try:
        config = kind.config_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"{folder}/config.json is no readable configuration ({reason}); download it again") from error
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return kind(config).float().eval().requires_grad_(False)


def obtain(
    classes: Mapping[str, str], path: str | Path, random_weights: int | None, foreign: Sequence[str] = (), unused: Sequence[str] = ()
) -> tuple[Any, Path]:
    """Find `path` and load the class that `classes` has for its model_type, or make a copy random by seed `random_weights`.

    Also gives the folder; raises RequestError as `find`, `check_type` and `load` do.
    """
    folder = find(path, NEEDS if random_weights is None else NEEDS[:2])
    name = classes[check_type(folder, tuple(classes))]
    return (load(name, folder, foreign, unused) if random_weights is None else fresh(name, folder, random_weights)), folder


def weights_sha256(model: torch.nn.Module, unless: Sequence[str] = (), **settings: Any) -> str:
    """Hash what features depend on: architecture, weights (not those that end in `unless`) of a transformers model, and `settings`."""
    config: dict[str, Any] = model.config.to_dict()  # type: ignore[operator, union-attr]
    kept = {name: value for name, value in config.items() if name not in PASSING}
    digest = hashlib.sha256(json.dumps([kept, settings], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith(tuple(unless)):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
