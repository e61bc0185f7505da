"""The two commands as a user types them: exit codes, one line for a wrong request, and the example of the docs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from laminal import cli, config
from laminal.codecs.base import Codec
from laminal.codecs.load import load_codec
from laminal.errors import RequestError

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(ROOT / script), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


@pytest.mark.parametrize(
    ("script", "words", "says"),
    [
        ("train.py", ["--config", "semantic_rvk.yaml"], "did you mean semantic_rvq"),
        ("train.py", ["trainer.epochs=1"], "no --config"),
        ("train.py", ["--config", "plain_rvq", "trainer.epoch=1"], "did you mean epochs"),
        ("train.py", ["--config", "plain_rvq", "--fast"], "'--fast' is not understood"),
        ("train.py", ["resume=checkpoints/none"], "no config.yaml"),
        ("train.py", ["--config", "plain_rvq", "corpus=librispeech", "corpus.root=/nowhere"], "/nowhere"),
        ("train.py", ["--config", "plain_rvq", "corpus=librispeech"], "root"),
        ("probe.py", ["probe=units"], "nothing to do"),
        ("probe.py", ["ckpt=checkpoints/none"], "does not exist"),
        ("probe.py", ["codec=encodek"], "did you mean encodec"),
        ("probe.py", ["list=things"], "lists are"),
        ("probe.py", ["report=checkpoints/none"], "checkpoints/none"),
        ("probe.py", ["watch=checkpoints/none"], "no such folder"),
        ("probe.py", ["ckpt=checkpoints/none*/*.ckpt"], "no checkpoint has such a name"),
        ("probe.py", ["codec=planted,encodek"], "did you mean encodec"),
        ("probe.py", ["codec=planted,encodec", "codec.path=x"], "codec.planted.path"),
        ("probe.py", ["leaderboard=checkpoints/none"], "no <run>/scores.parquet"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(script, words, says):
    done = run(script, *words)
    assert done.returncode == 2, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and says in lines[0] and "Traceback" not in done.stderr


def test_a_codec_that_breaks_the_contract_fails_its_check_with_a_line_a_rule():
    done = run("probe.py", "check=true", "codec=tests/oracle_contract.py:EachAlone")
    lines = done.stdout.splitlines()
    assert done.returncode == 2 and [line.split()[0] for line in lines].count("FAIL") == 1 and len(lines) > 15
    assert "layers sum" in next(line for line in lines if line.startswith("FAIL")) and done.stderr.count("error:") == 1
    assert run("probe.py", "check=true", "ckpt=checkpoints/demo").returncode == 0


def test_a_refused_run_leaves_no_folder(tmp_path):
    done = run("train.py", "--config", "plain_rvq", "corpus=folder", "corpus.root=/nowhere", f"out={tmp_path}")
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shelf", ["codecs", "corpora", "probes"])
def test_lists_name_every_twin_and_do_not_load_torch(shelf):
    done = run("probe.py", f"list={shelf}")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {path.stem for path in (ROOT / "configs" / shelf).glob("*.yaml")}


def test_words_are_sorted():
    request = cli.parse(["--config", "a", "--config=b.yaml", "x.y=1", "--dry-run", "p=q=r"], flags=("--dry-run",))
    assert request.configs == ("a", "b.yaml") and request.flags == {"--dry-run"} and request.overrides == ("x.y=1", "p=q=r")
    with pytest.raises(RequestError, match="--config needs a name"):
        cli.parse(["--config"])


def test_the_codec_of_the_docs_is_at_most_20_lines_and_works(tmp_path):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extend.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    (tmp_path / "mine.py").write_text(code)
    codec = load_codec(f"{tmp_path}/mine.py:Halves")
    assert isinstance(codec, Codec)
    wav = torch.randn(2, 3200, generator=torch.Generator().manual_seed(0)) / 4
    codes = codec.encode(wav)
    assert codes.shape == (2, 2, 10) and codec.decode(codes).shape == (2, 3200) and codec.decode(codes[:, :1]).shape == (2, 3200)
    assert set(codec.layers(wav)) == {"latent", "1", "2"} and torch.equal(codec.layers(wav)["2"], codec.layers(codes)["2"])


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"])
def test_a_broken_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "step=000001.ckpt"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"step=000001\.ckpt cannot be read"):
        load_codec(str(path))


def test_a_foreign_checkpoint_is_refused_and_never_executed(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(RequestError, match="no checkpoint of laminal"):
        load_codec(str(tmp_path / "other.ckpt"))

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"laminal": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(RequestError, match="cannot be read"):
        load_codec(str(tmp_path / "evil.ckpt"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("target", ["os.system", "laminal.codecs.load.load_codec", "laminal.codecs.load.torch.load"])
def test_a_run_that_names_code_of_no_configuration_is_refused(target):
    from omegaconf import OmegaConf

    from laminal.experiment import trusted

    with pytest.raises(RequestError, match=target):
        trusted(OmegaConf.create({"corpus": {"parts": [{"_target_": target, "what": "x/e.py:C"}]}}), "config.yaml")
    trusted(config.load(["semantic_rvq.yaml"]), "config.yaml")
