"""The commands of `probe.py`: probe, check, compare."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from laminal import config as settings
from laminal import probing
from laminal.cache import usual_cache
from laminal.codec_choice import Choice, choices, loaded
from laminal.errors import RequestError
from laminal.nn import ranks
from laminal.probing import other_sizes
from laminal.results import Results, store, write_table

WILD = "*?["


def probe(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Probe one checkpoint or codec, several codecs, or the checkpoints that a pattern names; write the report and say the findings."""
    from laminal.report import folder, sentences

    if own.get("ckpt") and any(letter in str(own["ckpt"]) for letter in WILD):
        from laminal import backfill

        return backfill.run(own, configs, rest)
    if not own.get("ckpt") and (len(names := listed(own.get("codec")) or []) != 1 or _optional(configs)):
        return several(names, own, configs, rest)
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
    (choice,) = choices([str(own["codec"])], arguments)
    config = settings.load(configs or ("probe",), rest)
    return probing.codec_target(choice, out), probing.ground(config, names, None, cache)


def several(names: list[str], own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Probe several codecs on the same items into one folder: one table, one report, differences from the first one named.

    What is stored there with the same settings is not repeated. Codecs that the configuration names (`codecs:`) and that cannot be had
    here are said and left out; those of the command line must be there.
    """
    from laminal import compare
    from laminal.report import comparison, folder
    from laminal.report.selection import checkpoints

    arguments, rest = probing.arguments_of(rest, "codec")
    config = settings.load(configs or ("probe",), rest)
    wanted = [str(name) for name in config.get("codecs", [])]
    chosen = choices([*names, *(name for name in wanted if name not in names)], arguments, optional=wanted)
    out = Path(str(own["out"])) if own.get("out") else Path("results") / _called([each.label for each in chosen], configs)
    on = _ground(own, config)
    found: list[Results] = []
    missing: dict[str, str] = {}
    for choice in chosen:
        try:
            target = probing.codec_target(choice, out)
        except RequestError as error:
            if choice.what in names:
                raise
            missing[choice.label] = " ".join(str(error).split())
            _say(f"{choice.label} is left out: {missing[choice.label]}")
            continue
        _say(f"{choice.label}: {target.codec.codebooks} codebooks, {target.codec.frame_rate:g} frames/s")
        found.append(probing.probe(target, on, again=bool(own.get("again"))))
    if not found:
        raise RequestError(
            f"none of {', '.join(missing)} can be loaded here; download one or name another, as codec=lyra codec.lyra.path=DIR"
        )
    if ranks.world()[0]:
        return 0
    facts = {"published": config.get("published"), "missing_codecs": missing, "order": [each.context.run for each in found]}
    probing.runfolder.update_manifest(out, **facts)
    compared = compare.with_first(found)
    write_table(out / "comparison.parquet", compare.table(compared))
    of_each = {each.context.run: checkpoints(each.score_table())[-1] for each in found if each.scores}
    for line in [*comparison.sentences(of_each), *compare.sentences(compared)]:
        print(line)
    print(folder.write(out))
    return 0


def against(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Probe A and B on the same items and say how they differ; each may be a codec, or several runs (seeds) separated by commas.

    Runs whose splits differ (split.fold=0 and 1) are pooled, fold with fold; a codec is then probed on what each fold tests.
    """
    from laminal import compare, crossfit
    from laminal.report import folder

    asked = (own.get("ckpt") or own.get("codec"), own["against"])
    if asked[0] is None:
        raise RequestError("against=B compares: give ckpt=A against=B or codec=A against=B (several seeds: ckpt=A1,A2 against=B1,B2)")
    sides = [listed(what) or [] for what in asked]
    arguments, rest = probing.arguments_of(rest, "codec")
    codecs = [name for side in sides for name in side if not probing.is_run(name)]
    chosen = {choice.what: choice for choice in choices(list(dict.fromkeys(codecs)), arguments)}
    runs = [name for side in sides for name in side if probing.is_run(name)]
    of_runs = {name: prepared(dict(own) | {"ckpt": name, "codec": None, "out": None}, configs, rest) for name in runs}
    # a codec is probed on what the checkpoints are probed on
    grounds = {_split(on): on for _, on in of_runs.values()} or {"": _ground(own, settings.load(configs or ("probe",), rest))}
    found: list[list[Results]] = []
    splits: list[list[str]] = []
    facts: dict[str, Any] = {}  # of each codec, by the name of its rows
    for side in sides:
        found.append([])
        splits.append([])
        for name in side:
            for target, on in [of_runs[name]] if name in of_runs else _on_each(chosen[name], grounds):
                facts[target.context.run] = probing.described(target.codec)
                found[-1].append(probing.probe(target, on, again=bool(own.get("again"))))
                splits[-1].append(_split(on))
    if ranks.world()[0]:
        return 0
    labels = _apart(found)
    crossfit.refuse_other_splits(*splits)
    a, b = (crossfit.pooled(runs, of) for runs, of in zip(found, splits))
    compared = compare.paired(a, b, names=labels)
    print(f"A = {asked[0]}\nB = {asked[1]}")
    if len(grounds) > 1:
        print(f"Cross-fitted: the items of {len(grounds)} splits are pooled, speakers (and new words) tested by runs that held them out.")
        for each in dict.fromkeys((lost.probe, lost.what, lost.reason) for run in (*a, *b) for lost in run.undefined):
            print("left out: {1} ({0}): {2}".format(*each))
    for line in compare.sentences(compared):
        print(line)
    out = Path(str(own.get("out") or "results")) / f"{labels[0]}-against-{labels[1]}"
    names = []
    for label, seeds in zip(labels, found):
        for number, results in enumerate(seeds):
            run = label if len(seeds) == 1 else f"{label}-{number + 1}"
            names.append(run)
            context = replace(
                results.context, run=run, ckpt_sha256="", epoch=-1, step=-1
            )  # kept apart by name: A may be B; `revision` stays
            store(out, replace(results, context=context))
            probing.runfolder.update_manifest(out, **{f"probing/{results.context.corpus}/{run}": {"codec": facts[results.context.run]}})
    probing.runfolder.update_manifest(out, order=[*dict.fromkeys(names)])
    write_table(out / "comparison.parquet", compare.table(compared))
    print(out / "comparison.parquet")
    print(folder.write(out))
    return 0


def _apart(found: list[list[Results]]) -> tuple[str, str]:
    """Name both sides by their runs; two checkpoints of one run by their steps too."""
    first, second = (side[0].context for side in found)
    if first.run != second.run:
        return first.run, second.run
    if first.step != second.step:
        return f"{first.run}-step{first.step}", f"{second.run}-step{second.step}"
    return f"{first.run}-A", f"{second.run}-B"


def _on_each(choice: Choice, grounds: Mapping[str, probing.Ground]) -> list[tuple[probing.Target, probing.Ground]]:
    """Lay a codec on what the runs test; with several splits the scores of each have a folder of their own."""
    target = probing.codec_target(choice, None)
    if len(grounds) == 1:
        return [(target, on) for on in grounds.values()]
    return [(replace(target, folder=target.folder / f"split-{split[:8]}"), on) for split, on in grounds.items()]


def _split(on: probing.Ground) -> str:
    return "" if on.split is None else on.split.sha256()


def _say(line: str) -> None:
    """Print, once however many processes there are."""
    if not ranks.world()[0]:
        print(line)


def _ground(own: Mapping[str, Any], config: DictConfig) -> probing.Ground:
    return probing.ground(config, listed(own.get("probe")), None, usual_cache(own.get("cache"), own.get("cache.limit")))


def _optional(configs: tuple[str, ...]) -> bool:
    """Whether a configuration names codecs of its own."""
    config: DictConfig | None = settings.load(configs) if configs else None
    return config is not None and "codecs" in config


def _called(labels: list[str], configs: tuple[str, ...]) -> str:
    """Name the folder of several codecs' results."""
    return Path(configs[-1]).stem if configs else "-".join(labels)


def check(own: Mapping[str, Any], configs: tuple[str, ...], rest: list[str]) -> int:
    """Describe a corpus, or hold a codec or checkpoint against the codec contract; raises RequestError where a rule is broken."""
    if not own.get("codec") and not own.get("ckpt"):
        from laminal import check_corpus

        print(check_corpus.describe(settings.load(configs or ("probe",), rest)))
        return 0
    from laminal import check_codec, experiment

    arguments, rest = probing.arguments_of(rest, "codec")
    what = str(own.get("codec") or own["ckpt"])
    if own.get("codec"):
        (choice,) = choices([what], arguments)
        codec = loaded(choice.what, choice.arguments)
    else:
        codec = probing.checkpoint_target(Path(what), None).codec
    sounds = []
    if rest:  # corpus=NAME corpus.root=DIR: real speech in place of synthetic voices
        corpus = experiment.corpus(settings.load(configs or ("probe",), rest))
        long = [utterance for utterance in corpus if utterance.seconds >= check_codec.SECONDS]
        sounds = [corpus.wav(utterance, codec.sample_rate) for utterance in long[:: max(1, len(long) // 3)][:3]]
    findings = []
    for finding in check_codec.check(codec, sounds):
        findings.append(finding)
        print(finding.line, flush=True)
    broken = check_codec.summary(findings, what)
    if broken:
        raise RequestError(broken)
    return 0


def listed(value: Any) -> list[str] | None:
    """Read `a,b`, `[a, b]` or nothing as names."""
    if value is None:
        return None
    return [str(each).strip() for each in (value.split(",") if isinstance(value, str) else value)]
