"""torch.compile for the tokenizer's encoder and decoder: the same numbers within rounding, faster where a GPU waits for Python."""

import os
import shutil

import torch

from laminal.errors import RequestError
from laminal.nn.tokenizer import TrainedTokenizer

DEFAULT = "inductor"  # of `true`
COMPILERS = ("g++", "c++", "clang++")
PIECES = 64  # most compiled forms of one function: transformers' convolutions are one, and torch's own 8 leaves most of them as they are


def checked_backend(asked: bool | str | None) -> str | None:
    """Give the backend that `asked` (true, false, null or a name of torch's) means; None for none.

    Raises RequestError for a name that torch does not know, and where inductor lacks the C++ compiler that it writes for.
    """
    if asked is None or asked is False:
        return None
    name = DEFAULT if asked is True else str(asked)
    known = torch.compiler.list_backends(exclude_tags=())
    if name not in known:
        raise RequestError(f"trainer.compile={name}: torch has {', '.join(known)}; name one of them, or give true, or null for none")
    if name == DEFAULT and not any(shutil.which(each) for each in (os.environ.get("CXX") or "", *COMPILERS) if each):
        raise RequestError(
            f"trainer.compile={name}: this machine has no C++ compiler ({', '.join(COMPILERS)}, or what CXX names), which it needs; "
            "install g++, or give trainer.compile=aot_eager, or null"
        )
    return name


def compile_networks(tokenizer: TrainedTokenizer, backend: str) -> None:
    """Compile encoder and decoder in place, each at its first call and again for each further length; parameters keep their names.

    The quantizer stays as it is (its codes branch on data), and so do teachers and discriminators. A copy, an export and a checkpoint are
    of the plain modules. The causal convolutions of transformers reckon their padding from a tensor, where torch breaks the graph: what is
    compiled is the pieces between.
    """
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, PIECES)
    torch._functorch.config.donated_buffer = False  # gradient norms and the balancer go backward several times through one graph
    for network in (tokenizer.encoder, tokenizer.decoder):
        network.compile(backend=backend, dynamic=False)


def failed(error: BaseException) -> bool:
    """Whether `error` is torch's that it could not compile."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
