"""From a configuration to objects: corpus, split, probes, objective, task."""

from collections.abc import Iterable, Mapping
from typing import Any

import hydra.utils
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from laminal.config import known_targets, plain, targets
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.errors import DataError, RequestError

SIZES = {"draws": 1000, "utterances": 2, "maximum": 1, "tier_maximum": 1, "token_pairs": 1, "randoms": 1, "nulls": 0, "cells": 0, "seed": 0}


def build(config: Any, where: str, **objects: Any) -> Any:
    """Instantiate `_target_` of section `where` with `objects` as further arguments; what it refuses comes out as its own error."""
    if not isinstance(config, DictConfig) or not OmegaConf.select(config, "_target_", throw_on_missing=False):
        shown = plain(config) if isinstance(config, DictConfig) else config
        raise RequestError(f"{where} is {shown} without _target_; name a file of configs/ ({where}=NAME), or write _target_: module.name")
    with_values(config, where)
    try:  # objects are passed by the call: instantiate itself would turn dataclasses into configuration
        return hydra.utils.instantiate(config, _partial_=True, _convert_="all")(**objects)
    except TypeError as error:
        if "argument" in str(error):
            raise RequestError(f"{where}: {config._target_}: {error}; give the arguments that its docstring names") from error
        raise
    except (InstantiationException, OmegaConfBaseException) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, (RequestError, DataError, OSError)):
                raise cause from None
            if isinstance(cause, TypeError) and "argument" in str(cause):
                raise RequestError(f"{where}: {config._target_}: {cause}; give the arguments that its docstring names") from error
            last, cause = cause, cause.__cause__ or cause.__context__
        said = " ".join(str(last).split())
        raise RequestError(f"{where}: {config._target_} cannot be built ({said}); correct that section") from error


def with_values(config: DictConfig, where: str) -> None:
    """Raise RequestError where a key that must have a value has none."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        key = f"{where}.{missing[0]}" if where else missing[0]
        raise RequestError(f"{key} has no value: give {key}=...; the comment beside it in configs/ says what it is")


def corpus(config: DictConfig) -> Corpus:
    """Build the corpus; raises RequestError where it holds no utterance."""
    made: Corpus = build(config.get("corpus"), "corpus")
    if not len(made):
        raise RequestError(f"corpus {made.name} holds no utterance ({len(made.skipped)} skipped); check corpus.root")
    return made


def split(config: DictConfig, of: Corpus) -> Split:
    """Build the generalisation split and check that its tiers do not leak."""
    made: Split = build(config.get("split"), "split", corpus=of)
    made.check()
    return made


def probes(configs: Mapping[str, DictConfig | None], of: Corpus, by: Split | None, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Build the probes `names` (all of `configs` where None) on a corpus; raises RequestError for sizes that no probe can work with."""
    chosen = list(configs) if names is None else list(names)
    unknown = [name for name in chosen if name not in configs]
    if unknown:
        raise RequestError(f"probe={','.join(unknown)}: probes here are {', '.join(str(name) for name in configs) or 'none'}")
    sections = {name: section for name in chosen if (section := configs[name]) is not None}
    for name, section in sections.items():
        for key, least in SIZES.items():
            value = section.get(key)
            if isinstance(value, int | float) and value < least:
                raise RequestError(f"probes.{name}.{key}={value}: at least {least}; raise it")
    with torch.random.fork_rng(devices=[]):  # a probe may hold a teacher, and networks draw when they are made
        return {name: build(section, f"probes.{name}", corpus=of, split=by) for name, section in sections.items()}


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
