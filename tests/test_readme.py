"""The README runs: its commands are parsed, its files are there, its python example is executed."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from laminal import cli, config
from laminal.codecs.load import load_checkpoint
from laminal.errors import RequestError
from laminal.report import changes, recipes

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
            resolve(script, rest)
        case ["python", "-m", module, *_]:
            assert (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").is_file()
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), f"{script} is not in the repository"
        case _:
            assert words[0] in ("git", "cd", "pip"), f"a command that nothing checks: {command}"


def resolve(script: str, words: list[str]) -> None:
    """Merge what a command configures: an unknown key, name or type raises."""
    module = runpy.run_path(str(ROOT / script))
    request = cli.parse(words, flags=("--dry-run",))
    given = dict(config.parse(word) for word in request.overrides)
    own = module.get("OWN", ("resume",))
    if (shelf := given.get("list")) is not None:
        assert shelf in ("codecs", "probes", "corpora", "losses", "teachers")
    rest = [word for word in request.overrides if config.parse(word)[0] not in own]
    codec = [word.removeprefix("codec.") for word in rest if word.startswith("codec.")]
    if codec:
        config.override(config.twin("codecs", given["codec"]), codec)
    rest = [word for word in rest if not word.startswith("codec.")]
    if script == "probe.py" or request.configs:
        config.load(request.configs or ("probe",), rest)
    else:
        assert not rest and "resume" in given, f"{words} names no configuration"


@pytest.mark.parametrize(
    "words",
    ["train.py --config plain_rvq trainer.epoch=3", "probe.py codec=encodec codec.pth=x", "probe.py codec=encodec corpus=librispech"],
)
def test_a_command_with_a_wrong_key_would_be_found(words):
    script, *rest = words.split()
    with pytest.raises(RequestError, match="did you mean"):
        resolve(script, rest)


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


def test_changed_constraints_reach_an_environment_that_is_there(tmp_path):
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1000, 1000))
    made = [tmp_path / ".venv" / name for name in ("bin/python", "constraints.txt", ".train", ".test")]
    for number, path in enumerate(made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (2000 + number, 2000 + number))

    def plan() -> str:
        return subprocess.run(["make", "-n", "fast", "PYTHON=true"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "pip install" not in plan()
    os.utime(tmp_path / "constraints.txt", (3000, 3000))
    assert re.search(r"constraints\.txt > \.venv/constraints\.txt\n.*pip install .*-c \.venv/constraints\.txt", plan(), flags=re.DOTALL)


def test_the_tables_of_recipes_are_what_the_command_prints():
    real, spoken = recipes.printed(ROOT / "checkpoints" / "runs").split("\n\nspoken, ")
    for path, name, table in (("README.md", "spoken", f"spoken, {spoken}"), ("docs/recipe.md", "librispeech", real)):
        text, mark = (ROOT / path).read_text(encoding="utf-8"), f"python probe.py recipes=checkpoints/runs: {name}"
        assert text.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- end of {mark} -->")[0] == table


def test_shipped_checkpoints_are_small_and_load():
    """At most 10 MB each and 60 MB in all; codes and audio of the right shape."""
    tracked = subprocess.run(["git", "ls-files", "checkpoints"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sizes: dict[str, int] = {}
    for name in tracked:
        folder = name.split("/")[1]
        sizes[folder] = sizes.get(folder, 0) + (ROOT / name).stat().st_size
    assert sum(sizes.values()) <= 60e6 and max(sizes.values()) <= 10e6, sizes
    named = re.findall(r"^\| `(\w[\w.]*)` \|", (ROOT / "checkpoints" / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(named) == set(sizes) - {"README.md", "runs"} and len(named) == 7
    wav = torch.zeros(1, 16000)
    for name in named:
        codec = load_checkpoint(ROOT / "checkpoints" / name).codec
        codes = codec.encode(wav)
        assert codes.shape[1] == 8 and abs(codes.shape[2] - codec.frame_rate) <= 1 and codec.decode(codes).shape[-1] >= 16000


RESULTS = {  # first cell of README's table of results: probe, metric, layer
    "mel distance, 8 codebooks": ("reconstruction", "mel_distance", "8"),
    "STOI, 8 codebooks": ("reconstruction", "stoi", "8"),
    "PESQ, 8 codebooks": ("reconstruction", "pesq", "8"),
    "phones named by codebook 1, above chance": ("units", "phone_gain", "1"),
    "ABX error across speakers, codebook 1": ("units", "abx_across", "1"),
}


def test_the_results_are_those_of_the_demo():
    """First and last epoch and chance, to the digits given."""
    scores = changes.scores_of(ROOT / "checkpoints" / "demo")
    lines = README.partition("<details>")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    told = {row[0]: row[1:] for row in rows if row[0] in RESULTS}
    assert told.keys() == RESULTS.keys()
    for name, (probe, metric, layer) in RESULTS.items():
        found = scores[(scores.probe == probe) & (scores.metric == metric) & (scores.layer == layer)].sort_values("step")
        first, last = found.iloc[0], found.iloc[-1]
        for said, value in zip(told[name], (first.value, last.value, last.chance)):
            number = re.match(r"-?[\d.]+", said)[0]
            digits = len(number.partition(".")[2])
            assert f"{value:.{digits}f}" == number, (name, said, value)
        if bounds := re.search(r"\((-?[\d.]+) to (-?[\d.]+)\)", told[name][1]):
            digits = len(bounds[1].partition(".")[2])
            assert bounds.groups() == (f"{last.low:.{digits}f}", f"{last.high:.{digits}f}"), (name, last.low, last.high)
        moved = last.change_high < 0 or last.change_low > 0
        assert ("beyond the interval" in told[name][1]) == moved, name
