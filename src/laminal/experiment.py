"""From a configuration to objects: corpus, split, probes, objective, task."""

from collections.abc import Iterable, Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from laminal.config import known_targets, plain, targets
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import DataError, RequestError


def build(config: DictConfig, **objects: Any) -> Any:
    """Instantiate `_target_` with `objects` as further arguments; what it refuses comes out as its own error."""
    try:  # objects are passed by the call: instantiate itself would turn dataclasses into configuration
        return hydra.utils.instantiate(config, _partial_=True, _convert_="all")(**objects)
    except TypeError as error:
        if "argument" in str(error):
            raise RequestError(f"{config.get('_target_')}: {error}; give the arguments that its docstring names") from error
        raise
    except (InstantiationException, OmegaConfBaseException) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, (RequestError, DataError, OSError)):
                raise cause from None
            if isinstance(cause, TypeError) and "argument" in str(cause):
                raise RequestError(f"{config.get('_target_')}: {cause}; give the arguments that its docstring names") from error
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, OmegaConfBaseException):
            raise RequestError(f"{config.get('_target_')}: {' '.join(str(error).split())}; give that key a value") from error
        raise


def corpus(config: DictConfig) -> Corpus:
    """Build the corpus; raises RequestError where it holds no utterance."""
    made: Corpus = build(config.corpus)
    if not len(made):
        raise RequestError(f"corpus {made.name} holds no utterance ({len(made.skipped)} skipped); check corpus.root")
    return made


def split(config: DictConfig, of: Corpus) -> Split:
    """Build the generalisation split and check that its tiers do not leak."""
    made: Split = build(config.split, corpus=of)
    made.check()
    return made


def probes(configs: Mapping[str, DictConfig], of: Corpus, by: Split | None, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Build the probes `names` (all of `configs` where None) on a corpus."""
    chosen = list(configs) if names is None else list(names)
    unknown = [name for name in chosen if name not in configs]
    if unknown:
        raise RequestError(f"probe={','.join(unknown)}: probes here are {', '.join(str(name) for name in configs) or 'none'}")
    return {name: build(configs[name], corpus=of, split=by) for name in chosen if configs[name] is not None}


def trusted(config: DictConfig, source: str) -> DictConfig:
    """Refuse a configuration that came with somebody's run and names code that no file in `configs/` names: it would be executed."""
    known = known_targets()
    for target in targets(plain(config)):
        if target not in known:
            raise RequestError(
                f"{source} names {target}, which no file in configs/ does; pass that section yourself with --config if you trust it"
            )
    return config


def resolved(config: DictConfig) -> DictConfig:
    """Resolve interpolations, so that what is written down is what ran."""
    made = OmegaConf.create(plain(config))
    assert isinstance(made, DictConfig)
    return made
