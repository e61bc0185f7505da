"""Text distillation: the span of a word in the first codebook should tell what a text model makes of that word in its sentence."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from laminal.corpora.crops import Batch
from laminal.corpora.vocabulary import Sentences
from laminal.errors import RequestError
from laminal.losses.base import DiscriminatorFeatures, Held, Loss, full, held, masked_mean
from laminal.nn.align import pool_spans
from laminal.nn.tokenizer import TokenizerOutput
from laminal.teachers.base import WordTeacher


class TextDistillLoss(Loss):
    """1 - cosine between Linear(span of z_1) and a text model's contextual vector of the word.

    The other proposal of the seed study's section 3.4; a text model as teacher: DM-Codec (arXiv 2410.15017).
    A span is the mean of the frames of a word that lies wholly in the crop; a vector belongs to that word alone, so nothing is padded or
    pooled to make sub-tokens and frames meet. Mean over the words that the text model knows; 0, with gradient 0, where there is none.
    Held-out word types have no span, and stand as a mask in the sentences that the text model reads.
    `width`: of z_1. Logged: `cosine`, and `constant`, the mean cosine of the batch's vectors with their own mean: what a span that says
    nothing of the word reaches. Raises RequestError for a teacher that is no WordTeacher.
    """

    name = "text_distill"
    takes_held = True
    needs_sentences = True

    def __init__(self, teacher: Any, width: int) -> None:
        super().__init__()
        self.teacher: Held[WordTeacher] = held(teacher)
        if not isinstance(self.teacher.teacher, WordTeacher):
            kind = type(self.teacher.teacher).__name__
            raise RequestError(f"text_distill: {kind} gives no vectors of words; say teachers.text=sentences")
        self.projection = nn.Linear(width, self.teacher.teacher.width)
        self._sentences: tuple[Sentences, ...] = ()

    def attend(self, sentences: Sentences) -> None:
        """Take the sentences that the spans' numbers count in."""
        self._sentences = (sentences,)

    def forward(self, out: TokenizerOutput, batch: Batch, features: DiscriminatorFeatures | None = None) -> Float[Tensor, ""]:
        """Give the raw term."""
        with torch.autocast(out.z_1.device.type, enabled=False):
            spans = pool_spans(full(out.z_1), out.frame_mask, batch.span_row, batch.span_start, batch.span_end, out.frame_rate)
            target, known = self.targets(batch)
            target, known = target.to(spans), known.to(spans.device)
            cosine = nn.functional.cosine_similarity(self.projection(spans), target, dim=1)
            middle = target.sum(0, keepdim=True)  # what is unknown is 0
            constant = nn.functional.cosine_similarity(middle, target, dim=1)
            self.logged = {"cosine": masked_mean(cosine, known).detach(), "constant": masked_mean(constant, known)}
            return masked_mean(1 - cosine, known)

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Float[Tensor, "w d"], Bool[Tensor, " w"]]:
        """Text vectors of the spans' words, and which there are; raises RequestError before `attend`."""
        if not self._sentences:
            raise RequestError("text_distill has no sentences to read; call attend(crops.sentences) first")
        teacher = self.teacher.on(batch.wav.device)
        vectors, known = torch.zeros(len(batch.span_token), teacher.width), torch.zeros(len(batch.span_token), dtype=torch.bool)
        for row, token in enumerate(batch.span_token.tolist()):
            utterance, place = self._sentences[0].place(token)
            found, there = teacher.vectors(self._sentences[0].words(utterance))
            vectors[row], known[row] = found[place], there[place]
        return vectors, known
