"""The commands of the repository in this process, with their exit codes: a process of its own costs seconds of imports."""

import importlib.util
from pathlib import Path

from laminal import cli

ROOT = Path(__file__).resolve().parents[1]


def command(name: str):
    """`main` of train.py or probe.py."""
    spec = importlib.util.spec_from_file_location(f"command_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def refusal(capsys, name: str, *words: str) -> str:
    """The one line that a command says when it refuses `words`."""
    code = cli.outcome(command(name), list(words))
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in said, said
    return lines[0]
