"""Wrong requests, whole commands in this process: exit code 2, one line that says what was wrong, no traceback, no folder left."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from laminal import cli, config, experiment, runfolder, validation
from laminal.errors import RequestError
from laminal.results import KEY, Score, key, read_table
from oracle_commands import refusal
from oracle_training import settings, small, train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv(runfolder.FOLDER, raising=False)
    monkeypatch.chdir(ROOT)
    yield
    os.environ.pop(runfolder.FOLDER, None)


WRONG = [
    (["tokenizer.filters=0"], "tokenizer.filters=0: a whole number from 1 on"),
    (["tokenizer.ratios=[]"], "tokenizer.ratios=[]: a list of one or more"),
    (["tokenizer.norm=layer"], "weight_norm or time_group_norm"),
    (["tokenizer.codebook_size=17"], "tokenizer.codebook_size=17: a power of 2"),
    (["seed=-1"], "seed=-1: a whole number from 0"),
    (["optimizer.betas=[0.5]"], "optimizer.betas=[0.5]: a list of 2"),
    (["optimizer.betas=[0.5, 1.0]"], "optimizer.betas=[0.5, 1.0]"),
    (["optimizer.lr=0"], "optimizer.lr=0"),
    (["optimizer.lr=.inf"], "optimizer.lr=inf"),
    (["trainer.precision=17"], "precision=17"),
    (["trainer.precision=16-mixed"], "trainer.precision=16-mixed: 32-true or 32 or bf16-mixed or bf16 is expected"),
    (["trainer.precision=bf16-true"], "trainer.precision=bf16-true: 32-true or"),
    (["trainer.compile=magic"], "trainer.compile=magic: torch has"),
    (["trainer.accelerator=abacus"], "accelerator=abacus"),
    (["trainer.strategy=hope"], "strategy=hope"),
    (["trainer.devices=0"], "devices=0"),
    (["trainer.accumulate=0"], "trainer.accumulate=0"),
    (["trainer.epochs=-1"], "trainer.epochs=-1: a whole number from 1 on"),
    (["trainer.epochs=0"], "trainer.epochs=0"),
    (["trainer.steps_per_epoch=0"], "trainer.steps_per_epoch=0"),
    (["data.batch=0"], "data.batch=0"),
    (["data.pairs=2"], "data.pairs=2"),
    (["probing.every_steps=0"], "probing.every_steps=0: a whole number from 1 on, or null"),
    (["checkpoint.every_epochs=0"], "checkpoint.every_epochs=0"),
    (["checkpoint.keep=0"], "checkpoint.keep=0: -1 (all)"),
    (["checkpoint.mode=best"], "min or max"),
    (["log.logger=foo"], "log.logger=foo: give wandb, tensorboard or csv"),
    (["log.logger=3"], "log.logger=3"),
    (["checkpoint.monitor=probe/nope"], "probe of word_pairs, units"),
    (["checkpoint.monitor=mel"], "give probe/<probe>/"),
    (["checkpoint.monitor=val/mell"], "validation gives val/waveform and val/mel"),
    (["checkpoint.monitor=probe/units/perplexitty/L01"], "it gives perplexity"),
    (["checkpoint.monitor=probe/units/perplexity/L03"], "layers latent and L01 to L02"),
    (["checkpoint.monitor=probe/units/perplexity"], "add a layer"),
    (["checkpoint.monitor=probe/units/bits_entropy/L01"], "leave out /L01"),
    (["checkpoint.monitor=probe/word_pairs/synonim/mean/L01"], "it gives synonym/mean"),
    (["checkpoint.monitor=probe/word_pairs/synonym/mean/L01@cosine"], "leave out what follows @"),
    (["checkpoint.monitor=probe/units/usage/L01", "probing.every_epochs=null"], "nothing is probed"),
    (["optimizer.ema=1"], "optimizer.ema=1: a number from 0 to 1, or null"),
    (["stopping.patience=0"], "stopping.patience=0: a whole number from 1 on"),
    (["stopping.mode=up"], "stopping.mode=up: min or max, or null"),
    (["stopping.monitor=probe/units/perplexitty/L01"], "stopping.monitor=probe/units/perplexitty/L01: units gives no"),
    (["stopping.monitor=val/mell"], "stopping.monitor=val/mell: validation gives val/waveform and val/mel"),
    (["probes.word_pairs.maximum=10"], "word_pairs.maximum=10: at least 300"),
    (["probes.units.draws=0"], "probes.units.draws=0: at least 1000"),
    (["probes.reconstruction=reconstruction", "probes.reconstruction.utterances=0"], "probes.reconstruction.utterances=0: at least 2"),
    (["probes.units.seed=-1"], "probes.units.seed=-1"),
    (["split.speakers=1.5"], "split.speakers=1.5"),
    (["losses.mel.weight=-1"], "the weight of mel is -1"),
    (["corpus=librispeech"], "corpus.root has no value: give corpus.root="),
    (["corpus.root=/nowhere"], "root=/nowhere is no folder"),
    (["corpus.manifest=none.csv"], "manifest=none.csv is no file"),
    (["run=a", "corpus._target_=laminal.corpora.nowhere"], "laminal.corpora.nowhere cannot be built"),
]


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("train", ["trainer.epochs=1"], "no --config"),
        ("train", ["--config", "plain_rvq", "trainer.epoch=1"], "did you mean epochs"),
        ("train", ["--config", "plain_rvq", "--fast"], "'--fast' is not understood"),
        ("train", ["resume=checkpoints/none"], "no config.yaml"),
        ("train", ["resume=checkpoints/none", "trainer.epochs=3"], "leave --config and other keys out"),
        ("probe", ["probe=units"], "nothing to do"),
        ("probe", ["ckpt=checkpoints/none"], "does not exist"),
        ("probe", ["codec=encodek"], "did you mean encodec"),
        ("probe", ["list=things"], "lists are"),
        ("probe", ["report=checkpoints/none"], "checkpoints/none"),
        ("probe", ["check=true", "corpus=librispeech"], "corpus.root has no value"),
        ("probe", ["watch=checkpoints/none"], "no such folder"),
        ("probe", ["ckpt=checkpoints/none*/*.ckpt"], "no checkpoint has such a name"),
        ("probe", ["codec=planted,encodek"], "did you mean encodec"),
        ("probe", ["codec=planted,encodec", "codec.path=x"], "codec.planted.path"),
        ("probe", ["leaderboard=checkpoints/none"], "no <run>/scores.parquet"),
    ],
)
def test_a_wrong_request_is_one_line(capsys, name, words, says):
    assert says in refusal(capsys, name, *words)


CASES = [(words, says, False) for words, says in WRONG] + [(words, says, True) for words, says in WRONG[::4]]  # a dry run looks as the real


@pytest.mark.parametrize(("words", "says", "dry"), CASES, ids=[" ".join(words) + dry * " dry" for words, _, dry in CASES])
def test_a_wrong_training_is_refused_in_one_line(tiny_corpus, tmp_path, capsys, words, says, dry):
    given = small(tiny_corpus)
    if words == ["corpus=librispeech"]:
        given = [word for word in given if not word.startswith("corpus")]
    said = refusal(capsys, "train", "--config", "plain_rvq", *given, f"out={tmp_path}", *words, *(["--dry-run"] if dry else []))
    assert says in said and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("corpus: {root: x}\n", "without _target_"),
        ("corpus: null\n", "no section 'corpus'"),
        ("trainer: null\n", "no section 'trainer'"),
        ("probes: {mine: {utterances: 6}}\n", "probes.mine is"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tiny_corpus, tmp_path, capsys, text, says):
    whole = OmegaConf.to_container(settings(tiny_corpus), resolve=True)
    (tmp_path / "mine.yaml").write_text(OmegaConf.to_yaml(whole | OmegaConf.to_container(OmegaConf.create(text))))
    said = refusal(capsys, "train", "--config", str(tmp_path / "mine.yaml"), f"out={tmp_path / 'out'}")
    assert says in said and not list((tmp_path / "out").glob("*"))


@pytest.fixture(scope="module")
def run(tiny_corpus, tmp_path_factory) -> Path:
    """A finished run of one step."""
    folder = tmp_path_factory.mktemp("requests") / "run"
    train(settings(tiny_corpus, "trainer.steps_per_epoch=1", "trainer.epochs=1", "probes.word_pairs=null"), folder)
    return folder


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.yaml", "a: [1\n", "config.yaml is not readable YAML"),
        ("config.yaml", "- a\n- b\n", "config.yaml holds ListConfig, not keys"),
        ("config.yaml", "just words\n", "corpus"),
        ("config.yaml", b"a: \xff\xfe\n", "config.yaml is not readable YAML"),
        ("config.yaml", "{}\n", "corpus"),
        ("config.yaml", "corpus: ${nowhere}\n", "nowhere"),
        ("manifest.json", "{broken", "manifest.json is not readable JSON"),
        ("manifest.json", "[1]", "manifest.json holds list"),
    ],
)
@pytest.mark.parametrize("how", ["ckpt", "resume"])
def test_a_broken_run_is_named_before_any_work(run, tmp_path, capsys, monkeypatch, file, content, says, how):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    for work in ("laminal.probing.run_probes", "laminal.callback.run_probes", "laminal.training.tokenizer_of"):
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail("worked before it looked"))
    said = refusal(capsys, "train" if how == "resume" else "probe", f"{how}={folder}")
    assert says in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"} == before


def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    held = torch.load(run / "last.ckpt", weights_only=True)
    torch.save({name: held[name] for name in ("state_dict", "epoch", "laminal")}, tmp_path / "run" / "last.ckpt")
    assert "holds no state to go on from" in refusal(capsys, "train", f"resume={tmp_path / 'run'}")
    (tmp_path / "run" / "last.ckpt").unlink()
    assert "no last.ckpt there" in refusal(capsys, "train", f"resume={tmp_path / 'run'}")


def test_a_second_start_on_a_busy_folder_is_refused_and_leaves_it_alone(run, tiny_corpus, tmp_path, capsys):
    folder = tmp_path / "busy"
    shutil.copytree(run, folder)
    lock = runfolder.Lock(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "in use by another process" in refusal(capsys, "train", f"resume={folder}")
    words = ["--config", "plain_rvq", *small(tiny_corpus), f"out={tmp_path}"]
    assert "exists; choose another name" in refusal(capsys, "train", *words, "run=busy")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    lock.release()
    (tmp_path / "begun").mkdir()
    lock = runfolder.Lock(tmp_path / "begun")  # a start that has not yet written anything but its lock
    assert "in use by another process" in refusal(capsys, "train", *words, "run=begun")
    assert (tmp_path / "begun" / ".lock").exists()
    lock.release()


def test_what_libraries_refuse_is_one_line_too(capsys):
    from hydra.errors import InstantiationException
    from lightning.pytorch.utilities.exceptions import MisconfigurationException
    from omegaconf.errors import MissingMandatoryValue

    for error in (InstantiationException, MisconfigurationException, MissingMandatoryValue):

        def fails(_, error=error):
            raise error("two\nlines")

        assert cli.outcome(fails, []) == 2 and capsys.readouterr().err == "error: two lines\n"

    def bug(_):
        raise KeyError("a bug keeps its traceback")

    with pytest.raises(KeyError):
        cli.outcome(bug, [])


def test_every_stored_score_of_the_defaults_can_be_monitored(tiny_corpus, tmp_path):
    """The names that probes declare are those that they give: each passes, and nothing else would be refused for nothing."""
    words = ("trainer.steps_per_epoch=1", "trainer.epochs=1", "probes.reconstruction=reconstruction", "probes.reconstruction.seconds=1.0")
    made = settings(tiny_corpus, *words)
    train(made, tmp_path)
    table = read_table(tmp_path / "scores.parquet")
    names = set()
    for row in table[[name for name in KEY if name != "corpus"]].itertuples(index=False):
        blank = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 1, "clusters": 1, "chance": 0.0, "higher_is_better": None, "unit": ""}
        names.add(key(Score(**blank, **row._asdict())))
    usual = sorted(name for name in names if "@" not in name)
    assert {name.split("/")[1] for name in usual} == {"word_pairs", "units", "reconstruction"}
    for name in usual:
        made.checkpoint.monitor = name
        validation.monitor(made)


@pytest.mark.parametrize("name", config.names(""))
def test_every_experiment_is_valid(name):
    """The rules refuse nothing that is shipped."""
    loaded = config.load([name])
    if "probing" in loaded:
        for key_ in OmegaConf.missing_keys(loaded):
            OmegaConf.update(loaded, key_, "given")
        loaded.trainer.devices = 1
        validation.validate(experiment.resolved(loaded))


def test_a_configuration_without_a_key_is_refused(tiny_corpus):
    made = settings(tiny_corpus)
    del made.trainer.accumulate
    with pytest.raises(RequestError, match=r"trainer\.accumulate is not in the configuration"):
        validation.validate(made)


def test_facts_of_a_manifest_that_grows(tmp_path):
    runfolder.add_start(tmp_path, started="1", argv=["a"])
    runfolder.add_start(tmp_path, started="2", argv=["b"])
    runfolder.add_start(tmp_path, started="3", argv=["c"])
    known = json.loads((tmp_path / "manifest.json").read_text())
    assert known == {"started": "1", "argv": ["a"], "resumes": [{"started": "2", "argv": ["b"]}, {"started": "3", "argv": ["c"]}]}
