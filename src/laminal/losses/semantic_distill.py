"""Semantic distillation: the first codebook's frames should tell what a self-supervised teacher hears."""

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.corpora.crops import Batch
from laminal.errors import RequestError
from laminal.losses.base import DiscriminatorFeatures, Held, Loss, full, held, masked_mean, teacher_frames
from laminal.nn.tokenizer import TokenizerOutput
from laminal.teachers.base import FrameTeacher

AXES = ("frame", "dimension", "squared")


class SemanticDistillLoss(Loss):
    """Cosine between Linear(z_1) and the teacher's frames, (b, n, d) both.

    `axis="frame"`: mean over frames of 1 - cos (arXiv 2507.06802, which names HuBERT but not its layer: that is the teacher's own choice).
    `axis="dimension"`: SpeechTokenizer's (arXiv 2308.16692, section 3.2): for each of the teacher's dimensions -log sigmoid of the cosine
    along time, here of sequences centred over time, since a constant offset would otherwise carry most of it.
    `axis="squared"`: mean squared error over frames and dimensions, the regression of features that LM-SPT (arXiv 2506.16738) holds its
    own loss against (see `reconstruct_match`).
    Logged: `cosine` and `centred_cosine`, per frame, the latter after subtracting each crop's mean over time: a student that is constant
    in time reaches 0.78 of the first with HuBERT, and 0 of the second.
    `width`: of z_1. Where the tokenizer's frames are longer than the teacher's by a whole factor the teacher's are averaged.
    Raises RequestError for an unknown axis.
    """

    name = "semantic_distill"
    hears_recordings = True
    takes_held = True

    def __init__(self, teacher: FrameTeacher | Held[FrameTeacher], width: int, axis: str) -> None:
        super().__init__()
        if axis not in AXES:
            raise RequestError(f"semantic_distill axis {axis!r} is unknown; use one of {', '.join(AXES)}")
        self.axis = axis
        self.teacher = held(teacher)
        self.frame_rate = float(self.teacher.teacher.frame_rate)
        self.projection = nn.Linear(width, self.teacher.teacher.width)

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term; raises RequestError where the frame rates do not fit."""
        target = self._target(out, batch)
        mask = out.frame_mask[:, : target.shape[1]]
        with torch.autocast(target.device.type, enabled=False):
            student = self.projection(full(out.z_1))[:, : target.shape[1]]
            centred = nn.functional.cosine_similarity(_centred(student, mask), _centred(target, mask), dim=2)
            cosine = nn.functional.cosine_similarity(student, target, dim=2)
            self.logged = {"cosine": masked_mean(cosine, mask).detach(), "centred_cosine": masked_mean(centred, mask).detach()}
            if self.axis == "frame":
                return masked_mean(1 - cosine, mask)
            if self.axis == "squared":
                return masked_mean((student - target).square().mean(2), mask)
            along_time = nn.functional.cosine_similarity(_centred(student, mask), _centred(target, mask), dim=1)  # b d
            rows = mask.any(dim=1, keepdim=True).expand_as(along_time)
            return masked_mean(-nn.functional.logsigmoid(along_time), rows)

    def check(self, frame_rate: float) -> None:
        """Raise RequestError where the teacher's frames are no whole parts of the tokenizer's."""
        self._ratio(frame_rate)

    def _ratio(self, frame_rate: float) -> int:
        """Give the teacher's frames in one of the tokenizer's."""
        ratio = self.frame_rate / frame_rate
        if ratio < 1 or abs(ratio - round(ratio)) > 1e-6:
            fitting = ", ".join(f"{self.frame_rate / 2**power:g}" for power in range(4))
            raise RequestError(
                f"the teacher has {self.frame_rate:g} frames/s, the tokenizer {frame_rate:g}: not a whole multiple; choose a tokenizer of "
                f"{fitting} frames/s, or give semantic_distill the weight 0"
            )
        return round(ratio)

    @torch.no_grad()
    def _target(self, out: TokenizerOutput, batch: Batch) -> Float[Tensor, "b n d"]:
        """Teacher frames on the tokenizer's grid; at most the tokenizer's number of them."""
        ratio = self._ratio(out.frame_rate)
        frames = teacher_frames(self.teacher, batch, out.sample_rate).to(out.z_1.device)
        whole = frames.shape[1] // ratio * ratio
        frames = reduce(frames[:, :whole], "b (n r) d -> b n d", "mean", r=ratio)[:, : out.z_1.shape[1]]
        if frames.shape[1] < out.z_1.shape[1] - 1:
            raise RequestError(
                f"the teacher gave {frames.shape[1]} frames for {out.z_1.shape[1]} of the tokenizer; it must keep its frame_rate, centred"
            )
        return frames


def _centred(frames: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
    """Frames minus their crop's mean over time; padded ones are 0."""
    weight = mask[..., None].to(frames.dtype)
    mean = (frames * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp(min=1)
    return (frames - mean) * weight
