"""Which codecs a command line names: `codec=encodec,./mine.py:Codec`, their labels, and the arguments of each (`codec.mine.path=DIR`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laminal import config
from laminal.check_codec import refuse_broken
from laminal.codecs.base import Codec
from laminal.codecs.load import load_codec
from laminal.errors import DataError, RequestError


@dataclass(frozen=True, slots=True)
class Choice:
    """One codec as it was asked for; `label` names its rows, its results and its arguments."""

    label: str
    what: str  # a name of configs/codecs, a folder, a checkpoint, file.py:Class
    arguments: Mapping[str, Any]

    def load(self) -> Codec:
        """Load it; a codec from a file of the user's is asked the cheap rules of the contract. Raises RequestError."""
        codec = loaded(self.what, self.arguments)
        if ".py:" in self.what:
            refuse_broken(codec, self.what)
        return codec


def loaded(what: str, arguments: Mapping[str, Any]) -> Codec:
    """Load a codec; what hydra wraps comes out as its own error."""
    from hydra.errors import InstantiationException

    try:
        return load_codec(what, **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (RequestError, DataError)):
            cause = cause.__cause__ or cause.__context__
        raise cause or RequestError(
            f"codec={what} cannot be made ({' '.join(str(error).split())[:300]}); give the arguments of its YAML"
        ) from None
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise RequestError(f"codec={what}: {error}; give the arguments that its docstring names") from error


def choices(names: Sequence[str], arguments: Mapping[str, Any], optional: Sequence[str] = ()) -> list[Choice]:
    """Give each named codec its label and arguments; raises RequestError where an argument or a name is nobody's.

    One codec: `codec.path=DIR` is its own. Several: `codec.LABEL.path=DIR`, since `path` could be anybody's. `optional` ones may be
    unknown here: loading them says so.
    """
    labels = labels_of(names)
    for name in names:
        if name not in optional:
            known(name)
    own: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for key, value in arguments.items():
        if key in own and isinstance(value, Mapping):
            own[key] |= value
        elif len(labels) == 1:
            own[labels[0]][key] = value
        elif not labels:
            raise RequestError(f"codec.{key}: no codec is named; say codec=NAME")
        else:
            raise RequestError(f"codec.{key}: there are {len(labels)} codecs; say whose it is, as codec.{labels[0]}.{key}=VALUE")
    return [Choice(label, name, own[label]) for label, name in zip(labels, names, strict=True)]


def labels_of(names: Sequence[str]) -> list[str]:
    """Short names, all different: the name; a file's or folder's own name; then with its class or parent; then numbered."""
    ways = [_ways(name) for name in names]
    labels: list[str] = []
    for place, way in enumerate(ways):
        others = [each for other, each in enumerate(ways) if other != place]
        free = [label for label in way if label not in labels and all(label != other[0] for other in others)]
        chosen = free[0] if free else way[0]
        number = 2
        while chosen in labels:
            chosen, number = f"{way[0]}-{number}", number + 1
        labels.append(chosen)
    return labels


def _ways(name: str) -> list[str]:
    """Label candidates, the shortest first."""
    if ".py:" in name:
        file, _, kind = name.rpartition(":")
        found = [Path(file).stem, f"{Path(file).stem}-{kind}"]
    elif "/" in name:
        path = Path(name)
        both = f"{path.parent.name}-{path.stem}" if path.parent.name else path.stem
        found = [both, path.stem] if path.name.startswith("tokenizer") else [path.stem, both]  # every run has an export of that name
    else:
        found = [name]
    return [each.replace(".", "-") for each in found]


def known(what: str) -> None:
    """Raise RequestError, before anything is loaded, where `what` is neither a name of configs/codecs nor something that is there."""
    file = what.rpartition(":")[0] if ".py:" in what else what
    if ".py:" in what or "/" in what or Path(what).suffix:
        if not Path(file).exists():
            raise RequestError(f"codec={what}: {file} does not exist; names are {', '.join(config.names('codecs'))}, or give a folder")
    elif not Path(what).exists():
        config.find(what, "codecs")
