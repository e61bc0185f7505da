"""The README runs: its commands are parsed, its files are there, its python example is executed."""

import re
import shlex
from pathlib import Path

import pytest

from laminal import cli, config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_exists(command):
    words = shlex.split(command)
    match words:
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        case ["python", "train.py" | "probe.py" as script, *rest]:
            assert (ROOT / script).is_file()
            request = cli.parse(rest, flags=("--dry-run",))
            for name in request.configs:
                config.load([name])
        case ["python", "-m", module, *_]:
            assert (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").is_file()
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), f"{script} is not in the repository"
        case _:
            assert words[0] in ("git", "cd", "pip"), f"a command that nothing checks: {command}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(target):
    if not target.startswith(("http://", "https://")):
        assert (ROOT / target).exists(), f"README links to {target}, which is not there"


def test_every_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_the_readme_is_one_page():
    assert len(README.splitlines()) <= 160
