"""torchaudio on a CPU-only torch: its wheel is linked to CUDA, so its extension is replaced by a stub that says it is absent."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn


def torchaudio() -> ModuleType:
    """Import torchaudio and return it; safe to call often, and before transformers' speech models and speechbrain.

    Where the compiled extension cannot be loaded (OSError), MelSpectrogram, MFCC, resample and kaldi.fbank still work;
    `forced_align` and `rnnt_loss` then raise. Raises ImportError where torchaudio is not installed.
    """
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        _forget("torchaudio")
        sys.modules["torchaudio._extension"] = _absent_extension()
        return importlib.import_module("torchaudio")


def forget_lazy(package: str) -> None:
    """Take a package's modules that import only when touched out of sys.modules: whoever walks it (inspect, hypothesis) touches them.

    speechbrain has some that need packages nobody asked for (k2); they stay reachable as attributes.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(package + ".") and type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
            del sys.modules[name]


def _forget(package: str) -> None:
    """Drop what a failed import left behind, so that the next one starts clean."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]


def _absent_extension() -> ModuleType:
    stub = ModuleType("torchaudio._extension")
    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _IS_RIR_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=_raise_when_called,
        fail_if_no_rir=_raise_when_called,
    )
    return stub


def _raise_when_called(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    """Stand in for torchaudio's decorator of the functions that need its extension: it runs at import, so it must not raise then."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"torchaudio.{function.__name__} needs torchaudio's CUDA-linked extension; install a torch with CUDA to call it")

    return refuse
