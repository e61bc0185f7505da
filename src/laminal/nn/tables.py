"""Single tensors of published weights: memory-mapped, row by row, so that the table of a model of any size costs its rows alone."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from laminal.errors import RequestError
from laminal.nn import pretrained

SMALL = ("*.json", "*.txt", "*.model")  # configuration, index of the shards and tokenizer: all but the weights
INDEX = "model.safetensors.index.json"
CONTEXT = "the"  # what a word is tokenised after
NAMED = 3


class Tensors:
    """Tensors by name from the safetensors of a folder or a hub name, one file or shards; a shard nobody asks for is never fetched."""

    def __init__(self, source: str | Path):
        """Find the folder and the index; raises RequestError where there is none."""
        self.source = str(source)
        self.folder = pretrained.find(source, SMALL)
        self.config = pretrained.read_json(self.folder / "config.json")
        index = pretrained.read_json(self.folder / INDEX, {})
        one = "model.safetensors"
        self._files: dict[str, str] = index.get("weight_map") or dict.fromkeys(self._opened(one).keys(), one)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; nothing of it is read."""
        return tuple(self._slice(name).get_shape())

    def rows(self, name: str, ids: Sequence[int]) -> Float[Tensor, "ids d"]:
        """Rows `ids` of a table (v, d), as float32."""
        table = self._slice(name)
        found = {row: table[row : row + 1] for row in sorted(set(ids))}
        return torch.cat([found[row] for row in ids]).float() if len(ids) else torch.zeros(0, self.shape(name)[1])

    def tensor(self, name: str) -> Tensor:
        """One whole tensor, as float32."""
        return self._slice(name)[:].float()

    def _slice(self, name: str) -> Any:
        if name not in self._files:
            ends = sorted(each for each in self._files if each.rpartition(".")[0].endswith(name.rpartition(".")[0].rpartition(".")[2]))
            near = f" (there are {', '.join(ends[:NAMED])})" if ends else ""
            raise RequestError(f"{self.folder}: its weights have no {name}{near}; give a model in the published layout")
        return self._opened(self._files[name]).get_slice(name)

    def _opened(self, file: str) -> Any:
        path = self.folder / file
        if not path.is_file():
            if not Path(self.source).expanduser().is_dir():
                with suppress(RequestError):
                    path = pretrained.find(self.source, (*SMALL, file)) / file
            if not path.is_file():
                raise RequestError(f"{self.source} has no {file}; download it into that folder (other shards are not needed)")
        try:
            return safe_open(path, framework="pt")
        except (SafetensorError, OSError, RuntimeError) as error:  # RuntimeError: no address space to map it to
            raise RequestError(f"{path} is no readable safetensors file ({error}); download it again") from error


class Tokenizer:
    """A tokenizer of a folder, for single words as they stand in the middle of a sentence."""

    def __init__(self, folder: Path):
        """Load the fast tokenizer of `folder`, from local files, no code of it; raises RequestError where there is none."""
        try:
            try:
                self.fast: Any = pretrained.kind_of("AutoTokenizer").from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            except (ValueError, KeyError):  # a config.json whose model_type transformers does not know
                self.fast = pretrained.kind_of("PreTrainedTokenizerFast")(tokenizer_file=str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise RequestError(f"{folder}: no readable tokenizer ({str(error).splitlines()[0]}); download its tokenizer.json") from error
        if not self.fast.is_fast:
            raise RequestError(f"{folder}: its tokenizer gives no character offsets; save a fast one (tokenizer.json) there")

    def pieces(self, word: str) -> list[int]:
        """Sub-tokens of `word` after another word and a space; [] where the tokenizer does not know one of them."""
        encoded = self.fast(f"{CONTEXT} {word}", add_special_tokens=False, return_offsets_mapping=True)
        kept = [number for number, (_, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True) if end > len(CONTEXT)]
        return [] if self.fast.unk_token_id in kept else kept


def word_rows(
    tensors: Tensors, table: str, tokenizer: Tokenizer, words: Sequence[str]
) -> tuple[Float[np.ndarray, "w d"], Bool[np.ndarray, " w"]]:
    """Mean of the rows of each word's sub-tokens, and which words there are; raises RequestError on a foreign tokenizer."""
    pieces = [tokenizer.pieces(word) for word in words]
    size, width = tensors.shape(table)
    most = max((number for each in pieces for number in each), default=0)
    if most >= size:
        raise RequestError(f"{tensors.folder}: its tokenizer gives token {most}, and {table} has {size}; they are of different models")
    needed = sorted({number for each in pieces for number in each})
    place = {number: row for row, number in enumerate(needed)}
    rows = tensors.rows(table, needed).double().numpy()
    found = np.full((len(words), width), np.nan)
    for row, each in enumerate(pieces):
        if each:
            found[row] = rows[[place[number] for number in each]].mean(0)
    return found, np.array([bool(each) for each in pieces])
