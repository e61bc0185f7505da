"""Whole trainings of the LM-SPT recipe on a tiny corpus: what a run leaves, exactness, the serial order, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
import train as train_command
from safetensors import safe_open

from laminal import cli, config, experiment, validation
from laminal.codecs.load import load_checkpoint, load_codec
from laminal.results import KEY, read_table
from oracle_training import differences, metrics, settings, small, train, weights

TINY = ("tokenizer.codebook_dim=8", "tokenizer.transformer_layers=1", "tokenizer.heads=2", "log.gradient_norms_every=1")
ABLATIONS = sorted(path.stem for path in (Path(__file__).parents[1] / "configs" / "ablations").glob("lm_spt_*.yaml"))


def recipe(corpus: Path, *overrides: str, name: str = "lm_spt"):
    return settings(corpus, *TINY, *overrides, name=name)


@pytest.fixture(scope="module")
def whole(tiny_corpus, tmp_path_factory) -> Path:
    """A finished run at 12.5 Hz, probed at both epochs."""
    folder = tmp_path_factory.mktemp("lm_spt") / "whole"
    train(recipe(tiny_corpus, "tokenizer.frame_rate=12.5"), folder)
    return folder


def test_its_terms_are_logged_and_its_decoder_is_in_the_checkpoint_alone(whole):
    losses = metrics(whole).set_index("name").value
    assert {"train/reconstruct_match", "train/reconstruct_match/explained", "norm/reconstruct_match"} <= set(losses.index)
    assert (losses.loc["norm/reconstruct_match"] > 0).all() and not losses.isna().any()
    held = torch.load(whole / "last.ckpt", weights_only=True)
    decoder = {name for name in held["state_dict"] if name.startswith("objective.losses.reconstruct_match.decoder.")}
    assert decoder and not any("_networks" in name or "teacher" in name for name in held["state_dict"])
    with safe_open(whole / "tokenizer" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    ours = {name for name in held["state_dict"] if name.startswith("tokenizer.")}
    assert len(names) > 20 and len(ours) > 20 and not any("reconstruct" in name for name in names | ours)


def test_its_export_and_its_checkpoint_are_one_codec(whole):
    wav = 0.1 * torch.randn(1, 20000, generator=torch.Generator().manual_seed(0))
    run, folder = load_codec(str(whole)), load_codec(str(whole / "tokenizer"))
    assert run.frame_rate == 12.5 and run.revision == folder.revision
    assert torch.equal(run.encode(wav), folder.encode(wav)) and torch.equal(run.decode(run.encode(wav)), folder.decode(run.encode(wav)))
    scores = read_table(whole / "scores.parquet")
    assert set(scores.step) == {4, 8} and {"word_pairs", "units"} <= set(scores.probe) and not scores.duplicated([*KEY, "step"]).any()
    assert set(scores[scores.step == 8].revision) == {run.revision}


def test_it_goes_on_exactly_and_probes_leave_no_trace(whole, tiny_corpus, tmp_path):
    made = recipe(tiny_corpus, "tokenizer.frame_rate=12.5", "probing.every_epochs=null")
    train(made, tmp_path / "bare")
    assert differences(weights(whole / "last.ckpt"), weights(tmp_path / "bare" / "last.ckpt")) == []
    assert metrics(whole).equals(metrics(tmp_path / "bare"))
    shutil.copy(tmp_path / "bare" / "step=000004.ckpt", tmp_path / "bare" / "last.ckpt")
    train(made, tmp_path / "bare", resume=True)
    assert differences(weights(whole / "last.ckpt"), weights(tmp_path / "bare" / "last.ckpt")) == []


@pytest.mark.slow
def test_a_serial_run_has_no_export_and_its_checkpoint_is_probed(tiny_corpus, tmp_path, caplog):
    made = recipe(tiny_corpus, "checkpoint.monitor=probe/units/usage/L01", "checkpoint.mode=max", name="ablations/lm_spt_serial")
    train(made, tmp_path)
    assert "no export" in caplog.text and not list(tmp_path.glob("tokenizer*"))
    found = load_checkpoint(tmp_path)
    assert found.codec.serial and found.step == 8
    assert set(read_table(tmp_path / "scores.parquet").revision) >= {found.codec.revision}
    shutil.copy(tmp_path / "step=000004.ckpt", tmp_path / "last.ckpt")
    train(made, tmp_path, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_trains_a_step(tiny_corpus, tmp_path, name):
    made = recipe(tiny_corpus, "trainer.epochs=1", "trainer.steps_per_epoch=1", "probing.every_epochs=null", name=f"ablations/{name}")
    validation.validate(made)
    task = train(made, tmp_path)
    shown = set(metrics(tmp_path).name)
    expected = {"lm_spt_regression": "semantic_distill", "lm_spt_text": "text_distill"}.get(name, "reconstruct_match")
    assert f"train/{expected}" in shown and task.generator_step == 1
    heads = sum(p.numel() for p in task.objective.head_parameters())
    assert (heads == 0) is (name == "lm_spt_shared_decoder")


@pytest.mark.slow
def test_text_distillation_goes_on_exactly(tiny_corpus, tmp_path):
    made = recipe(
        tiny_corpus, "trainer.steps_per_epoch=2", "data.seconds=1.0", "probing.every_epochs=null", name="ablations/lm_spt_text"
    )  # fmt: skip
    train(made, tmp_path)
    before, losses = weights(tmp_path / "last.ckpt"), metrics(tmp_path)
    assert (losses[losses.name == "train/text_distill"].value > 0).any()
    shutil.copy(tmp_path / "step=000002.ckpt", tmp_path / "last.ckpt")
    train(made, tmp_path, resume=True)
    assert differences(before, weights(tmp_path / "last.ckpt")) == [] and metrics(tmp_path).equals(losses)


WRONG = [
    ("lm_spt", ["tokenizer.frame_rate=20"], "tokenizer.frame_rate=20.0: 50 or 25 or 12.5 or 6.25 is expected"),
    ("lm_spt", ["tokenizer.frame_rate=null"], "50 or 25 or 12.5 or 6.25 is expected"),
    ("lm_spt", ["tokenizer.sample_rate=22050"], "tokenizer.sample_rate=22050: 16000 or 24000"),
    ("lm_spt", ["tokenizer.order=both"], "tokenizer.order=both: parallel or serial is expected"),
    ("lm_spt", ["tokenizer.codebooks=1"], "tokenizer.codebooks=1: a whole number from 2 on"),
    ("lm_spt", ["tokenizer.codebook_size=1000"], "a power of 2"),
    ("lm_spt", ["tokenizer.codebook_dim=16"], "codebook_dim must not be dim"),
    ("lm_spt", ["tokenizer.ratios=[8,5,4,2]"], "unknown key 'tokenizer.ratios'"),
    ("lm_spt", ["losses.reconstruct_match.decoder=big"], "use one of own, shared"),
    ("lm_spt", ["losses.reconstruct_match.frame_rate=12.5"], "decodes 12.5 frames/s, the tokenizer gives 25"),
    (
        "semantic_rvq",
        ["tokenizer.ratios=[5,5,4,2]"],
        "50 frames/s, the tokenizer 80: not a whole multiple; choose a tokenizer",
    ),
    ("semantic_rvq", ["tokenizer.ratios=[8,5,4,3]"], "the teacher has 50 frames/s, the tokenizer 33.3333"),
    ("lm_spt", ["losses.text_distill.weight=1", "teachers.text=sentences", "teachers.text.path=/nowhere"], "/nowhere"),
]


CASES = [(*case, False) for case in WRONG] + [(*case, True) for case in WRONG[::5]]  # a dry run looks as the real one


@pytest.mark.parametrize(("name", "words", "says", "dry"), CASES, ids=[" ".join(words) + dry * " dry" for _, words, _, dry in CASES])
def test_a_wrong_training_is_refused_in_one_line(tiny_corpus, tmp_path, capsys, name, words, says, dry):
    own = TINY if name == "lm_spt" else ()
    asked = ["--config", name, *small(tiny_corpus), *own, f"out={tmp_path}", *words, *(["--dry-run"] if dry else [])]
    code = cli.outcome(train_command.main, asked)
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error")]
    assert code == 2 and len(lines) == 1 and says in lines[0] and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


ALONE = {  # all that each ablation changes of lm_spt's losses and tokenizer
    "heavy_decoder": {"losses.reconstruct_match": {"filters": 8, "residual_layers": 1, "transformer_layers": 2, "heads": 4}},
    "no_gradient": {"losses.reconstruct_match": {"gradient": False}},
    "regression": {"losses.reconstruct_match": {"weight": 0.0}, "losses.semantic_distill": {"weight": 10.0, "axis": "squared"}},
    "serial": {"tokenizer": {"order": "serial"}},
    "shared_decoder": {"losses.reconstruct_match": {"decoder": "shared"}},
    "text": {"losses.text_distill": {"weight": 1.0}},
}


def test_an_ablation_changes_what_it_is_called_and_nothing_else():
    plain = sections(config.load(["lm_spt"]))
    assert plain["losses.reconstruct_match"].items() >= {"decoder": "own", "gradient": True, "weight": 10.0}.items()
    assert {path.removeprefix("lm_spt_") for path in ABLATIONS} == set(ALONE)
    for name, changed in ALONE.items():
        made = sections(config.load([f"ablations/lm_spt_{name}"]))
        assert made.keys() == plain.keys() | changed.keys(), name
        for key, values in made.items():
            own = changed.get(key, {})
            assert (values == plain[key] | own) if key in plain else (values.items() >= own.items()), (name, key)


def sections(made) -> dict[str, dict]:
    """Tokenizer, data, optimizer and each loss of a configuration, all resolved but teachers."""
    made.teachers.setdefault("text", "none")
    found = {name: config.plain(made[name]) for name in ("tokenizer", "data", "optimizer", "trainer")}
    losses = {name: {key: value for key, value in config.plain(each).items() if key != "teacher"} for name, each in made.losses.items()}
    return found | {f"losses.{name}": each for name, each in losses.items() if each["weight"] or name == "reconstruct_match"}


def test_the_full_size_is_valid():
    for rate in (25.0, 12.5, 6.25):
        made = config.load(["full/lm_spt"], [f"tokenizer.frame_rate={rate}", "corpus.root=x", "trainer.devices=1"])
        validation.validate(experiment.resolved(made))
    assert made.tokenizer.dim == 512 and made.teachers.semantic.layer == 6
