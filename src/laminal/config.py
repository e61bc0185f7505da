"""Configuration: YAML files that inherit and include, twins of the shelves, dotted overrides, and no unknown key."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load

from laminal.errors import RequestError

SHELVES = {"corpus": "corpora", "codec": "codecs", "losses": "losses", "teachers": "teachers", "probes": "probes"}
SLOTS = ("corpus", "codec")  # the key itself takes a twin; under the other shelves every child does


def folders() -> list[Path]:
    """Folders searched for configuration: `configs/` here, then the one of the checkout that laminal runs from."""
    return [Path("configs"), Path(__file__).resolve().parents[2] / "configs"]


def find(name: str, shelf: str = "") -> Path:
    """Find the YAML file that `name` (a path, or a bare name in `configs/SHELF`) means; raises RequestError with the nearest names."""
    given = Path(name)
    if given.suffix == ".yaml" and given.is_file():
        return given
    for folder in folders():
        candidate = (folder / shelf / name).with_suffix(".yaml") if given.suffix != ".yaml" else folder / shelf / name
        if candidate.is_file():
            return candidate
    known = names(shelf)
    raise RequestError(f"no configuration {name!r} in configs/{shelf}: {_nearest(given.stem, known)}")


def names(shelf: str) -> list[str]:
    """Names of the YAML twins on a shelf, sorted; with "" those of the experiments."""
    return sorted({path.stem for folder in folders() for path in (folder / shelf).glob("*.yaml")})


def targets(value: Any) -> Iterator[str]:
    """Give every `_target_` in a plain value, as deep as it goes."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield str(value["_target_"])
        for each in value.values():
            yield from targets(each)
    elif isinstance(value, list):
        for each in value:
            yield from targets(each)


def known_targets() -> frozenset[str]:
    """Every `_target_` that a file under `configs/` names."""
    files = (path for folder in folders() for path in folder.rglob("*.yaml"))
    return frozenset(target for path in files for target in targets(safe_load(path.read_text(encoding="utf-8"))))


def twin(shelf: str, name: str) -> DictConfig:
    """Read the configuration of one object on a shelf."""
    return read(find(name, shelf))


def read(path: Path) -> DictConfig:
    """Read one YAML file: `base:` (a name or a list of names) comes first, values that end in .yaml are included."""
    loaded = parsed(path)
    bases = loaded.pop("base", None) or []
    merged: DictConfig | None = None
    for base in [bases] if isinstance(bases, str) else bases:
        below = read(_sibling(path, base))
        merged = below if merged is None else merge(merged, below, str(base))
    included = _include(loaded, path)
    return _with_twins(included) if merged is None else merge(merged, included, str(path))


def parsed(path: Path) -> DictConfig:
    """Parse one YAML file as it stands; raises RequestError where it is broken, or holds anything but keys with values."""
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, OSError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise RequestError(f"{path} is not readable YAML ({' '.join(str(error).split())}); mend the file") from error
    if not isinstance(loaded, DictConfig):
        raise RequestError(f"{path} holds {type(loaded).__name__}, not keys with values; write `key: value` lines")
    return loaded


def load(configs: Sequence[str], overrides: Iterable[str] = ()) -> DictConfig:
    """Merge `configs` left to right, then the dotted `key=value` overrides; raises RequestError on unknown keys and wrong types."""
    merged: DictConfig | None = None
    for name in configs:
        layer = read(find(name))
        merged = layer if merged is None else merge(merged, layer, name)
    return override(merged if merged is not None else OmegaConf.create(), overrides)


