"""Fine-tuning: a tokenizer that starts with the weights of a published EnCodec or Mimi in transformers' format."""

from pathlib import Path
from typing import Any

from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.split_tokenizer import SplitTokenizer
from laminal.nn.tokenizer import TrainedTokenizer

# what our keys are called in the configuration of transformers
OURS = {
    "EncodecModel": {
        "sample_rate": "sampling_rate", "ratios": "upsampling_ratios", "filters": "num_filters", "dim": "hidden_size",
        "codebooks": "num_quantizers", "codebook_size": "codebook_size", "lstm_layers": "num_lstm_layers",
        "residual_layers": "num_residual_layers", "causal": "use_causal_conv", "norm": "norm_type",
    },
    "MimiModel": {
        "sample_rate": "sampling_rate", "frame_rate": "frame_rate", "filters": "num_filters", "dim": "hidden_size",
        "codebook_dim": "codebook_dim", "codebooks": "num_quantizers", "codebook_size": "codebook_size",
        "residual_layers": "num_residual_layers", "transformer_layers": "num_hidden_layers", "heads": "num_attention_heads",
    },
}  # fmt: skip
# what a tokenizer of ours has no key for: the published value must be the one that ours is built with
FIXED = (
    "audio_channels", "normalize", "chunk_length_s", "kernel_size", "last_kernel_size", "residual_kernel_size", "dilation_growth_rate",
    "compress", "pad_mode", "trim_right_ratio", "use_conv_shortcut", "codebook_dim", "upsampling_ratios", "intermediate_size",
    "num_key_value_heads", "head_dim", "hidden_act", "norm_eps", "sliding_window", "upsample_groups", "num_semantic_quantizers",
    "vector_quantization_hidden_dimension", "rope_parameters", "attention_bias",
)  # fmt: skip
TYPES = {"encodec": "EncodecModel", "mimi": "MimiModel"}
RECIPES = {"EncodecModel": "finetune_encodec.yaml", "MimiModel": "finetune_mimi.yaml"}


def start_from(tokenizer: TrainedTokenizer, path: str) -> str:
    """Give `tokenizer` the weights and codebooks of `path` (a folder of save_pretrained, or a hub name); returns the hash of the weights.

    In eval mode its codes and audio are then those of the library at its full bandwidth, difference 0. Raises RequestError for another
    kind of codec, and for other sizes: the line names both and the keys that make them agree.
    """
    kind = "MimiModel" if isinstance(tokenizer, SplitTokenizer) else "EncodecModel"  # not `exported`: in the order serial there is none
    try:
        folder = pretrained.find(path)
    except RequestError as error:
        raise RequestError(str(error).replace("path=", "init=")) from error
    there = pretrained.check_type(folder, tuple(TYPES))
    if TYPES[there] != kind:
        other = RECIPES[TYPES[there]]
        raise RequestError(f"init={path} holds a {TYPES[there]}, this tokenizer exports as {kind}: take --config {other}, or another codec")
    check_sizes(tokenizer.config, read_config(kind, folder), kind, path)
    model = pretrained.load(kind, folder)
    tokenizer.take(model)
    return pretrained.weights_sha256(model)


def read_config(kind: str, folder: Path) -> Any:
    """Read the configuration of a folder of save_pretrained; raises RequestError where it is none."""
    try:
        return pretrained.kind_of(kind).config_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{folder}/config.json is no readable configuration ({reason}); download it again") from error


def check_sizes(ours: Any, theirs: Any, kind: str, path: str) -> None:
    """Raise RequestError where the configuration of our tokenizer and the published one build different networks."""
    keys = OURS[kind]
    wrong = {key: (value(theirs, name), value(ours, name)) for key, name in keys.items() if value(theirs, name) != value(ours, name)}
    if wrong:
        said = ", ".join(f"{key} {_shown(there)} there and {_shown(here)} here" for key, (there, here) in wrong.items())
        cure = " ".join(f"tokenizer.{key}={_shown(there)}" for key, (there, _) in wrong.items())
        raise RequestError(f"init={path}: its sizes are not the tokenizer's ({said}); give {cure}")
    apart = [name for name in FIXED if name not in keys.values() or name == "upsampling_ratios"]
    other = {name: (value(theirs, name), value(ours, name)) for name in apart if value(theirs, name) != value(ours, name)}
    if other:
        said = ", ".join(f"{name} {_shown(there)} there and {_shown(here)} here" for name, (there, here) in other.items())
        raise RequestError(f"init={path}: built otherwise than any tokenizer of ours ({said}); take a codec of the published 24 kHz form")


def value(config: Any, name: str) -> Any:
    """Give one setting of a configuration in a form that compares; None where there is none."""
    found = getattr(config, name, None)
    if name == "rope_parameters" and (found or hasattr(config, "rope_theta")):  # of older files: the same written otherwise
        return {"rope_type": "default", "rope_theta": float(getattr(config, "rope_theta", 10000.0))} | dict(found or {})
    return list(found) if isinstance(found, tuple) else found


def _shown(found: Any) -> str:
    if isinstance(found, list):
        return f"[{','.join(map(str, found))}]"
    return str(found).lower() if isinstance(found, bool) else str(found)
