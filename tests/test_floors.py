"""The house: imports go down only, shelves hold no side doors, every twin has its file and its target."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "laminal"
FLOORS = [
    {"errors", "atomic", "audio", "compat", "config", "results", "nn", "measures", "lexicon", "progress", "jobs", "codesfile", "parallel"}
    | {"usual_folder"},
    {"corpora", "codecs", "teachers", "cache"},
    {"losses", "words", "word_shards", "features", "longaudio", "encoded"},
    {"probes", "lm"},
    {
        "task",
        "callback",
        "metrics",
        "dashboard",
        "tensorboard",
        "workspace",
        "sinks",
        "report",
        "experiment",
        "runfolder",
        "cli",
        "training",
        "precomputed",
        "checkpoints",
        "stopping",
        "push",
        "validation",
        "probing",
        "commands",
        "compare",
        "crossfit",
        "check_corpus",
        "check_codec",
        "codec_rules",
        "codec_choice",
        "stored",
        "backfill",
        "watch",
        "dryrun",
        "tokenise",
    },
]
APART = {"losses": "probes", "probes": "losses"}  # losses and probes never meet


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    found = [number for number, names in enumerate(FLOORS) if name in names]
    assert found, f"src/laminal/{name} stands on no floor: add it to FLOORS in {Path(__file__).name}"
    return found[0]


def imported(path: Path) -> set[str]:
    """Parts of laminal that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import; write laminal.x"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("laminal.")}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path):
    own = part(path)
    for name in imported(path):
        assert floor(name) <= floor(own), f"{path} (floor {floor(own)}) imports laminal.{name} (floor {floor(name)})"
        assert APART.get(own) != name, f"{path}: {own} and {name} never meet"


def test_the_rule_sees_an_upward_import(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from laminal.probes.run import run_probes\n")
    assert imported(bad) == {"probes"} and floor("probes") > floor("nn")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_inits_say_one_line_and_nothing_else(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_first_line_says_the_idea(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def twins() -> list[Path]:
    shelves = ("codecs", "corpora", "losses", "probes", "teachers")
    return sorted(path for shelf in shelves for path in (ROOT / "configs" / shelf).glob("*.yaml"))


@pytest.mark.parametrize("path", twins(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_twin_names_a_target_of_its_own_shelf(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = content.get("_target_") or yaml.safe_load((path.parent / f"{Path(content['base']).stem}.yaml").read_text())["_target_"]
    module, _, name = target.rpartition(".")
    assert module.startswith(f"laminal.{path.parent.name}."), f"{path}: {target} stands on another shelf"
    assert hasattr(importlib.import_module(module), name)


def test_no_path_of_one_machine_is_committed():
    pattern = re.compile(r"(?<![\w.])/(work|tmp|root|home)/[A-Za-z]")
    for path in [*modules(), *(ROOT / "configs").rglob("*.yaml"), *ROOT.glob("*.py"), *ROOT.glob("*.md"), ROOT / "Makefile"]:
        assert not pattern.search(path.read_text(encoding="utf-8")), f"{path} names a path of one machine"
