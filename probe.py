"""Probe a checkpoint or a codec: `python probe.py ckpt=PATH | codec=NAME [key=value ...]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from laminal import cli, config
from laminal.errors import RequestError

USAGE = """
python probe.py ckpt=checkpoints/RUN [key=value ...]      probe a run's last checkpoint (or a .ckpt) as the run was probed
python probe.py ckpt='checkpoints/RUN/*.ckpt'             back-fill: probe what is missing, skip what is there
python probe.py watch=checkpoints/RUN                     probe the checkpoints of a training that runs elsewhere as they appear
python probe.py codec=NAME [corpus=NAME corpus.root=DIR]  probe a codec: a name, a folder, file.py:Class; its arguments: codec.path=DIR
python probe.py codec=A,B,./c.py:C [codec.A.path=DIR]     several codecs on the same items: one table, one report
python probe.py ckpt=A against=B                          paired comparison; A and B are checkpoints (seeds: A1,A2) or codecs
python probe.py --config reproduce_seed001.yaml           the seed study's word pairs, laid over its published curves
python probe.py list=codecs|probes|corpora                what there is
python probe.py check=true codec=NAME | ckpt=PATH         the codec contract, a line a rule; exit code 2 where one is broken
python probe.py check=true corpus=NAME corpus.root=DIR    hours, speakers, alignment, pairs per setting, expected intervals
python probe.py report=checkpoints/RUN                    rebuild the report from stored scores
python probe.py leaderboard=checkpoints                   all runs on one sortable page
python probe.py recipes=checkpoints                       recipes side by side, means over seeds: a Markdown table
python probe.py push=checkpoints/RUN [repo=OWNER/NAME]    a model card of the run's scores; with repo= it goes to the Hugging Face hub
further keys: probe=word_pairs,units  out=DIR  cache=DIR|off  cache.limit=20GB  again=true (repeat what is stored)  poll=SECONDS
              patience=SECONDS  --config NAME.yaml
torchrun --nproc-per-node 2 probe.py ...                  the same scores, encoded by several processes
"""
OWN = (
    "ckpt", "codec", "against", "probe", "out", "cache", "cache.limit", "list", "check", "report", "watch", "leaderboard", "recipes",
    "again", "poll", "patience", "push", "repo", "private",
)  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Do what `words` say; returns the exit code."""
    try:
        return work(words)
    except KeyboardInterrupt:
        print("stopped; every probe that was done is stored, and the same words go on", file=sys.stderr)
        return 130


def work(words: Sequence[str]) -> int:
    """Choose the command and run it."""
    request = cli.parse(words)
    own, rest = {}, []
    for word in request.overrides:
        key, value = config.parse(word)
        if key in OWN:
            own[key] = value
        else:
            rest.append(word)
    asked = [key for key in ("ckpt", "codec", "list", "report", "check", "watch", "leaderboard", "recipes", "push") if own.get(key)]
    if not asked and not any("codecs" in config.read(config.find(name)) for name in request.configs):
        raise RequestError("nothing to do: give ckpt=PATH, codec=NAME, list=codecs, report=DIR, or check=true with corpus=NAME")
    if "list" in own:
        from laminal import probing

        print(probing.listing(str(own["list"])))
        return 0
    if "report" in own:
        from laminal.report import folder

        print(folder.write(Path(str(own["report"]))))
        return 0
    if "leaderboard" in own:
        from laminal.report import leaderboard

        print(leaderboard.write(Path(str(own["leaderboard"]))))
        return 0
    if "recipes" in own:
        from laminal.report import recipes

        print(recipes.printed(Path(str(own["recipes"]))))
        return 0
    if "push" in own:
        from laminal import push

        return push.run(own)
    from laminal import commands

    if own.get("check"):
        return commands.check(own, request.configs, rest)
    from laminal.nn import ranks

    with ranks.started():
        if own.get("watch"):
            from laminal import watch

            return watch.run(own, request.configs, rest)
        if "against" in own:
            return commands.against(own, request.configs, rest)
        return commands.probe(own, request.configs, rest)


if __name__ == "__main__":
    cli.run(main, USAGE)
