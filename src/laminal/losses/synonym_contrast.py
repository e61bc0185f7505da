"""Synonym contrast: spans of the same word by another speaker and of its synonyms come together, near-homophones go apart."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.corpora.crops import Batch
from laminal.errors import RequestError
from laminal.losses.base import DiscriminatorFeatures, Loss, full
from laminal.nn.align import pool_spans
from laminal.nn.tokenizer import TokenizerOutput

NOTHING = -1e4  # log-weight of what is no negative: exp is exactly 0 in fp32, and unlike -inf it has no NaN gradient


class SynonymContrastLoss(Loss):
    """InfoNCE (arXiv 1807.03748) over the word spans of a batch; the proposal of the seed study's section 3.4.

    A span is the mean of its frames of z_1:k, the first k = `codebooks` codebooks, projected linearly, so that what it asks for
    lies in the frames themselves and not behind a network, and L2-normalised. With s the cosines over `temperature`, anchor a, positive p:
    l(a, p) = -log( exp s_ap / (exp s_ap + sum_n w_an exp s_an) ), over the n that are neither positive nor excluded nor a itself;
    w_an = `hard_weight` for the batch's hard negatives (near-homophones), else 1. Mean over each anchor's positives, then over the anchors
    that have one. In fp32. Without any positive the term and its gradients are exactly 0, and every parameter still takes part (DDP).
    `width`: of z; `projection`: width of the compared vectors. Logged: `positives` (pairs) and `accuracy` (share of positive pairs
    that are closer than all of their anchor's negatives).
    Raises RequestError for codebooks below 1, a temperature that is not positive, a hard weight below 1.
    """

    name = "synonym_contrast"

    def __init__(self, width: int, projection: int, temperature: float, hard_weight: float, codebooks: int) -> None:
        super().__init__()
        if codebooks < 1:
            raise RequestError(f"synonym_contrast codebooks {codebooks} is below 1; use 1 for the first codebook alone")
        if temperature <= 0:
            raise RequestError(f"synonym_contrast temperature {temperature} is not positive; use for example 0.1")
        if hard_weight < 1:
            raise RequestError(f"synonym_contrast hard_weight {hard_weight} is below 1, which would spare hard negatives; use 1 or more")
        self.codebooks, self.temperature, self.hard_weight = codebooks, temperature, hard_weight
        self.projection = nn.Linear(width, projection, bias=False)

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term, in nats."""
        frames = out.z_1 if self.codebooks == 1 else out.through(self.codebooks)
        with torch.autocast(frames.device.type, enabled=False):
            spans = pool_spans(full(frames), out.frame_mask, batch.span_row, batch.span_start, batch.span_end, out.frame_rate)
            vectors = nn.functional.normalize(self.projection(spans), dim=1, eps=1e-6)
            similarity = vectors @ vectors.T / self.temperature
            return self._contrast(similarity, batch)

    def _contrast(self, similarity: Float[Tensor, "w w"], batch: Batch) -> Float[Tensor, ""]:
        itself = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
        positive = batch.positive & ~itself
        negative = ~(positive | batch.excluded | itself)
        against = (similarity + math.log(self.hard_weight) * batch.hard).masked_fill(~negative, NOTHING)
        crowd = against.logsumexp(dim=1, keepdim=True) if len(similarity) else against  # w 1
        pairs = torch.logaddexp(similarity, crowd) - similarity
        chosen = positive.to(pairs.dtype)
        count = chosen.sum(dim=1)
        anchors = (pairs * chosen).sum(dim=1) / count.clamp(min=1)
        self.logged = _logged(similarity.detach(), positive, negative)
        return anchors.sum() / (count > 0).sum().clamp(min=1)


def _logged(similarity: Float[Tensor, "w w"], positive: Bool[Tensor, "w w"], negative: Bool[Tensor, "w w"]) -> dict[str, Tensor]:
    """Count positive pairs, and how many of them beat every negative of their anchor."""
    pairs = positive.sum().to(similarity.dtype)
    if not len(similarity):
        return {"positives": pairs, "accuracy": pairs}
    hardest = similarity.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
    return {"positives": pairs, "accuracy": ((similarity > hardest) & positive).sum() / pairs.clamp(min=1)}
