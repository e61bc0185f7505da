"""Acoustic alignment: the residual codebooks together should tell the voice that a speaker teacher hears."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.corpora.crops import Batch
from laminal.errors import RequestError
from laminal.losses.base import DiscriminatorFeatures, Held, Loss, full, held, masked_mean, teacher_embedding
from laminal.nn.align import AttentionPooling
from laminal.nn.tokenizer import TokenizerOutput
from laminal.teachers.base import SpeakerTeacher


class AcousticAlignLoss(Loss):
    """KL(teacher || student) between softmaxes of a speaker embedding and of what attention pooling hears in z_2:K (arXiv 2507.06802).

    The paper prints neither the align layer's shape nor the distributions. Our choices: each frame of z_2:K through a layer norm without
    parameters (the latent has the level of speech, 0.05: without it the logits cannot grow to the teacher's within a short training, and
    the term stays at the no-information level), `heads`-head attention pooling with one learned
    query over the tokens alone, then Linear to the teacher's width; temperature 1, mean over the batch; the teacher z-scored per
    dimension with training statistics. Both are traps measured: keys and values from the teacher leak (pure-noise tokens reach KL 0.13,
    where tokens alone stay at the no-information 0.49), and the softmax of an L2-normalised embedding is flat (0.005 between speakers
    against 0.98 z-scored). The statistics are buffers: `mean` and `std`, (d,), given here or estimated by `fit`.
    `width`: of z_2:K. Crops without a real frame do not count.
    """

    name = "acoustic_align"
    hears_recordings = True
    takes_held = True
    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(
        self, teacher: SpeakerTeacher | Held[SpeakerTeacher], width: int, heads: int,
        mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.teacher = held(teacher)
        dimensions = self.teacher.teacher.width
        self.pooling = AttentionPooling(width, heads)
        self.projection = nn.Linear(width, dimensions)
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("std", torch.ones(dimensions))
        self.register_buffer("fitted", torch.tensor(False))
        if (mean is None) != (std is None):
            raise RequestError("acoustic_align was given one of mean and std; give both, or neither and call fit with training batches")
        if mean is not None and std is not None:
            self._set(torch.tensor(mean), torch.tensor(std))

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term, in nats; raises RequestError before the teacher's statistics are known."""
        if not self.ready:
            raise RequestError("acoustic_align does not know its teacher's mean and std; call fit with training batches, or give them")
        with torch.autocast(batch.wav.device.type, enabled=False):
            target = self.target(batch, out.sample_rate)
            student = self.voice(full(out.z_rest), out.frame_mask)
            divergence = nn.functional.kl_div(student.log_softmax(dim=1), target, reduction="none", log_target=True).sum(dim=1)
            return masked_mean(divergence[:, None], out.frame_mask.any(dim=1, keepdim=True))

    def voice(self, z_rest: Float[Tensor, "b n w"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Logits of the student's distribution: what is heard of the voice in z_2:K."""
        return self.projection(self.pooling(nn.functional.layer_norm(z_rest, z_rest.shape[-1:]), mask))

    @torch.no_grad()
    def target(self, batch: Batch, sample_rate: int) -> Float[Tensor, "b d"]:
        """Logarithm of the teacher's distribution: log-softmax of its z-scored embedding."""
        return ((self._embed(batch, sample_rate) - self.mean) / self.std).log_softmax(dim=1)

    @property
    def ready(self) -> bool:
        """Whether the teacher's statistics are known, given, estimated or loaded."""
        return bool(self.fitted)

    @torch.no_grad()
    def fit(self, batches: Sequence[Batch], sample_rate: int) -> None:
        """Estimate the teacher's mean and standard deviation, over the crops of all ranks; raises RequestError for fewer than two crops."""
        moments = torch.zeros(3, self.mean.numel(), dtype=torch.float64, device=self.mean.device)
        for batch in batches:
            embeddings = self._embed(batch, sample_rate).double()[batch.mask.any(dim=1)]
            moments += torch.stack([torch.ones_like(embeddings), embeddings, embeddings.square()]).sum(dim=1)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(moments)
        count, total, squares = moments
        if count[0] < 2:
            raise RequestError(f"acoustic_align cannot estimate a spread from {int(count[0])} crops; give fit more training batches")
        self._set(total / count, (squares / count - (total / count).square()).clamp(min=0).sqrt())

    def _set(self, mean: Float[Tensor, "d"], std: Float[Tensor, "d"]) -> None:
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-3 * float(std.mean()) + 1e-12))  # a dimension that never moves must not explode
        self.fitted.fill_(True)

    def _embed(self, batch: Batch, sample_rate: int) -> Float[Tensor, "b d"]:
        return teacher_embedding(self.teacher, batch, sample_rate).to(self.mean.device)
