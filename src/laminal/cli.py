"""Words of a command line, and exit codes: 0 done, 1 the work failed, 2 the request was wrong (one line)."""

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from laminal.errors import DataError, RequestError

REFUSALS = (
    "hydra.errors.InstantiationException", "omegaconf.errors.OmegaConfBaseException",
    "lightning.fabric.utilities.exceptions.MisconfigurationException",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A command line: configurations left to right, flags, and key=value words."""

    configs: tuple[str, ...]
    flags: frozenset[str]
    overrides: tuple[str, ...]


def parse(words: Sequence[str], flags: Sequence[str] = ()) -> Request:
    """Sort `words` into `--config NAME` (repeatable), known `--flags` and key=value; raises RequestError on any other word."""
    configs: list[str] = []
    found: set[str] = set()
    overrides: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word == "--config":
            value = next(waiting, None)
            if value is None or value.startswith("--"):
                raise RequestError("--config needs a name or a path, for example --config semantic_rvq.yaml")
            configs.append(value)
        elif word.startswith("--config="):
            configs.append(word.removeprefix("--config="))
        elif word in flags:
            found.add(word)
        elif "=" in word and not word.startswith("-"):
            overrides.append(word)
        else:
            raise RequestError(f"{word!r} is not understood: words are --config NAME, {', '.join(flags) or 'no flags'}, or key=value")
    return Request(tuple(configs), frozenset(found), tuple(overrides))


def run(main: Callable[[Sequence[str]], int | None], usage: str) -> None:
    """Run `main` on the command line and exit by its result."""
    words = sys.argv[1:]
    if not words or set(words) & {"-h", "--help"}:
        print(usage.strip())
        sys.exit(0 if words else 2)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    quiet()
    sys.exit(outcome(main, words))


def outcome(main: Callable[[Sequence[str]], int | None], words: Sequence[str]) -> int:
    """Run `main` and give its exit code; a wrong request prints one line, never a traceback."""
    try:
        return main(words) or 0
    except KeyboardInterrupt:
        print("stopped; the same command goes on (train.py: resume=<the run's folder>)", file=sys.stderr)
        return 130
    except Exception as error:
        said = " ".join(str(error).split())
        if refused(error):
            print(f"error: {said}", file=sys.stderr)
            return 2
        if isinstance(error, (DataError, FloatingPointError)):
            print(f"error: {said}", file=sys.stderr)
            return 1
        if isinstance(error, OSError):
            print(f"error: {error}; the work stopped: what was written before is whole", file=sys.stderr)
            return 1
        raise


def refused(error: BaseException) -> bool:
    """Whether `error` says that the request was wrong: ours, or what a library raises for a configuration (none is imported for this)."""
    return isinstance(error, RequestError) or any(f"{kind.__module__}.{kind.__name__}" in REFUSALS for kind in type(error).__mro__)


def quiet() -> None:
    """Hide what libraries say to their own developers."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*(does not have many workers|srun|torch.utils._pytree|isinstance\\(treespec).*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "httpx", "speechbrain", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
