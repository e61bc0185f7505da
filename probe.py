"""Probe a checkpoint or a codec: `python probe.py ckpt=PATH | codec=NAME [key=value ...]`."""

from collections.abc import Sequence
from pathlib import Path

from laminal import cli, config
from laminal.errors import RequestError

USAGE = """
python probe.py ckpt=checkpoints/RUN [key=value ...]      probe a run's last checkpoint (or a .ckpt) as the run was probed
python probe.py codec=NAME [corpus=NAME corpus.root=DIR]  probe a codec: a name, a folder, file.py:Class
python probe.py ckpt=A against=B                          paired comparison of two checkpoints
python probe.py list=codecs|probes|corpora                what there is
python probe.py check=true corpus=NAME corpus.root=DIR    hours, speakers, alignment, pairs per setting, expected intervals
python probe.py report=checkpoints/RUN                    rebuild the report from stored scores
further keys: probe=word_pairs,units  out=DIR  cache=DIR|off  cache.limit=20GB  --config NAME.yaml
torchrun --nproc-per-node 2 probe.py ...                  the same scores, encoded by several processes
"""
OWN = ("ckpt", "codec", "against", "probe", "out", "cache", "cache.limit", "list", "check", "report")


def main(words: Sequence[str]) -> int:
    """Do what `words` say; returns the exit code."""
    request = cli.parse(words)
    own, rest = {}, []
    for word in request.overrides:
        key, value = config.parse(word)
        if key in OWN:
            own[key] = value
        else:
            rest.append(word)
    asked = [key for key in ("ckpt", "codec", "list", "report", "check") if own.get(key)]
    if not asked:
        raise RequestError("nothing to do: give ckpt=PATH, codec=NAME, list=codecs, report=DIR, or check=true with corpus=NAME")
    if "list" in own:
        from laminal import probing

        print(probing.listing(str(own["list"])))
        return 0
    if "report" in own:
        from laminal.report import folder

        print(folder.write(Path(str(own["report"]))))
        return 0
    from laminal import commands

    if own.get("check"):
        return commands.check(own, request.configs, rest)
    from laminal.nn import ranks

    with ranks.started():
        if "against" in own:
            return commands.against(own, request.configs, rest)
        return commands.probe(own, request.configs, rest)


if __name__ == "__main__":
    cli.run(main, USAGE)
