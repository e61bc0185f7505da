"""The commands of `probe.py`: probe, check, compare."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laminal import config as settings
from laminal import probing
from laminal.cache import usual_cache
from laminal.errors import RequestError
from laminal.nn import ranks
from laminal.results import Results


def probe(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Probe one checkpoint or codec, write its report, say the findings; returns 1 where a score could not be computed by a failure."""
    from laminal.report import folder, sentences

    target, on = prepared(own, configs, rest)
    results = probing.probe(target, on)
    if ranks.world()[0]:  # under torchrun rank 0 writes
        return 0
    for line in sentences.summary(results.score_table()):
        print(line)
    print(folder.write(target.folder))
    return 0


def prepared(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> tuple[probing.Target, probing.Ground]:
    """Load what `ckpt=` or `codec=` names and what it is probed on."""
    out = Path(str(own["out"])) if own.get("out") else None
    names = listed(own.get("probe"))
    cache = usual_cache(own.get("cache"), own.get("cache.limit"))
    if own.get("ckpt"):
        path = Path(str(own["ckpt"]))
        if not path.exists():
            raise RequestError(f"ckpt={path} does not exist; give checkpoints/<run> or one of its step=*.ckpt")
        config, split = probing.checkpoint_config(path, configs, rest)
        if out is None and (sizes := other_sizes(configs, rest)):  # than the run's own: beside its curve, not over it
            out = (path if path.is_dir() else path.parent) / "probed" / sizes
        return probing.checkpoint_target(path, out), probing.ground(config, names, split, cache)
    arguments, rest = probing.arguments_of(rest, "codec")
    config = settings.load(configs or ("probe",), rest)
    return probing.codec_target(str(own["codec"]), arguments, out), probing.ground(config, names, None, cache)


def other_sizes(configs: tuple[str, ...], rest: list[str]) -> str:
    """Name what makes a probing other than the run's own: a configuration file, or the overridden keys of probes; "" for none."""
    if configs:
        return Path(configs[-1]).stem
    changed = sorted(word.removeprefix("probes.") for word in rest if word.startswith("probes."))
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", ",".join(changed))[:100].strip("-")


def against(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Probe A and B on the same items and say how they differ; each may be several runs (seeds), separated by commas."""
    from laminal import compare
    from laminal.results import write_table

    sides: list[list[Results]] = []
    for what in (own.get("ckpt"), own["against"]):
        if what is None:
            raise RequestError("against=B compares checkpoints: give ckpt=A against=B (several seeds: ckpt=A1,A2 against=B1,B2)")
        found = []
        for path in listed(what) or []:
            target, on = prepared(dict(own) | {"ckpt": path}, configs, rest)
            found.append(probing.probe(target, on))
        sides.append(found)
    if ranks.world()[0]:
        return 0
    names = tuple(str(what) for what in (own["ckpt"], own["against"]))
    compared = compare.paired(sides[0], sides[1])
    print(f"A = {names[0]}\nB = {names[1]}")
    for line in compare.sentences(compared):
        print(line)
    out = Path(str(own.get("out") or "results")) / f"{sides[0][0].context.run}-against-{sides[1][0].context.run}" / "comparison.parquet"
    write_table(out, compare.table(compared))
    print(out)
    return 0


def check(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Describe a corpus: hours, speakers, alignment, pairs per setting, expected intervals."""
    from laminal import check_corpus

    if own.get("codec"):
        raise RequestError("check=true checks a corpus here; give corpus=NAME corpus.root=DIR")
    print(check_corpus.describe(settings.load(configs or ("probe",), rest)))
    return 0


def listed(value: Any) -> list[str] | None:
    """Read `a,b`, `[a, b]` or nothing as names."""
    if value is None:
        return None
    return [str(each).strip() for each in (value.split(",") if isinstance(value, str) else value)]
