"""What a codec is: audio to codes, codes to audio, and the features of every layer."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """A frozen codec in eval mode; all tensors on its own device."""

    name: str
    sample_rate: int  # Hz
    frame_rate: float  # Hz
    codebooks: int  # 0: no codes (self-supervised encoders), then only `layers` of audio works
    codebook_size: int
    revision: str  # changes whenever the features may change: goes into cache keys

    def encode(self, wav: Float[Tensor, "b t"]) -> Int[Tensor, "b q n"]:
        """Codes of every codebook, int64."""

    def decode(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        """Audio of codes; the first k codebooks alone (q = k) are decoded too."""

    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Accumulated, decoded, projected features "1".."K"; from audio (float) also "latent", before quantization."""
