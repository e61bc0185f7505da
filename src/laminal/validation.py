"""What can be said of a training's configuration before any of its work: one look, for the dry run and for the real one."""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf

from laminal.config import plain
from laminal.dashboard import loggers
from laminal.errors import RequestError
from laminal.experiment import with_values
from laminal.nn import compiled
from laminal.nn.recipes import DEFAULT, KINDS
from laminal.nn.split_quantizer import ORDERS
from laminal.nn.split_tokenizer import RATES, SplitTokenizer, strides
from laminal.task import VALIDATED
from laminal.training import trainer_of

SECTIONS = ("corpus", "split", "tokenizer", "data", "losses", "optimizer", "trainer", "checkpoint", "probing", "probes", "log")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be, in words and as a test."""

    what: str
    holds: Callable[[Any], bool]
    may_miss: bool = False  # configurations of runs that were started before there was such a key stay valid


def number(low: int | float, high: int | float = math.inf) -> Rule:
    """Take a finite number from `low` to `high`."""
    return Rule(
        f"a number from {low:g} " + ("on" if high == math.inf else f"to {high:g}"),
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and math.isfinite(value),
    )


def whole(low: int, high: int | float = math.inf) -> Rule:
    """Take a whole number from `low` to `high`."""
    inside = number(low, high)
    return Rule(inside.what.replace("a number", "a whole number"), lambda value: isinstance(value, int) and inside.holds(value))


def one_of(*names: str) -> Rule:
    """Take one of `names`."""
    return Rule(" or ".join(names), lambda value: value in names)


def or_null(rule: Rule) -> Rule:
    """Take null too."""
    return Rule(f"{rule.what}, or null", lambda value: value is None or rule.holds(value))


def since(rule: Rule) -> Rule:
    """Let the key be missing: it came later than the first runs."""
    return replace(rule, may_miss=True)


def several(rule: Rule, count: int | None = None) -> Rule:
    """Take a list of `count` (or any number from 1 on) values."""
    what = f"a list of {'one or more' if count is None else count}, each {rule.what}"
    return Rule(
        what, lambda values: isinstance(values, list) and len(values) == (count or max(len(values), 1)) and all(map(rule.holds, values))
    )


TINY = 1e-12  # above 0
# not 16-mixed: gradients would be clipped while they are scaled; nor 16-true, bf16-true, 64-true: codebooks are float32
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16")
POWERS = [2**power for power in range(1, 21)]
RULES = {
    "seed": whole(0, 2**32 - 1),  # what the random generators take
    "tokenizer.sample_rate": whole(1000),
    "tokenizer.filters": whole(1),
    "tokenizer.dim": whole(1),
    "tokenizer.codebooks": whole(1),
    "tokenizer.codebook_size": Rule("a power of 2 from 2 on", lambda value: isinstance(value, int) and value in POWERS),
    "tokenizer.residual_layers": whole(0),
    "tokenizer.dropout": number(0, 1),
    "tokenizer.quantizer.decay": number(0, 1),
    "tokenizer.quantizer.kmeans_frames": whole(1),
    "tokenizer.quantizer.kmeans_iterations": whole(0),
    "tokenizer.quantizer.window": whole(1),
    "data.seconds": number(0.05),
    "data.batch": whole(1),
    "data.pairs": number(0, 1),
    "data.synonyms": number(0, 1),
    "data.cache_bytes": whole(0),
    "data.workers": whole(0),
    "data.validation_crops": whole(1),
    "optimizer.lr": number(TINY),
    "optimizer.discriminator_lr": number(0),
    "optimizer.betas": several(number(0, 1 - TINY), 2),
    "optimizer.weight_decay": number(0),
    "optimizer.warmup_steps": whole(0),
    "optimizer.final_lr": number(0, 1),
    "optimizer.clip": number(0),
    "optimizer.ema": since(or_null(number(0, 1 - TINY))),
    "trainer.epochs": whole(1),
    "trainer.steps_per_epoch": whole(1),
    "trainer.accumulate": whole(1),
    "trainer.nodes": whole(1),
    "trainer.precision": Rule(" or ".join(PRECISIONS), lambda value: str(value) in PRECISIONS),
    "checkpoint.every_epochs": whole(1),
    "checkpoint.keep": Rule("-1 (all) or a whole number from 1 on", lambda value: isinstance(value, int) and (value == -1 or value > 0)),
    "checkpoint.mode": one_of("min", "max"),
    "stopping.patience": since(whole(1)),
    "stopping.mode": since(or_null(one_of("min", "max"))),
    "probing.every_epochs": or_null(whole(1)),
    "probing.every_steps": or_null(whole(1)),
    "probing.budget_s": or_null(number(0)),
    "log.every_steps": whole(1),
    "log.gradient_norms_until": whole(0),
    "log.gradient_norms_every": whole(1),
}
OF_KIND = {  # rules of one tokenizer alone, by its class
    "Tokenizer": {
        "tokenizer.ratios": several(whole(1)),
        "tokenizer.lstm_layers": whole(0),
        "tokenizer.norm": one_of("weight_norm", "time_group_norm"),
    },
    "SplitTokenizer": {
        "tokenizer.frame_rate": Rule(" or ".join(f"{rate:g}" for rate in RATES), lambda value: value in RATES),
        "tokenizer.codebooks": whole(2),
        "tokenizer.codebook_dim": whole(1),
        "tokenizer.transformer_layers": whole(0),
        "tokenizer.heads": whole(1),
        "tokenizer.order": one_of(*ORDERS),
    },
}


def validate(config: DictConfig) -> None:
    """Look at every number and name that needs no corpus; raises RequestError with the value, the rule and the cure."""
    for name in SECTIONS:
        if not isinstance(OmegaConf.select(config, name), DictConfig):
            raise RequestError(f"the configuration has no section {name!r}; write `base: base.yaml` into it, which has all of them")
    with_values(config, "")
    kind = KINDS.get(str(config.tokenizer.get("_target_", DEFAULT)))
    if kind is None:
        raise RequestError(f"tokenizer._target_={config.tokenizer._target_}: {' or '.join(KINDS)} is expected; correct it")
    for key, rule in (RULES | OF_KIND[kind.__name__]).items():
        value = plain(OmegaConf.select(config, key, default=_MISSING))
        if value is _MISSING and rule.may_miss:
            continue
        if value is _MISSING:
            raise RequestError(f"{key} is not in the configuration: {rule.what} is expected; configs/base.yaml has the usual value")
        if not rule.holds(value):
            raise RequestError(f"{key}={value}: {rule.what} is expected; correct it")
    if kind is SplitTokenizer:
        strides(config.tokenizer.sample_rate, config.tokenizer.frame_rate)
    loggers(config)
    for section in ("checkpoint", "stopping"):
        monitor(config, section)
    compiled.checked_backend(config.trainer.get("compile"))
    trainer_of(config, Path(str(config.out)), [])


def monitor(config: DictConfig, section: str = "checkpoint") -> None:
    """Check `SECTION.monitor` against what probes and validation can give; raises RequestError where it cannot exist."""
    name = OmegaConf.select(config, f"{section}.monitor")
    if name is None:
        return
    kind, _, rest = str(name).partition("/")
    said = f"{section}.monitor={name}"
    if kind == "val":
        known = [f"val/{loss}" for loss in VALIDATED if (config.losses.get(loss) or {}).get("weight")]
        if name not in known:
            raise RequestError(f"{said}: validation gives {' and '.join(known) or 'nothing here'}; name one of these, or a probe/... score")
        return
    probes = [str(key) for key, section in config.probes.items() if section is not None]
    probe, *path = rest.split("/")
    if kind != "probe" or probe not in probes:
        raise RequestError(f"{said}: give probe/<probe>/[setting/]metric/L01 with a probe of {', '.join(probes) or 'none'}, or val/mel")
    if config.probing.every_epochs is None and config.probing.every_steps is None:
        raise RequestError(f"{said}: nothing is probed, probing.every_epochs and probing.every_steps are null; give one of them a number")
    if "@" in rest:
        raise RequestError(f"{said}: checkpoints are judged by scores of the default slice, distance and split; leave out what follows @")
    layer = path.pop() if path and (path[-1] == "latent" or re.fullmatch(r"L\d+", path[-1])) else ""
    books = int(config.tokenizer.codebooks)
    if layer not in ("", "latent", *(f"L{book:02d}" for book in range(1, books + 1))):
        raise RequestError(f"{said}: this tokenizer has layers latent and L01 to L{books:02d}; name one of them")
    metric = "/".join(path)
    known_metrics: dict[str, bool] | None = getattr(hydra.utils.get_object(config.probes[probe]._target_), "metrics", None)
    if known_metrics is None:  # a probe from elsewhere need not say what it measures
        return
    if metric not in known_metrics:
        close = difflib.get_close_matches(metric, known_metrics, n=3) or list(known_metrics)
        raise RequestError(f"{said}: {probe} gives no {metric or 'score without a name'}; it gives {', '.join(close)}")
    if known_metrics[metric] != bool(layer):
        cure = "add a layer, as /L01" if known_metrics[metric] else f"leave out /{layer}"
        raise RequestError(f"{said}: {probe}'s {metric} is {'of' if known_metrics[metric] else 'not of'} a layer; {cure}")