def override(config: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """Apply `key=value` words; names of shelf objects are resolved first, so their order does not matter."""
    pairs = [parse(word) for word in overrides]
    for slot_first in (True, False):
        for key, value in pairs:
            if _is_slot(key, value) == slot_first:
                patch: DictConfig = OmegaConf.create()
                OmegaConf.update(patch, key, value)
                config = merge(config, patch, f"{key}={value}")
    return config


def parse(word: str) -> tuple[str, Any]:
    """Split `key=value` at the first `=`; the value is read as YAML (1e-4 is a number), text with `=` stays whole."""
    key, equals, value = word.partition("=")
    if not equals or not key or key.startswith("-"):
        raise RequestError(f"{word!r} is not key=value; write for example trainer.epochs=8 or --config NAME")
    try:
        parsed = OmegaConf.from_dotlist([f"value={value}"])["value"]
    except (YAMLError, OmegaConfBaseException) as error:
        raise RequestError(f"{word!r}: the value is not YAML; quote it") from error
    return key, parsed


def merge(base: DictConfig, layer: DictConfig, source: str) -> DictConfig:
    """Merge `layer` over `base`: every key must be known in `base`, or name a twin; numbers stay numbers."""
    result = base.copy()
    _merge_node(result, layer, "", source)
    return result


def plain(config: Any) -> Any:
    """Resolve a configuration to plain dicts and lists."""
    return OmegaConf.to_container(config, resolve=True) if isinstance(config, (DictConfig, ListConfig)) else config


def _merge_node(target: DictConfig, layer: DictConfig, path: str, source: str) -> None:
    for key in layer:
        dotted = f"{path}{key!s}"
        known = list(target)  # `in` would not see keys whose value is still missing
        value, current = _raw(layer, key), _raw(target, key) if key in known else None
        if isinstance(value, str) and _is_slot(dotted, value):
            target[key] = twin(_shelf(dotted), value)
        elif key not in known and not _names_twin(dotted):
            raise RequestError(f"unknown key {dotted!r} in {source}: {_nearest(str(key), [str(name) for name in known])}")
        elif isinstance(value, DictConfig) and "_target_" in value and (current is None or current.get("_target_") != value["_target_"]):
            target[key] = value
        elif isinstance(value, DictConfig) and isinstance(current, DictConfig):
            _merge_node(current, value, f"{dotted}.", source)
        elif isinstance(value, DictConfig) and _names_twin(dotted):
            target[key] = merge(twin(_shelf(dotted), dotted.rpartition(".")[2]), value, source)
        else:
            _check_type(dotted, current, value, source)
            target[key] = float(value) if isinstance(current, float) and isinstance(value, int) else value  # 2 for 2.0


def _raw(node: DictConfig, key: Any) -> Any:
    """Give a value as it is written: interpolations stay text, missing ones are None."""
    value = node._get_node(key)
    if isinstance(value, (DictConfig, ListConfig)):
        return value
    return None if OmegaConf.is_missing(node, key) else value._value()  # type: ignore[union-attr]


def _check_type(key: str, current: Any, value: Any, source: str) -> None:
    numbers = (int, float)
    if isinstance(value, str) and value.startswith("${"):
        return
    wrong = (
        (isinstance(current, bool) and not isinstance(value, bool) and value is not None)
        or (isinstance(current, numbers) and isinstance(value, (str, bool, ListConfig)) and not isinstance(current, bool))
        or (isinstance(current, int) and not isinstance(current, bool) and isinstance(value, float) and not value.is_integer())
        or (isinstance(current, DictConfig) and not isinstance(value, DictConfig) and value is not None)
        or (isinstance(value, DictConfig) and current is not None)
    )
    if wrong:
        shown = "a section" if isinstance(current, DictConfig) else f"{type(current).__name__} (now {current})"
        raise RequestError(f"{key}={value} in {source}: {shown} is expected; give one of that kind")


def _is_slot(key: str, value: Any) -> bool:
    """Whether `key: value` names a twin: a bare word, not a file and not `file.py:Class`."""
    if not isinstance(value, str) or ":" in value or "/" in value or "," in value or value.startswith("$"):
        return False
    head, _, rest = key.partition(".")
    return key in SLOTS or (head in SHELVES and head not in SLOTS and rest != "" and "." not in rest)


def _shelf(key: str) -> str:
    return SHELVES[key.partition(".")[0]]


def _names_twin(key: str) -> bool:
    head, _, rest = key.partition(".")
    return head in SHELVES and head not in SLOTS and rest in names(SHELVES[head])


def _include(node: DictConfig, path: Path) -> DictConfig:
    for key in node:
        value = node._get_node(key)
        if isinstance(value, DictConfig):
            _include(value, path)
        elif not isinstance(value, ListConfig) and not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, str(key)):
            text = node[key]
            if isinstance(text, str) and text.endswith(".yaml"):
                node[key] = read(_sibling(path, text))
    return node


def _with_twins(config: DictConfig) -> DictConfig:
    """Resolve the names of shelf objects in a file that stands at the bottom of its chain."""
    for key in list(config):
        if OmegaConf.is_missing(config, key) or str(key) not in SHELVES:
            continue
        value = config[key]
        if _is_slot(str(key), value):
            config[key] = twin(_shelf(str(key)), value)
        elif isinstance(value, DictConfig) and str(key) not in SLOTS:
            for child in list(value):
                dotted = f"{key}.{child}"
                if _is_slot(dotted, value[child]):
                    value[child] = twin(_shelf(dotted), value[child])
                elif isinstance(value[child], DictConfig) and "_target_" not in value[child] and _names_twin(dotted):
                    value[child] = merge(twin(_shelf(dotted), str(child)), value[child], dotted)
    return config


def _sibling(path: Path, name: str) -> Path:
    beside = path.parent / name
    for candidate in (beside, beside.with_suffix(".yaml")):
        if candidate.is_file():
            return candidate
    return find(name)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(known) or 'nothing'}"
