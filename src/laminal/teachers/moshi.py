"""What Moshi reads (Defossez et al. 2024, arXiv 2410.00037): its audio tables, summed over codebooks, and its text table."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from laminal.errors import RequestError
from laminal.nn.tables import Tensors, Tokenizer, word_rows

TEXT = "decoder.model.embed_tokens.weight"
AUDIO = "embed_tokens.{}.weight"


class Moshi:
    """Moshi in the layout of transformers' MoshiForConditionalGeneration (kmhf/hf-moshiko, kmhf/hf-moshika).

    At step t it reads, for each of two streams (its own voice, the user's), codebook 1 of frame t and codebooks 2.. of frame t - 1, each
    through a table of its own, and sums. Only the audio tables of one stream, and the rows of the words asked for, are read.
    """

    def __init__(self, source: str, stream: str = "moshi"):
        """Open `source`, a folder or a hub name; `stream`: whose voice the speech stands for, "moshi" or "user".

        Raises RequestError for another kind of model, or where tables are missing.
        """
        self.name = f"moshi_{stream}" if stream != "moshi" else "moshi"
        if stream not in ("moshi", "user"):
            raise RequestError(f"moshi stream {stream!r}: it reads two, moshi and user; give one of them")
        self.tensors = Tensors(source)
        config: dict[str, Any] = self.tensors.config
        if config.get("model_type") != "moshi":
            raise RequestError(f"{source} is of type {config.get('model_type')!r}, not 'moshi'; take kmhf/hf-moshiko's layout")
        self.codebooks = int(config.get("num_codebooks", 8))
        self.first = 0 if stream == "moshi" else self.codebooks
        self.sizes = tuple(self._shape(book)[0] - 1 for book in range(self.codebooks))  # the last entry begins an utterance
        self.group = 1  # frames of the codec a step
        self.tokenizer = Tokenizer(self.tensors.folder)

    def vectors(self, words: Sequence[str]) -> tuple[Float[np.ndarray, "w d"], Bool[np.ndarray, " w"]]:
        """Give the mean of each word's sub-tokens in the text table, and which words it has."""
        return word_rows(self.tensors, TEXT, self.tokenizer, words)

    @torch.no_grad()
    def heard(self, codes: Int[Tensor, "q n"]) -> dict[str, Float[Tensor, "n d"]]:
        """Sum the tables over the first k codebooks, for every k, at each step; acoustic codes lag one step."""
        layers = {}
        total = torch.zeros(())
        for book, table in enumerate(self._tables):
            said = codes[book].cpu()
            if book:
                said = torch.cat([torch.tensor([self.sizes[book]]), said[:-1]])
            total = total + torch.nn.functional.embedding(said, table)
            layers[str(book + 1)] = total
        return layers

    @cached_property
    def _tables(self) -> list[Tensor]:
        return [self.tensors.tensor(AUDIO.format(self.first + book)) for book in range(self.codebooks)]

    def _shape(self, book: int) -> tuple[int, ...]:
        return self.tensors.shape(AUDIO.format(self.first + book))
