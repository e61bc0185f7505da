"""Reconstruct and match: audio rebuilt from the first codebook alone should sound to a frozen encoder as the original does."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from laminal.corpora.crops import Batch
from laminal.errors import RequestError
from laminal.losses.base import DiscriminatorFeatures, Held, Loss, full, held, masked_mean, resampled, teacher_frames
from laminal.nn.rebuilder import Rebuilder
from laminal.nn.tokenizer import TokenizerOutput
from laminal.teachers.base import FrameTeacher

DECODERS = ("own", "shared")


class ReconstructMatchLoss(Loss):
    """Mean squared error between a frozen encoder's frames of the crop and of audio that a decoder makes of z_1 (LM-SPT, arXiv 2506.16738).

    The teacher is Whisper's encoder in the paper; any `FrameTeacher` that is differentiable in its audio will do, on any frame grid: both
    sides are heard by it, so nothing is pooled. Its weights are frozen, its activations carry the gradient through the rebuilt audio and
    the decoder to z_1. Means are over the teacher's frames whose centre is a real sample, and over dimensions.

    `decoder="own"`: a `Rebuilder` of `filters`, `residual_layers`, `transformer_layers`, `heads`, trained by this loss alone; it is in the
    checkpoint and in no export. Small, so that the work is left to the tokens: with a decoder as large as the tokenizer's the paper's word
    error of synthesis goes from 4.94 to 7.89. `decoder="shared"`: the tokenizer's own decoder (8.97). `gradient=False`: z_1 is cut off, so
    that only the decoder learns (39.55). These are its ablations; regression of the features from z_1 (13.97) is `semantic_distill` with
    axis=squared. Sizes of its decoders, the layer of Whisper, and what else it weighs 100 against are not in what we have of the paper.

    Logged: `explained`, 1 - the error over the variance of the original's frames about their crop's mean: 0 for rebuilt audio whose frames
    are that mean, 1 for frames that are alike.
    Raises RequestError for an unknown decoder, frames of another rate than `frame_rate`, a teacher that is no FrameTeacher or gives no
    gradient.
    """

    name = "reconstruct_match"
    takes_held = True

    def __init__(
        self, teacher: Any, width: int, sample_rate: int, frame_rate: float | int, decoder: str, filters: int,
        residual_layers: int, transformer_layers: int, heads: int, gradient: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        if decoder not in DECODERS:
            raise RequestError(f"reconstruct_match decoder {decoder!r} is unknown; use one of {', '.join(DECODERS)}")
        self.teacher: Held[FrameTeacher] = held(teacher)
        if not isinstance(self.teacher.teacher, FrameTeacher):
            kind = type(self.teacher.teacher).__name__
            raise RequestError(f"reconstruct_match: {kind} gives no frames to compare; take hubert, wavlm or whisper")
        self.frame_rate, self.gradient = float(frame_rate), gradient
        self.decoder = None
        if min(filters, heads) < 1 or min(residual_layers, transformer_layers) < 0 or (transformer_layers and width % (2 * heads)):
            sizes = f"filters={filters} residual_layers={residual_layers} transformer_layers={transformer_layers} heads={heads}"
            raise RequestError(f"reconstruct_match {sizes} width={width}: at least 1, 0, 0 and 1, and 2 heads must divide width")
        if decoder == "own":
            self.decoder = Rebuilder(
                width=width, sample_rate=sample_rate, frame_rate=self.frame_rate, filters=filters, residual_layers=residual_layers,
                transformer_layers=transformer_layers, heads=heads,
            )  # fmt: skip

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term."""
        teacher = self.teacher.on(batch.wav.device)
        rebuilt = self.rebuilt(out)[:, : batch.wav.shape[1]]
        target = teacher_frames(self.teacher, batch, out.sample_rate, of_crop=True)  # as the rebuilt audio is heard, without what is around
        heard = full(teacher.frames(resampled(rebuilt * batch.mask, out.sample_rate, teacher.sample_rate)))
        if rebuilt.requires_grad and not heard.requires_grad:
            raise RequestError(f"reconstruct_match: {type(teacher).__name__} gives no gradient to its audio; take hubert, wavlm or whisper")
        mask = centres(batch.mask, target.shape[1], out.sample_rate / teacher.frame_rate)
        with torch.autocast(target.device.type, enabled=False):
            error = masked_mean((heard - target).square().mean(2), mask)
            weight = mask[..., None].to(target.dtype)
            middle = (target * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
            spread = masked_mean((target - middle).square().mean(2), mask)
        self.logged = {"explained": 1 - error.detach() / spread.clamp(min=torch.finfo(spread.dtype).tiny)}
        return error

    def check(self, frame_rate: float) -> None:
        """Raise RequestError where the decoder is made for another rate."""
        if self.decoder is not None and frame_rate != self.frame_rate:
            raise RequestError(
                f"reconstruct_match decodes {self.frame_rate:g} frames/s, the tokenizer gives {frame_rate:g}; "
                f"say losses.reconstruct_match.frame_rate={frame_rate:g}"
            )

    def rebuilt(self, out: TokenizerOutput) -> Float[Tensor, "b t"]:
        """Give the audio of z_1 alone, at the tokenizer's rate, whole frames."""
        z_1 = out.z_1 if self.gradient else out.z_1.detach()
        if self.decoder is None:
            if out.decode is None:
                raise RequestError("reconstruct_match decoder 'shared': this tokenizer gives losses no decoder; use decoder=own")
            return out.decode(z_1)
        self.check(out.frame_rate)
        return self.decoder(z_1)


def centres(mask: Bool[Tensor, "b t"], frames: int, hop: float) -> Bool[Tensor, "b n"]:
    """Whether the middle sample of each of `frames` frames of `hop` samples is real."""
    middles = ((torch.arange(frames, device=mask.device) + 0.5) * hop).long().clamp(max=mask.shape[1] - 1)
    return mask[:, middles]
