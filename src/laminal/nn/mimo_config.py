"""The sizes of a MiMo-Audio-Tokenizer, read from its config.json."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from laminal.errors import RequestError


@dataclass(frozen=True, slots=True)
class MimoConfig:
    """Names and meanings as in the published config.json; windows are (frames back, frames ahead), -1 for all."""

    sampling_rate: int  # Hz
    nfft: int  # samples
    hop_length: int  # samples
    window_size: int  # samples
    fmin: float  # Hz
    fmax: float | None  # Hz; None: half the rate
    n_mels: int
    d_model: int
    kernel_size: int
    stride_size: int
    avg_pooler: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    encoder_skip_layer_id: int | None  # the output of this layer, counted from 1, is added to that of the last
    encoder_causal: bool
    encoder_attn_window_size: tuple[int, int]
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    decoder_kernel_size: int
    decoder_stride_size: int
    decoder_causal: bool
    decoder_attn_window_size: tuple[int, int]
    vocoder_dim: int
    vocoder_intermediate_dim: int
    vocoder_num_layers: int
    vocoder_attention_heads: int
    vocoder_attn_window_size: tuple[int, int]
    num_quantizers: int
    codebook_size: tuple[int, ...]
    rope_theta: float

    @property
    def hop(self) -> int:
        """Samples from one frame of codes to the next."""
        return self.hop_length * self.stride_size * self.avg_pooler


# XiaomiMiMo/MiMo-Audio-Tokenizer, config.json
PUBLISHED = MimoConfig(
    sampling_rate=24000,
    nfft=960,
    hop_length=240,
    window_size=960,
    fmin=0.0,
    fmax=None,
    n_mels=128,
    d_model=1280,
    kernel_size=3,
    stride_size=2,
    avg_pooler=2,
    encoder_layers=32,
    encoder_attention_heads=20,
    encoder_ffn_dim=5120,
    encoder_skip_layer_id=3,
    encoder_causal=False,
    encoder_attn_window_size=(-1, -1),
    decoder_layers=32,
    decoder_attention_heads=20,
    decoder_ffn_dim=5120,
    decoder_kernel_size=3,
    decoder_stride_size=2,
    decoder_causal=True,
    decoder_attn_window_size=(-1, -1),
    vocoder_dim=256,
    vocoder_intermediate_dim=1024,
    vocoder_num_layers=16,
    vocoder_attention_heads=16,
    vocoder_attn_window_size=(40, 10),
    num_quantizers=20,
    codebook_size=(1024, 1024, *[128] * 18),
    rope_theta=10000.0,
)

# Settings of the published architecture that its later relatives change: what they would do is not implemented.
ONLY: dict[str, Any] = {
    "activation_function": "gelu",
    "position_embedding_type": "rope",
    "rope_type": "default",
    "ln_type": "LayerNorm",
    "vocoder_padding": "same",
    "hybrid_attention": False,
}
MAY_BE_NONE = ("fmax", "encoder_skip_layer_id")


def read_config(given: Mapping[str, Any], source: str) -> MimoConfig:
    """Check the contents of a config.json; `source` is what messages call it.

    Raises RequestError for a field that is missing, of another kind, or asks for what this architecture has not.
    """
    for key, value in ONLY.items():
        if given.get(key, value) != value:
            raise RequestError(
                f"{source}: {key}={given[key]!r}, must be {value!r}: another architecture; give MiMo-Audio-Tokenizer's folder"
            )
    known = [field.name for field in fields(MimoConfig)]
    missing = [key for key in known if key not in given]
    if missing:
        raise RequestError(f"{source}: {', '.join(missing[:5])} missing of the fields of MiMo-Audio-Tokenizer; give its own config.json")
    config = MimoConfig(**{key: _value(given, key, source) for key in known})
    _check(config, source)
    return config


def _value(given: Mapping[str, Any], key: str, source: str) -> Any:
    value = given[key]
    match getattr(PUBLISHED, key):
        case _ if value is None and key in MAY_BE_NONE:
            return None
        case tuple() if key == "codebook_size":  # one size for all, or a list whose last one is repeated
            sizes = [value] if isinstance(value, int) else value
            if isinstance(sizes, list) and sizes and all(isinstance(size, int) and size >= 1 for size in sizes):
                count = int(given["num_quantizers"])
                return tuple(sizes + sizes[-1:] * (count - len(sizes)))[:count]
        case tuple():
            if isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) for side in value):
                return tuple(value)
        case bool():
            if isinstance(value, bool):
                return value
        case float() | None:
            if isinstance(value, int | float):
                return float(value)
        case _:
            if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
                return value
    raise RequestError(
        f"{source}: {key}={value!r} is no value of the published kind (there: {getattr(PUBLISHED, key)!r}); mend config.json"
    )


def _check(config: MimoConfig, source: str) -> None:
    for part, width in (("encoder", config.d_model), ("decoder", config.d_model), ("vocoder", config.vocoder_dim)):
        heads = getattr(config, f"{part}_attention_heads")
        if width % (2 * heads):
            raise RequestError(f"{source}: {heads} heads of {part} in {width} dimensions: each must have an even, whole number of them")
    overlap = config.nfft - config.hop_length
    if config.avg_pooler < 2 or config.window_size > config.nfft or overlap <= 0 or overlap % 2:
        raise RequestError(
            f"{source}: avg_pooler={config.avg_pooler}, window_size={config.window_size}, nfft={config.nfft}, "
            f"hop_length={config.hop_length}: frames are pooled by 2 or more, and windows overlap by an even number of samples; mend them"
        )
    synthesis = config.avg_pooler * config.decoder_stride_size * config.hop_length
    if synthesis != config.hop or config.decoder_kernel_size < config.decoder_stride_size:
        raise RequestError(f"{source}: {config.hop} samples a frame are read and {synthesis} written; they must be equal: mend the strides")
