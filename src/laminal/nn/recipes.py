"""From the recipe in a configuration or a checkpoint to a tokenizer: one of ours, by name, and nothing else is executed."""

from collections.abc import Mapping
from typing import Any

from laminal.errors import RequestError
from laminal.nn.split_tokenizer import SplitTokenizer
from laminal.nn.tokenizer import Tokenizer, TrainedTokenizer

KINDS: dict[str, type[TrainedTokenizer]] = {f"{kind.__module__}.{kind.__name__}": kind for kind in (Tokenizer, SplitTokenizer)}
DEFAULT = f"{Tokenizer.__module__}.{Tokenizer.__name__}"  # of a recipe without `_target_`


def tokenizer_of(recipe: Mapping[str, Any]) -> TrainedTokenizer:
    """Make the tokenizer of `recipe`: `_target_` (one of KINDS) and arguments; raises RequestError where it is another."""
    arguments = dict(recipe)
    kind = str(arguments.pop("_target_", DEFAULT))
    if kind not in KINDS:
        raise RequestError(f"tokenizer._target_={kind}: {' or '.join(KINDS)} is expected; correct it")
    return KINDS[kind](**arguments)
