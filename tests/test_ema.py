"""optimizer.ema: what is validated, probed and exported is the mean of the weights; the training itself does not know of it."""

import shutil

import pytest
import torch

from laminal.codecs.load import load_checkpoint, load_codec
from laminal.errors import RequestError
from laminal.results import read_table
from oracle_training import differences, metrics, settings, train, weights

SHORT = ("probing.every_epochs=2", "probes.word_pairs=null", "trainer.steps_per_epoch=2", "trainer.epochs=2")


@pytest.fixture(scope="module")
def runs(tiny_corpus, tmp_path_factory):
    """The same run without and with the mean."""
    out = tmp_path_factory.mktemp("ema")
    words = {"off": ["probing.every_epochs=null"], "on": ["optimizer.ema=0.9"]}  # probes leave no trace, as test_training shows
    made = {name: settings(tiny_corpus, *SHORT, *each) for name, each in words.items()}
    return out, made, {name: train(each, out / name) for name, each in made.items()}


def held(folder, name="last.ckpt"):
    return torch.load(folder / name, weights_only=True)


def test_the_training_is_the_same_with_and_without(runs):
    out, made, _ = runs
    off, on = weights(out / "off" / "last.ckpt"), weights(out / "on" / "last.ckpt")
    assert "average" not in off["laminal"] and set(on["laminal"].pop("average"))
    assert differences(off, on) == []
    names = ["step", "name", "value"]
    rows = [metrics(out / name)[names] for name in ("off", "on")]
    told = [each[~each.name.str.startswith(("val/", "probe/"))].reset_index(drop=True) for each in rows]
    assert len(told[0]) and told[0].equals(told[1])


def test_a_configuration_from_before_the_key_is_a_run_without(runs, tiny_corpus, tmp_path):
    out, made, _ = runs
    older = settings(tiny_corpus, *SHORT, "probing.every_epochs=null")
    del older.optimizer.ema
    train(older, tmp_path / "older")
    assert differences(weights(out / "off" / "last.ckpt"), weights(tmp_path / "older" / "last.ckpt")) == []


def test_the_checkpoint_holds_the_mean_beside_the_weights(runs):
    out, _, tasks = runs
    last = held(out / "on")
    mean, weight = last["laminal"]["average"], {k.removeprefix("tokenizer."): v for k, v in last["state_dict"].items()}
    assert mean.keys() == {name for name, _ in tasks["on"].tokenizer.named_parameters()}
    assert any(not torch.equal(value, weight[name]) for name, value in mean.items())
    assert not any("embed" in name for name in mean)  # codebooks are buffers: not averaged again


def test_probes_and_exports_speak_of_the_mean(runs):
    out, _, tasks = runs
    codec = load_checkpoint(out / "on" / "last.ckpt").codec
    wav = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    exported = load_codec(str(out / "on" / "tokenizer"))
    assert exported.revision == codec.revision and torch.equal(exported.decode(exported.encode(wav)), codec.decode(codec.encode(wav)))
    scores = read_table(out / "on" / "scores.parquet")
    assert set(scores[scores.step == 4].ckpt_sha256) == {codec.revision}
    bare = load_checkpoint(out / "off" / "last.ckpt").codec
    assert bare.revision != codec.revision and not torch.equal(bare.decode(bare.encode(wav)), codec.decode(codec.encode(wav)))
    assert torch.equal(exported.entries[0], bare.entries[0])  # the codebooks are the trained ones


def test_validation_hears_the_mean(runs, tiny_corpus):
    out, made, tasks = runs
    batch = next(iter(_data(made["on"]).val_dataloader()))
    task = tasks["on"]
    heard = {}
    task.log = lambda name, value, **_: heard.__setitem__(name, float(value))
    with torch.no_grad():
        task.eval().validation_step(batch, 0)
        mean = task.average.network(task.tokenizer)(batch.wav, batch.mask)
        raw = task.tokenizer(batch.wav, batch.mask)
        loss = task.objective.losses["mel"]
        assert heard["val/mel"] == float(loss(mean, batch)) != float(loss(raw, batch))


def _data(made):
    from laminal import experiment, training

    corpus = experiment.corpus(made)
    return training.Data(made, corpus, experiment.split(made, corpus))


def test_going_on_is_exact(runs, tmp_path):
    out, made, _ = runs
    cut = tmp_path / "cut"
    shutil.copytree(out / "on", cut)
    shutil.copy(cut / "step=000002.ckpt", cut / "last.ckpt")
    train(made["on"], cut, resume=True)
    assert differences(weights(out / "on" / "last.ckpt"), weights(cut / "last.ckpt")) == []
    assert metrics(out / "on").equals(metrics(cut))
    assert load_codec(str(cut / "tokenizer")).revision == load_codec(str(out / "on" / "tokenizer")).revision


@pytest.mark.parametrize(("there", "here"), [("on", "off"), ("off", "on")])
def test_a_run_does_not_change_its_mind(runs, tmp_path, there, here):
    out, made, _ = runs
    shutil.copytree(out / there, tmp_path / "run")
    with pytest.raises(RequestError, match=r"of a run with(out)? optimizer\.ema, config\.yaml with"):
        train(made[here], tmp_path / "run", resume=True)
