"""The W&B sink: offline runs read back through W&B's own reader, and every way in which W&B can be away."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from laminal import dashboard, sinks, training
from laminal.callback import ProbeCallback
from laminal.config import plain
from laminal.corpora.split import make_split
from laminal.errors import RequestError
from laminal.nn.recipes import tokenizer_of
from laminal.probes.articulation import Articulation
from laminal.probes.run import run_probes
from laminal.probes.text_alignment import TextAlignment
from laminal.probes.units import Units
from laminal.probes.word_pairs import WordPairs
from laminal.results import Context, Items, Results, Score, key, read_table
from laminal.task import TokenizerTask
from oracle_pairs import WORDS, FakeCodec, noise_corpus
from oracle_tract import tract_corpus
from oracle_training import settings

SCORE = dict(low=0.0, high=2.0, n=30, clusters=9, chance=float("nan"), higher_is_better=None, unit="")
COUNTS = [3, 0, 5, 0, 1, 1, 0, 0]


def results(epoch: int, extra: list[Score] | None = None) -> Results:
    def score(probe, metric, setting, value, **changes):
        return Score(probe=probe, metric=metric, setting=setting, value=value, **(SCORE | changes))

    distances = {"slice": "audio", "distance": "euclidean", "layer_mode": "cumulative"}
    found = [
        score("word_pairs", "mean", setting, 1.0 + epoch + number, layer=layer, **distances)
        for setting in ("synonym", "near_homophone") for number, layer in enumerate(("latent", "1", "2"))
    ]  # fmt: skip
    found += [score("word_pairs", "mean", "synonym", 7.0, layer="1", **distances | {"distance": "cosine"})]
    found += [score("word_pairs", "mean", "synonym", 8.0, layer="1", **distances | {"distance": "cosine", "split": "new_word"})]
    found += [score("units", "perplexity", "", 9.0 + epoch, layer="1", layer_mode="single", chance=0.5)]
    codes = [str(code) for code in range(8)]
    counts = Items(probe="units", metric="code_count", layer="1", layer_mode="single", a=codes, value=np.array(COUNTS, dtype=float))
    context = Context(run="r", codec="c", revision="1", epoch=epoch, step=10 * epoch + 10, corpus="tiny", corpus_sha256="abc")
    return Results(context, [*found, *(extra or [])], [counts])


KEYS = {
    *(f"probe/word_pairs/{setting}/mean/{layer}" for setting in ("synonym", "near_homophone") for layer in ("latent", "L01", "L02")),
    "probe/word_pairs/synonym/mean/L01@cosine", "probe/units/perplexity/L01",
}  # fmt: skip


def records(path: Path) -> list:
    """Every record of a .wandb file, once its exit is written: the file may still be short after finish()."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    for _ in range(100):
        store, found = DataStore(), []
        store.open_for_scan(str(path))
        while (data := store.scan_data()) is not None:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no exit record")


def of(found: list, kind: str) -> list:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def rows(found: list) -> list[dict]:
    made = []
    for history in of(found, "history"):
        row: dict = {}
        for item in history.item:  # what W&B knows of a table or a picture comes key by key
            *outer, last = item.nested_key
            place = row
            for name in outer:
                place = place.setdefault(name, {})
            place[last] = json.loads(item.value_json)
        made.append(row)
    return made


