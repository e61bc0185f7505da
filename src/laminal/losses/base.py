"""What a loss is: one term of the objective, a module that sees what the tokenizer's forward produced and the batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal import compat
from laminal.corpora.crops import Batch
from laminal.corpora.vocabulary import Sentences
from laminal.errors import RequestError
from laminal.nn.tokenizer import TokenizerOutput
from laminal.teachers.base import FrameTeacher, SpeakerTeacher

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DiscriminatorFeatures:
    """What every scale of the discriminators says of real and of decoded audio; the real side carries no gradient.

    Logits (b, 1, n, f), features (b, c, n, f_l) per hidden layer, masks (b, n): frames centred on real samples; one entry per scale.
    """

    real_logits: tuple[Float[Tensor, "b 1 _ _"], ...]
    real_features: tuple[tuple[Float[Tensor, "b _ _ _"], ...], ...]
    fake_logits: tuple[Float[Tensor, "b 1 _ _"], ...]
    fake_features: tuple[tuple[Float[Tensor, "b _ _ _"], ...], ...]
    masks: tuple[Bool[Tensor, "b _"], ...]


class Loss(nn.Module):
    """One term of the objective: unweighted, averaged over what is real.

    `on_waveform`: its only way into the tokenizer is the decoded audio, so that the balancer may take it.
    `needs_features`: `features` must be given. `needs_sentences`: `attend` must be called before the first forward.
    `hears_recordings`: its `teacher` may have heard whole recordings before the training, in place of the crop (`Batch.heard`).
    `takes_held`: its argument `teacher` is given as a `Held`, which losses of one teacher share; else as the teacher itself.
    `logged`: further values of the last forward worth a curve, without gradient.
    Parameters of a loss are learnt with the generator, save the `discriminators` of a `Critic`. A teacher is held in a `Held`.
    """

    name: str
    on_waveform = False
    needs_features = False
    needs_sentences = False
    hears_recordings = False
    takes_held = False

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, Tensor] = {}

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether `fit` is done or not needed."""
        return True

    def fit(self, batches: Sequence[Batch], sample_rate: int) -> None:
        """Estimate from training batches, at `sample_rate` Hz, what the loss needs before the first step."""

    def check(self, frame_rate: float) -> None:
        """Raise RequestError where the loss cannot take a tokenizer of `frame_rate` Hz; asked before anything runs."""

    def attend(self, sentences: Sentences) -> None:
        """Take the sentences that `Batch.span_token` counts in."""


class Critic(Loss):
    """A loss that owns discriminators, which have a step and an optimizer of their own."""

    discriminators: nn.Module

    def features(self, out: TokenizerOutput, batch: Batch) -> DiscriminatorFeatures:
        """Judge real audio, without gradient, and decoded audio, with gradient."""
        raise NotImplementedError

    def discriminator(self, out: TokenizerOutput, batch: Batch) -> Float[Tensor, ""]:
        """Give the discriminators' own loss; no gradient reaches the tokenizer."""
        raise NotImplementedError


class Held(Generic[T]):
    """A teacher held outside the module tree: never in a checkpoint, never stepped, always in eval mode, moved when it is first used.

    An nn.Module that is an attribute of a module would be registered; this is none, so `.train()`, `.to()` and `state_dict` pass it by.
    Losses of one teacher share one of these (`name` tells it from others), and what it hears of a batch is heard once.
    """

    def __init__(self, teacher: T, name: str = "") -> None:
        self.teacher, self.name = teacher, name
        self._device: torch.device | None = None
        self._last: tuple[Batch, str, int, Tensor] | None = None
        if isinstance(teacher, nn.Module):
            teacher.eval().requires_grad_(False)

    def on(self, device: torch.device) -> T:
        """Give the teacher, on `device` and in eval mode."""
        if isinstance(self.teacher, nn.Module):
            if device != self._device:
                self.teacher.to(device)
            if self.teacher.training:
                self.teacher.eval()
        self._device = device
        return self.teacher

    def once(self, batch: Batch, what: str, sample_rate: int, hear: Callable[[T], Tensor]) -> Tensor:
        """Give what `hear` makes of the batch, without gradient; the last answer is kept for the next loss that asks the same."""
        if self._last is None or self._last[0] is not batch or self._last[1:3] != (what, sample_rate):
            with torch.no_grad():
                self._last = (batch, what, sample_rate, hear(self.on(batch.wav.device)))
        return self._last[3]


def held(teacher: T | Held[T]) -> Held[T]:
    """Hold a teacher, unless it is held already."""
    return teacher if isinstance(teacher, Held) else Held(teacher)


def teacher_frames(held: Held[FrameTeacher], batch: Batch, sample_rate: int, of_crop: bool = False) -> Float[Tensor, "b n d"]:
    """Give a frame teacher's frames of the batch, whose audio is at `sample_rate` Hz, without gradient.

    They are cut from those of whole recordings where the batch brings these; `of_crop`: the crop alone is heard, in any case.
    """
    if held.name in batch.heard and not of_crop:
        return batch.heard[held.name]

    def hear(teacher: FrameTeacher) -> Tensor:
        return full(teacher.frames(resampled(batch.wav * batch.mask, sample_rate, teacher.sample_rate)))

    return held.once(batch, "frames", sample_rate, hear)


def teacher_embedding(held: Held[SpeakerTeacher], batch: Batch, sample_rate: int) -> Float[Tensor, "b d"]:
    """Give a speaker teacher's vectors of the crops, or of their recordings where the batch brings these, without gradient."""
    if held.name in batch.heard:
        return batch.heard[held.name]

    def hear(teacher: SpeakerTeacher) -> Tensor:
        mask, heard = batch.mask, resampled(batch.wav * batch.mask, sample_rate, teacher.sample_rate)
        if heard.shape[1] != mask.shape[1]:
            nearest = torch.arange(heard.shape[1], device=mask.device) * sample_rate // teacher.sample_rate
            mask = mask[:, nearest.clamp(max=mask.shape[1] - 1)]
        return full(teacher.embed(heard, mask))

    return held.once(batch, "voice", sample_rate, hear)


def resampled(wav: Float[Tensor, "b t"], source: int, target: int) -> Float[Tensor, "b _"]:
    """Audio at the teacher's sample rate, Hz."""
    return wav if source == target else compat.torchaudio().functional.resample(wav, source, target)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep the parameters of `module` out of the graphs built inside: in the generator step the discriminators are judges, not pupils."""
    thawed = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


def masked_mean(values: Float[Tensor, "*n"], mask: Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Mean where `mask` holds; 0, with gradient 0, where it holds nowhere."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def full(tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """At least fp32: logarithms, norms and softmax are not computed in half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def required(features: DiscriminatorFeatures | None, name: str) -> DiscriminatorFeatures:
    """Discriminator features, or the RequestError that says how to have them."""
    if features is None:
        raise RequestError(f"{name} has no discriminator features; give adversarial, which owns the discriminators, a weight above 0")
    return features