def listening(folder: Path) -> None:
    (folder / "listening").mkdir(exist_ok=True)
    soundfile.write(folder / "listening" / "1-u.original.flac", np.linspace(-0.5, 0.5, 800), 16_000)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs, its resume for a third, and what was written beside the run folder and printed."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("runs") / "tiny-run"
    folder.mkdir()
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "model.safetensors").write_bytes(b"weights")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.chdir(home)
        for start in (0, 2):
            sink = dashboard.Wandb(folder, "laminal", None, dashboard.wandb_id(folder), {"seed": 3, "trainer": {"epochs": 2}})
            for epoch in range(start, start + 2 - start // 2):
                sink.scalars(10 * epoch + 5, epoch, {"train/mel": 0.5 + epoch, "codebooks/usage/L01": 0.25})
                if epoch == 0:
                    listening(folder)
                sink.probe(results(epoch))
            sink.close()
            assert not sink._guard.broken
    parts = [records(path) for path in sorted((folder / "wandb").glob("*run-*/*.wandb"))]
    return types.SimpleNamespace(folder=folder, home=home, parts=parts, said=said.getvalue())


def test_scores_are_logged_over_the_epoch_in_one_call_each(finished):
    logged = [row for row in rows(finished.parts[0]) if "probe/epoch" in row]
    assert [row["probe/epoch"] for row in logged] == [0, 1]
    for epoch, row in enumerate(logged):
        assert {name for name in row if name.startswith("probe/")} == KEYS | {"probe/epoch"}
        assert row["probe/word_pairs/near_homophone/mean/L02"] == 3.0 + epoch and row["probe/units/perplexity/L01"] == 9.0 + epoch
        assert "train/step" not in row


def test_training_numbers_are_logged_over_the_generator_step(finished):
    logged = [row for row in rows(finished.parts[0]) if "train/mel" in row]
    assert [(row["train/step"], row["train/mel"], row["codebooks/usage/L01"], row["train/epoch"]) for row in logged] == [
        (5, 0.5, 0.25, 0), (15, 1.5, 0.25, 1),
    ]  # fmt: skip
    assert not any("probe/epoch" in row for row in logged)


def test_every_metric_is_defined_by_its_exact_name_with_its_axis(finished):
    defined = {metric.name: metric.step_metric for metric in of(finished.parts[0], "metric")}
    assert not any(metric.glob_name for metric in of(finished.parts[0], "metric"))
    logged = {name for row in rows(finished.parts[0]) for name in row if not name.startswith("_")}
    assert set(defined) == logged
    for name, axis in defined.items():
        training = name.startswith(("train/", "codebooks/"))
        assert axis == ("" if name in ("train/step", "probe/epoch") else "train/step" if training else "probe/epoch"), name


def test_the_table_is_whole_and_fresh_at_every_epoch(finished):
    tables = [row["tables/word_pairs"] for row in rows(finished.parts[0]) if "probe/epoch" in row]
    assert [table["nrows"] for table in tables] == [8, 8]
    base = sorted((finished.folder / "wandb").glob("*run-*"))[0] / "files"
    for epoch, table in enumerate(tables):
        content = json.loads((base / table["path"]).read_text())
        assert content["columns"] == list(dashboard.COLUMNS)
        shown = [dict(zip(content["columns"], row)) for row in content["data"]]
        wanted = results(epoch).scores[:8]
        names = ("setting", "layer", "distance", "split", "value")
        given = sorted([getattr(score, name) for name in names] for score in wanted)
        assert sorted([row[name] for name in names] for row in shown) == given
        assert {row["corpus"] for row in shown} == {"tiny"}
        assert all(row["chance"] is None and row["n"] == 30 for row in shown)


def test_code_use_is_a_histogram_by_rank(finished):
    for row in (row for row in rows(finished.parts[0]) if "probe/epoch" in row):
        histogram = row["codes/L01"]
        assert histogram["_type"] == "histogram" and histogram["values"] == [5, 3, 1, 1, 0, 0, 0, 0] and histogram["bins"] == list(range(9))


def test_sounds_and_pictures_are_logged_where_they_are_new(finished):
    first, second = (row for row in rows(finished.parts[0]) if "probe/epoch" in row)
    assert first["listening/1-u/original"]["_type"] == "audio-file" and "listening/1-u/original" not in second
    for row in (first, second):  # the layer curves are drawn anew at every epoch
        assert row["plots/layer_curves"]["_type"] == "image-file"
    base = sorted((finished.folder / "wandb").glob("*run-*"))[0] / "files"
    assert soundfile.info(base / first["listening/1-u/original"]["path"]).samplerate == 16_000


def test_the_tokenizer_is_an_artifact_with_its_scores_as_metadata(finished):
    for part, epoch in zip(finished.parts, (1, 2)):
        (model,) = [artifact for artifact in of(part, "artifact") if artifact.type == "model"]
        metadata = json.loads(model.metadata)
        assert metadata["epoch"] == epoch and metadata["corpus"] == "tiny"
        assert metadata["scores"]["word_pairs"]["probe/word_pairs/synonym/mean/L02"] == 3.0 + epoch
        assert not any("@" in name for scores in metadata["scores"].values() for name in scores)
        assert [entry.path for entry in model.manifest.contents] == ["model.safetensors"]


def test_a_resume_goes_on_in_the_same_run_behind_its_steps(finished):
    first, second = finished.parts
    runs = [of(part, "run")[0] for part in finished.parts]
    assert runs[0].run_id == runs[1].run_id == json.loads((finished.folder / "manifest.json").read_text())["wandb_id"]
    assert {(run.project, run.display_name) for run in runs} == {("laminal", "tiny-run")}
    config = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert config["seed"] == 3 and config["trainer"] == {"epochs": 2}
    assert [(row.get("train/step"), row.get("probe/epoch")) for row in rows(second)] == [(25, None), (None, 2)]
    assert max(row["_step"] for row in rows(first)) < min(row["_step"] for row in rows(second))
    assert [history.step.num for history in of(first, "history")] == list(range(4))


def test_it_is_offline_and_stays_in_the_run_folder(finished):
    assert all("offline-run" in path.name for path in (finished.folder / "wandb").glob("*run-*"))
    assert not any(finished.home.rglob("*"))
    assert (finished.folder / "wandb" / "artifacts" / "staging").is_dir()
    assert not [name for name in os.environ if name.startswith("WANDB_") and name.endswith("_DIR")]


def test_the_end_says_how_to_send_the_run(finished):
    first, second = [line for line in finished.said.splitlines() if "sync" in line]
    parts = sorted((finished.folder / "wandb").glob("offline-run-*"))
    assert first.endswith(f"wandb sync {parts[0]}")
    assert second.endswith(f"WANDB_RESUME=allow wandb beta sync {parts[0]} {parts[1]}")


CLEAN = """
import random, sys
from pathlib import Path
import numpy, torch
from laminal import dashboard
from laminal.results import Context, Results, Score
def state():
    return torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate()
score = Score(probe="p", metric="m", value=1.0, low=0.0, high=2.0, n=3, clusters=2, chance=0.5, higher_is_better=None, unit="")
begun = state()
sink = dashboard.Wandb(Path(sys.argv[1]), "laminal", None, "abcd", {})
sink.scalars(1, 0, {"train/mel": 1.0})
sink.probe(Results(Context(run="r", codec="c", revision="1", epoch=0), [score]))
if len(sys.argv) > 2:
    import os, signal
    from laminal import sinks
    from wandb.sdk import wandb_setup
    sinks.PATIENCE_S = 2.0
    os.kill(wandb_setup.singleton()._connection._proc._process.pid, getattr(signal, sys.argv[2]))
sink.close()
assert state() == begun
print("done")
"""  # in a process of its own: the checks of types in these tests draw random numbers themselves


def separately(folder, home, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    command = [sys.executable, "-c", CLEAN, str(folder), *words]
    return subprocess.run(command, env=environment | {"HOME": str(home)}, capture_output=True, text=True, timeout=120)


def test_the_random_generators_are_left_alone(tmp_path):
    found = separately(tmp_path, tmp_path)
    assert found.returncode == 0, found.stderr
    first, last = found.stdout.splitlines()
    assert last == "done" and first.startswith("to send this run to W&B: wandb sync ") and found.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["SIGSTOP", "SIGKILL"])
def test_a_process_ends_although_the_service_of_wandb_does_not_answer(tmp_path, signal):
    found = separately(tmp_path, tmp_path, signal)
    assert found.returncode == 0 and found.stdout.endswith("done\n"), found.stderr
    assert found.stderr.count("left out") == 1


def posing(kind, **facts):
    """As much of `kind` as is asked for; the checks of types take it for one."""
    return type("Posing", (types.SimpleNamespace,), {"__class__": kind})(**facts)


def test_the_callback_logs_articulation_and_text_alignment(tmp_path, alone):
    """Both probes, on the live tokenizer of a training: curves, nulls, baselines, tables that hold their bands, and pictures."""
    import lightning

    spoken, tracts = tmp_path / "noise", tmp_path / "tracts"
    spoken.mkdir()
    tracts.mkdir()
    corpus = noise_corpus(spoken, speakers=4, utterances=2)
    vectors = {word: " ".join(map(str, np.random.default_rng(number).standard_normal(5))) for number, word in enumerate(WORDS)}
    (tmp_path / "v.txt").write_text("".join(f"{word} {numbers}\n" for word, numbers in vectors.items()))
    probes = {
        "articulation": Articulation(
            corpus, None, tract=tract_corpus(tracts), tracks=8, folds=4, rank=(5, 12), shifts=100, lags_ms=(-40, 40), draws=1000, seed=0,
        ),
        "text_alignment": TextAlignment(
            corpus, None, text=f"vectors:{tmp_path / 'v.txt'}", slices=["audio"], modes=["cumulative"], words=60, least=2, tokens=2,
            permutations=1000, subsets=2, batch=10, draws=1000, seed=0,
        ),
    }  # fmt: skip
    folder = tmp_path / "run"
    folder.mkdir()
    made = settings(spoken, "trainer.epochs=1")
    tokenizer = tokenizer_of(plain(made.tokenizer))
    heard = torch.stack([corpus.wav(each, 16_000)[:16_000] for each in corpus])
    tokenizer.initialise([(heard, torch.ones_like(heard, dtype=torch.bool))] * 20)
    task = posing(TokenizerTask, tokenizer=tokenizer, evaluated=tokenizer, generator_step=4)
    same = types.SimpleNamespace(broadcast=lambda given: given)
    trainer = posing(lightning.Trainer, is_global_zero=True, current_epoch=0, strategy=same)
    sink = dashboard.Wandb(folder, "laminal", None, "abcd", {})
    callback = ProbeCallback(probes, folder, "run", "noise", "abc", sinks=[sink])
    callback.probe(trainer, task)
    sink.close()
    assert not sink._guard.broken and not sink._drawing.broken
    few = [f"text {metric}: audio" for metric in ("beyond_form", "beyond_controls")]  # 57 words are too few for them
    assert [each["what"] for each in callback.undefined] == few
    (path,) = (folder / "wandb").glob("*run-*/*.wandb")
    (row,) = [row for row in rows(records(path)) if "probe/epoch" in row]
    layers = ("latent", "L01", "L02")
    wanted = {f"probe/articulation/{metric}/{layer}" for metric in ("heldout_pwcca", "null", "minus_log_mel") for layer in layers}
    wanted |= {"probe/articulation/log_mel/heldout_pwcca", "probe/articulation/f0_energy/heldout_pwcca"}
    wanted |= {"probe/articulation/random_codebook/heldout_pwcca/L02", "probe/articulation/lag-040ms/lag_pwcca/L01"}
    wanted |= {f"probe/text_alignment/text/{metric}/{layer}" for metric in ("cka", "null", "p", "null_by_length") for layer in layers}
    wanted |= {"probe/text_alignment/bag_of_phones/cka/L01", "probe/text_alignment/random/cka/L01"}
    assert wanted <= set(row)
    scores = read_table(folder / "scores.parquet")
    assert set(scores.probe) == set(probes)
    one = scores[(scores.metric == "heldout_pwcca") & (scores.setting == "") & (scores.layer == "1")].value.item()
    name = "probe/articulation/heldout_pwcca/L01"
    assert row[name] == pytest.approx(one) == callback.metrics[name]
    for probe in probes:
        content = json.loads((path.parent / "files" / row[f"tables/{probe}"]["path"]).read_text())
        shown = [dict(zip(content["columns"], cells)) for cells in content["data"]]
        (band,) = [cells for cells in shown if (cells["metric"], cells["layer"]) == ("null", "1") and cells["setting"] in ("", "text")]
        assert band["low"] < band["value"] < band["high"]  # the null's band, of the permutations
    assert {"plots/articulation", "plots/text_alignment"} <= set(row)


class Service(types.SimpleNamespace):
    """A W&B that only remembers how it was called; `trouble` names the call that raises or hangs."""

    def __init__(self, trouble: str = "", hang: bool = False):
        super().__init__(calls=[], trouble=trouble, hang=hang, released=threading.Event(), entity="me")
        self.Table = self.Histogram = self.Audio = self.Image = lambda *args, **kwargs: types.SimpleNamespace()
        self.Settings = lambda **kwargs: kwargs

    def _call(self, called, /, *args, **kwargs):
        self.calls.append((called, args, kwargs))
        if self.trouble == called:
            if self.hang:
                self.released.wait(20)
            raise RuntimeError(f"{called} is down")

    def init(self, **kwargs):
        self._call("init", **kwargs)
        (Path(kwargs["dir"]) / "wandb" / f"run-1-{kwargs['id']}").mkdir(exist_ok=True)
        return self

    def define_metric(self, *args, **kwargs):
        self._call("define_metric", *args, **kwargs)

    def log(self, *args, **kwargs):
        self._call("log", *args, **kwargs)

    def finish(self, **kwargs):
        self._call("finish", **kwargs)

    def named(self, name):
        return [call for call in self.calls if call[0] == name]


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No key, no mode, a home of its own."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    return monkeypatch


def used(monkeypatch, folder, service) -> dashboard.Wandb:
    monkeypatch.setitem(sys.modules, "wandb", service)
    folder.mkdir(exist_ok=True)
    sink = dashboard.Wandb(folder, "laminal", None, "abcd", {})
    for step in (1, 2):
        sink.scalars(step, 0, {"train/mel": 1.0})
    sink.probe(results(0))
    sink.probe(results(1))
    sink.close()
    return sink


def netrc(folder, host):
    (folder / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")


@pytest.mark.parametrize(
    ("mode", "key_given", "wanted"),
    [
        (None, None, "offline"), (None, "environment", "online"), (None, "netrc", "online"), (None, "netrc of another host", "offline"),
        ("offline", "environment", "offline"), ("disabled", "environment", "disabled"), ("disabled", None, "disabled"),
        ("dryrun", "netrc", "offline"), ("online", None, "offline"), ("online", "environment", "online"),
    ],
)  # fmt: skip
def test_nothing_is_sent_without_a_key_or_against_the_mode_asked_for(alone, tmp_path, mode, key_given, wanted):
    if mode:
        alone.setenv("WANDB_MODE", mode)
    if key_given == "environment":
        alone.setenv("WANDB_API_KEY", "0" * 40)
    if key_given and key_given.startswith("netrc"):
        netrc(tmp_path, "wandb.example.org" if "another" in key_given else "api.wandb.ai")
    saved = []
    alone.setattr("laminal.workspace.once", lambda *args: saved.append(args))
    service = Service()
    used(alone, tmp_path / "run", service)
    (init,) = service.named("init")
    assert init[2]["mode"] == wanted and init[2]["id"] == "abcd" and init[2]["resume"] == ("allow" if wanted == "online" else None)
    assert bool(saved) == (wanted == "online")  # the workspace


def test_reports_of_errors_are_not_sent_either_without_a_key(alone, tmp_path):
    seen = {}
    service = Service()
    service.Settings = lambda **kwargs: seen.update({name: os.environ.get(name) for name in ("WANDB_ERROR_REPORTING", "WANDB_CONFIG_DIR")})
    used(alone, tmp_path / "run", service)
    assert seen == {"WANDB_ERROR_REPORTING": "false", "WANDB_CONFIG_DIR": str(tmp_path / "run" / "wandb")}


@pytest.mark.parametrize("trouble", ["init", "define_metric", "log", "finish"])
def test_trouble_is_said_once_and_goes_no_further(alone, tmp_path, caplog, capsys, trouble):
    service = Service(trouble)
    used(alone, tmp_path / "run", service)
    (line,) = [record.message for record in caplog.records if "left out" in record.message]
    assert line.startswith("W&B is left out from here (RuntimeError: ") and f"{trouble} is down" in line
    assert len(service.named(trouble)) == 1


@pytest.mark.parametrize("trouble", ["init", "log", "finish"])
def test_a_hang_costs_the_patience_once(alone, tmp_path, caplog, trouble):
    for module, name in ((sinks, "PATIENCE_S"), (dashboard, "START_S"), (dashboard, "FINISH_S")):
        alone.setattr(module, name, 0.5)
    service = Service(trouble, hang=True)
    used(alone, tmp_path / "run", service)
    service.released.set()
    lines = [record.message for record in caplog.records if record.message.startswith("W&B is left out")]
    assert lines == ["W&B is left out from here (no answer in 0.5 s); the run folder and its report hold everything"]


def test_an_absent_wandb_is_said_once(alone, tmp_path, caplog):
    used(alone, tmp_path / "run", None)  # None in sys.modules: the import raises
    (line,) = [record.message for record in caplog.records if "left out" in record.message]
    assert "ModuleNotFoundError" in line and line.startswith("W&B")


def test_a_workspace_in_trouble_leaves_the_curves_alone(alone, tmp_path, caplog):
    alone.setenv("WANDB_API_KEY", "0" * 40)

    def refuse(*args):
        raise OSError("no such host")

    alone.setattr("laminal.workspace.once", refuse)
    service = Service()
    used(alone, tmp_path / "run", service)
    assert len([record for record in caplog.records if "workspace" in record.message]) == 1
    assert len(service.named("log")) == 4 and len(service.named("finish")) == 1


def test_a_run_that_failed_is_marked_as_failed(alone, tmp_path):
    service = Service()
    alone.setitem(sys.modules, "wandb", service)
    sink = dashboard.Wandb(tmp_path, "laminal", None, "abcd", {})
    sink.scalars(1, 0, {"train/mel": 1.0})
    with contextlib.suppress(RuntimeError):
        try:
            raise RuntimeError("NaN in a loss")
        finally:
            sink.close()
    assert service.named("finish") == [("finish", (), {"exit_code": 1})]


def logged(logger):
    return OmegaConf.create({"log": {"logger": logger, "project": "laminal", "entity": None}})


@pytest.mark.parametrize(
    ("logger", "wanted"),
    [("wandb", ["Wandb"]), ("tensorboard", ["TensorBoard"]), ("csv", []), (None, []), (["wandb", "tensorboard"], ["Wandb", "TensorBoard"])],
)
def test_the_configuration_chooses_the_sinks(tmp_path, logger, wanted):
    assert [type(sink).__name__ for sink in dashboard.sinks_of(logged(logger), tmp_path)] == wanted
    assert not (tmp_path / "wandb").exists() and not (tmp_path / "tensorboard").exists()  # a run begins with its first number


def test_an_unknown_logger_is_a_wrong_request(tmp_path):
    with pytest.raises(RequestError, match="mlflow.*wandb, tensorboard or csv"):
        dashboard.sinks_of(logged("mlflow"), tmp_path)


def test_the_id_is_kept_in_the_manifest_and_found_again_in_the_checkpoint(tmp_path):
    first = dashboard.wandb_id(tmp_path)
    assert dashboard.wandb_id(tmp_path) == first and dashboard.checkpoint_facts(tmp_path) == {"wandb_id": first}
    torch.save({"laminal": {"facts": dashboard.checkpoint_facts(tmp_path)}}, tmp_path / "last.ckpt")
    (tmp_path / "manifest.json").unlink()
    assert dashboard.checkpoint_facts(tmp_path) == {} and dashboard.wandb_id(tmp_path) == first
    assert dashboard.wandb_id(tmp_path.parent) != first
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "last.ckpt").write_bytes(b"cut")
    assert dashboard.wandb_id(tmp_path) != first


@pytest.fixture(scope="module", params=["matched", "choi"])
def real(request, tmp_path_factory) -> Results:
    """Scores of word_pairs and units with every slice, distance and mode, and every split or seed."""
    corpus = noise_corpus(tmp_path_factory.mktemp("noise"), speakers=8, utterances=2)
    split = make_split(corpus, seed=0, speakers=0.5) if request.param == "matched" else None
    pairs = WordPairs(
        corpus, split, style=request.param, slices=["audio", "features"], distances=["euclidean", "cosine", "scaled"],
        modes=["cumulative", "single", "residual"], maximum=300, tier_maximum=300, token_pairs=1, randoms=1, draws=1000, items=[],
        seed=0,
    )  # fmt: skip
    units = Units(corpus, split, utterances=8, nulls=1, cells=40, maximum=300, draws=1000, seed=0)
    return run_probes(FakeCodec(), {"word_pairs": pairs, "units": units}, Context(run="r", codec="c", revision="1", corpus=corpus.name))


def test_no_two_scores_share_a_key(real):
    assert len(real.scores) > 500 and {score.probe for score in real.scores} == {"word_pairs", "units"}
    assert len({key(score) for score in real.scores}) == len(real.scores) == len(real.score_table())
    for name in ("slice", "distance", "layer_mode"):
        assert len({getattr(score, name) for score in real.scores if score.metric == "mean"}) > 1
    assert len({score.split for score in real.scores}) > 1 or len({score.seed for score in real.scores}) > 1


def test_only_few_scores_become_curves_and_all_defaults_do(real):
    shown = sinks.drawn(real)
    defaults = [key(score) for score in real.scores if "@" not in key(score)]
    assert set(defaults) <= set(shown) and all(name.count("@") <= 1 for name in shown)
    assert len(shown) < len(real.scores)


def test_a_table_cut_short_keeps_the_usual_choices():
    many = [Score(probe="p", metric="m", value=float(n), layer="1", seed=n % 2, split="all", **SCORE) for n in range(10)]
    assert [score.value for score in sinks.by_usualness(many)] == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]


@pytest.mark.parametrize("size", [1, 8, 64, 65, 100, 1000, 1024])
def test_bars_of_code_use_hold_every_frame(size):
    counts = np.random.default_rng(size).integers(0, 9, size).astype(float)
    block = Items(probe="units", metric="code_count", layer="3", a=[str(code) for code in range(size)], value=counts)
    bars, edges = sinks.code_use(Results(Context(run="r", codec="c", revision="1"), items=[block]))[3]
    assert sum(bars) == counts.sum() and len(bars) <= 64 and bars == sorted(bars, reverse=True)
    assert len(edges) == len(bars) + 1 and edges[0] == 0 and edges[-1] >= size and len(set(np.diff(edges))) == 1


@pytest.mark.slow
def test_a_whole_training_and_its_resume_are_one_run(tiny_corpus, tmp_path, alone, capsys):
    folder = tmp_path / "tiny-run"
    folder.mkdir()
    made = settings(tiny_corpus, "log.logger=[wandb,tensorboard]")
    training.run(made, folder, resume=False)
    identity = torch.load(folder / "last.ckpt", weights_only=True)["laminal"]["facts"]["wandb_id"]
    made.trainer.epochs = 3
    training.run(made, folder, resume=True)
    assert capsys.readouterr().out.strip().endswith("report.html")
    first, second = (records(path) for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")))
    assert [of(part, "run")[0].run_id for part in (first, second)] == [identity, identity]
    epochs = [[row["probe/epoch"] for row in rows(part) if "tables/word_pairs" in row] for part in (first, second)]
    assert epochs == [[0, 1], [2]]
    assert [row["train/step"] for row in rows(first) if "train/mel" in row] == list(range(1, 9))
    shown = {name for row in rows(first) for name in row}
    assert {"val/mel", "codes/L01", "codes/L02", "plots/layer_curves", "plots/training"} <= shown
    assert any(name.startswith("listening/") for name in shown)
    stored = read_table(folder / "scores.parquet")
    last = next(row for row in rows(second) if "tables/word_pairs" in row)
    value = stored[(stored.epoch == 2) & (stored.metric == "perplexity") & (stored.layer == "1")].value.item()
    assert last["probe/units/perplexity/L01"] == value
    assert sorted(path.name for path in (folder / "tensorboard").iterdir()) == ["probes", "training"]
    (model,) = [artifact for artifact in of(second, "artifact") if artifact.type == "model"]
    assert "config.json" in {entry.path for entry in model.manifest.contents}
