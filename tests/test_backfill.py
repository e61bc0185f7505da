"""Back-fill and watch: what is missing is probed on the run's own axis, what is there is not, a kill costs one probe."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from laminal import backfill, commands, probing, runfolder, watch
from laminal.cache import CodesCache
from laminal.errors import RequestError
from laminal.report import changes, leaderboard, sentences
from laminal.results import KEY, Context, Results, Score, read_table, store, stored
from oracle_training import settings, train

COLUMNS = [*KEY, "epoch", "step", "run", "ckpt_sha256", "value", "low", "high"]


@pytest.fixture(scope="module")
def trained(tiny_corpus, tmp_path_factory) -> Path:
    """A run of three epochs, probed at each."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(settings(tiny_corpus, "trainer.epochs=3", "probing.every_epochs=1"), folder)
    return folder


@pytest.fixture(autouse=True)
def reports(request, monkeypatch) -> list[Path]:
    """Folders that a report was asked for; making one takes seconds, and tests of its own."""
    asked: list[Path] = []
    monkeypatch.setattr("laminal.report.folder.write", lambda folder: asked.append(folder) or folder / "report.html")
    return asked


@pytest.fixture
def sparse(trained, tmp_path) -> Path:
    """The same run as if only its first epoch had been probed."""
    folder = tmp_path / "whole"
    shutil.copytree(trained, folder)
    from laminal.results import forget_after

    forget_after(folder, 4)
    return folder


def ordered(folder: Path):
    return read_table(folder / "scores.parquet")[COLUMNS].sort_values(COLUMNS[:-3]).reset_index(drop=True)


def test_what_is_missing_is_probed_as_the_training_would_have(trained, sparse, reports, capsys):
    assert set(ordered(sparse).step) == {4}
    assert commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), []) == 0
    assert ordered(sparse).equals(ordered(trained))  # values, and the epochs that the training itself wrote
    said = capsys.readouterr().out
    assert "step=000004.ckpt: epoch 0, step 4: all there" in said and "last.ckpt: step 12, as step=000012.ckpt" in said
    assert "epoch 1, step 8: probed word_pairs, units" in said and reports == [sparse]
    assert said.endswith("\n".join([*sentences.summary(changes.scores_of(sparse)), str(sparse / "report.html"), ""]))  # as a training says


def test_what_is_there_is_skipped(trained, sparse, monkeypatch, capsys):
    shutil.copy(trained / "scores.parquet", sparse)
    monkeypatch.setattr("laminal.probing.run_probes", lambda *_: pytest.fail("a probe ran"))
    assert commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), []) == 0
    assert capsys.readouterr().out.count("all there") == 3
    with pytest.raises(pytest.fail.Exception):
        commands.probe({"ckpt": f"{sparse}/*.ckpt", "again": True}, (), [])
    with pytest.raises(pytest.fail.Exception):  # measured otherwise: not there
        commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), ["probes.units.utterances=7"])
    with pytest.raises(pytest.fail.Exception):  # other weights under the same step: not there
        held = torch.load(sparse / "step=000008.ckpt", weights_only=True)
        held["state_dict"]["tokenizer.decoder.layers.0.conv.bias"] += 1
        torch.save(held, sparse / "step=000008.ckpt")
        commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), [])


def test_one_probe_more_leaves_the_others_alone(trained, sparse):
    assert commands.probe({"ckpt": f"{sparse}/*.ckpt", "probe": "units"}, (), []) == 0
    found = read_table(sparse / "scores.parquet")
    assert set(found[found.step == 4].probe) == {"word_pairs", "units"} and set(found[found.step == 8].probe) == {"units"}
    assert commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), []) == 0
    assert ordered(sparse).equals(ordered(trained))


def test_a_pattern_of_several_runs_goes_run_by_run(trained, sparse, capsys):
    shutil.copytree(trained, sparse.parent / "other")
    assert commands.probe({"ckpt": f"{sparse.parent}/*/last.ckpt", "probe": "units"}, (), []) == 0
    assert set(read_table(sparse / "scores.parquet").step) == {4, 12}
    with pytest.raises(RequestError, match="quote the pattern"):
        commands.probe({"ckpt": f"{sparse.parent}/none*/*.ckpt"}, (), [])


def test_runs_of_one_split_share_corpus_and_probes_and_those_of_another_do_not(trained, tmp_path, monkeypatch):
    built = []
    real = probing.ground
    monkeypatch.setattr(probing, "ground", lambda *given: built.append(given) or real(*given))
    for name in ("a", "b", "c"):
        shutil.copytree(trained, tmp_path / name)
        (tmp_path / name / "scores.parquet").unlink()
    split = json.loads((trained / "split.json").read_text())
    (tmp_path / "c" / "split.json").write_text(json.dumps(split | {"held_types": sorted({*split["held_types"], "zebra"})}))
    assert commands.probe({"ckpt": f"{tmp_path}/?/last.ckpt"}, (), []) == 0
    assert len(built) == 2
    tables = [ordered(tmp_path / name).drop(columns="run") for name in ("a", "b", "c")]
    whole = ordered(trained).drop(columns="run")
    expected = whole[whole.step == 12].reset_index(drop=True)
    assert all(table.equals(expected) for table in tables[:2]) and len(tables[2])


def test_an_unreadable_checkpoint_is_named_and_the_others_are_probed(trained, sparse, capsys):
    (sparse / "step=000008.ckpt").write_bytes(b"half a file")
    assert commands.probe({"ckpt": f"{sparse}/*.ckpt", "probe": "units"}, (), []) == 1
    assert set(read_table(sparse / "scores.parquet").step) == {4, 12} and "cannot be read" in capsys.readouterr().out


class DiesError(Exception):
    pass


def test_a_checkpoint_that_is_being_written_is_not_taken(trained, sparse, capsys):
    shutil.copy(trained / "step=000012.ckpt", sparse / ".step=000016.ckpt.77-0abc.ckpt")
    assert commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), []) == 0
    assert [path.name for path in backfill.checkpoints(sparse)] == [f"step={step:06}.ckpt" for step in (4, 8, 12)] + ["last.ckpt"]
    shutil.copy(trained / "step=000012.ckpt", sparse / ".step=000016.ckpt")
    (sparse / ".step=000016.ckpt.77-0abc.ckpt").write_bytes(b"half")
    assert commands.probe({"ckpt": str(sparse)}, (), []) == 0 and "left out" not in capsys.readouterr().out


def test_a_killed_probing_goes_on_where_it_was(trained, tmp_path, monkeypatch, capsys):
    target = probing.checkpoint_target(trained / "step=000008.ckpt", tmp_path)
    config, split = probing.checkpoint_config(trained / "step=000008.ckpt", (), [])
    on = probing.ground(config, None, split, None)
    ran = []

    def run(codec, probes, context, *_):
        (name,) = probes
        ran.append(name)
        if len(ran) == 2:
            raise DiesError
        return real(codec, probes, context)

    real = probing.run_probes
    monkeypatch.setattr("laminal.probing.run_probes", run)
    with pytest.raises(DiesError):
        probing.probe(target, on)
    assert ran == ["word_pairs", "units"] and set(read_table(tmp_path / "scores.parquet").probe) == {"word_pairs"}
    results = probing.probe(target, on)
    assert ran == ["word_pairs", "units", "units"] and {"word_pairs", "units"} <= results.probes
    assert "word_pairs stored before and not repeated" in capsys.readouterr().out
    whole = read_table(trained / "scores.parquet")
    found = read_table(tmp_path / "scores.parquet")
    names = [*KEY, "value", "low", "high"]
    assert found[names].equals(whole[whole.step == 8][names].reset_index(drop=True))
    probing.probe(target, on)  # one that was finished is measured again, and held against what is stored
    assert ran[3:] == ["word_pairs", "units"] and "largest difference to them: 0" in capsys.readouterr().out


def test_what_comes_from_the_cache_is_said_and_written_down(trained, tmp_path, capsys):
    target = probing.checkpoint_target(trained / "step=000008.ckpt", tmp_path / "out")
    config, split = probing.checkpoint_config(trained / "step=000008.ckpt", (), [])
    on = probing.ground(config, ["word_pairs"], split, CodesCache(tmp_path / "codes"))

    def record():
        manifest = json.loads((target.folder / "manifest.json").read_text())
        ((_, probed),) = [each for each in manifest.items() if each[0].startswith("probing/")]
        return probed["probes"]["word_pairs"]

    probing.probe(target, on)
    assert "from the cache" not in capsys.readouterr().out and "recalled" not in record()
    probing.probe(target, on)
    said = capsys.readouterr().out
    assert "word_pairs: estimates of these features and pairs (1 of 1 samples) are from the cache; cache=off makes them again" in said
    assert "largest difference to them: 0" in said and record()["recalled"] == 1


@pytest.mark.slow
def test_a_probing_killed_for_real_leaves_whole_files_and_goes_on(trained, sparse):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, str(root / "probe.py"), f"ckpt={sparse}/*.ckpt"]
    running = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in running.stdout:
        if "step 8: probed" in line or "step 12: probed" in line:
            break
    running.kill()
    running.wait()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and ordered(sparse).equals(ordered(trained)), done.stderr[-2000:]


# watch


def watched(folder: Path, sleep, **own) -> int:
    return watch.run({"watch": str(folder), "probe": "units", "poll": 0.01, "patience": 0.05} | own, (), [], sleep)


def test_checkpoints_are_probed_as_they_appear_until_the_training_is_done(trained, sparse, capsys):
    """Files come one by one; one of them is first seen half-written; the last is there when the training says that it is done."""
    hidden = sparse.parent / "hidden"
    hidden.mkdir()
    for name in ("step=000008.ckpt", "step=000012.ckpt", "last.ckpt"):
        (sparse / name).rename(hidden / name)
    manifest = runfolder.read_manifest(sparse)
    total = manifest.pop("generator_steps")
    runfolder.write_json(sparse / "manifest.json", manifest)
    seen = []

    def sleep(_):
        seen.append(set(read_table(sparse / "scores.parquet").query("probe == 'units'").step))
        content = (hidden / "step=000008.ckpt").read_bytes()
        if len(seen) == 1:
            (sparse / "step=000008.ckpt").write_bytes(content[: len(content) // 2])
        elif len(seen) == 2:
            (sparse / "step=000008.ckpt").write_bytes(content)
        elif len(seen) == 3:
            for name in ("step=000012.ckpt", "last.ckpt"):
                shutil.copy(hidden / name, sparse / name)
            runfolder.update_manifest(sparse, generator_steps=total)

    assert watched(sparse, sleep, patience=60) == 0
    assert seen[0] == {4} and seen[2] == {4, 8} and len(seen) == 3
    found, whole = ordered(sparse), ordered(trained)
    names = ["units"]
    assert found[found.probe.isin(names)].reset_index(drop=True).equals(whole[whole.probe.isin(names)].reset_index(drop=True))
    assert "left out" not in capsys.readouterr().out


def test_a_training_that_died_is_not_waited_for_without_end(sparse, capsys):
    manifest = runfolder.read_manifest(sparse)
    del manifest["generator_steps"]
    runfolder.write_json(sparse / "manifest.json", manifest)
    assert watched(sparse, lambda _: None) == 1 and "no process holds it" in capsys.readouterr().out


def test_a_training_that_runs_is_waited_for_beyond_patience(sparse, capsys):
    manifest = runfolder.read_manifest(sparse)
    total = manifest.pop("generator_steps")
    runfolder.write_json(sparse / "manifest.json", manifest)
    lock, waits = runfolder.Lock(sparse), []

    def sleep(_):
        waits.append(1)
        if len(waits) == 20:
            runfolder.update_manifest(sparse, generator_steps=total)
            lock.release()

    assert watched(sparse, sleep) == 0 and len(waits) == 20


def test_ctrl_c_ends_it_and_the_same_words_go_on(sparse, capsys):
    manifest = runfolder.read_manifest(sparse)
    total = manifest.pop("generator_steps")
    runfolder.write_json(sparse / "manifest.json", manifest)

    def interrupt(_):
        raise KeyboardInterrupt

    assert watched(sparse, interrupt) == 130 and f"watch={sparse} goes on" in capsys.readouterr().out
    runfolder.update_manifest(sparse, generator_steps=total)
    assert watched(sparse, interrupt) == 0 and "probed" not in capsys.readouterr().out.replace("as last", "")


def test_a_wrong_watch_is_one_line(tmp_path):
    with pytest.raises(RequestError, match="no such folder"):
        watched(tmp_path / "none", time.sleep)
    with pytest.raises(RequestError, match="poll=often: seconds"):
        watched(tmp_path, time.sleep, poll="often")


# the tables under two writers


def one(step: int) -> Results:
    score = Score(probe="p", metric="m", value=1.0, low=1.0, high=1.0, n=1, clusters=1, chance=0.0, higher_is_better=None, unit="")
    return Results(Context(run="r", codec="c", revision="1", step=step, epoch=step, corpus="k"), [score])


def test_two_writers_lose_no_row(tmp_path):
    def write(steps):
        for step in steps:
            store(tmp_path, one(step))
            runfolder.update_manifest(tmp_path, **{f"step{step}": step})

    threads = [threading.Thread(target=write, args=(range(start, 24, 2),)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_table(tmp_path / "scores.parquet").step) == list(range(24)) and len(runfolder.read_manifest(tmp_path)) == 24


def test_results_come_back_as_they_were_stored(trained):
    scores = read_table(trained / "scores.parquet")
    row = scores[scores.step == 8].iloc[0]
    context = Context(run="whole", codec=row.codec, revision=row.revision, step=8, corpus=row.corpus)
    found = stored(trained, context, {"word_pairs", "units"})
    table = found.score_table()
    names = [*KEY, "value", "low", "high", "n", "clusters", "higher_is_better", "unit", "chance"]
    assert table[names].equals(scores[scores.step == 8][names].astype({"higher_is_better": "boolean"}).reset_index(drop=True))
    items = read_table(trained / "items.parquet")
    back = found.item_table().to_pandas()
    keys = ["probe", "setting", "layer", "split", "metric", "item", "a", "b", "cluster", "value"]
    for each in (items, back):
        each[keys[:-1]] = each[keys[:-1]].astype(str)
    left = items[items.step == 8][keys].sort_values(keys).reset_index(drop=True)
    assert left.equals(back[keys].sort_values(keys).reset_index(drop=True))


# dashboards and the leaderboard


class Shown:
    """A sink that notes what it is given."""

    def __init__(self):
        self.probed, self.closed = [], 0

    def probe(self, results):
        self.probed.append((results.context.epoch, len(results.scores), len(results.items)))

    def close(self):
        self.closed += 1


def test_dashboards_get_what_was_probed_once_and_not_while_the_training_writes(sparse, monkeypatch, capsys):
    sink = Shown()
    monkeypatch.setattr(backfill, "sinks_of", lambda config, folder, late: [sink] if late else [])
    lock = runfolder.Lock(sparse)
    commands.probe({"ckpt": f"{sparse}/*.ckpt", "probe": "units"}, (), [])
    assert not sink.probed and "is being trained" in capsys.readouterr().out
    lock.release()
    commands.probe({"ckpt": f"{sparse}/*.ckpt", "probe": "units"}, (), [])
    assert [epoch for epoch, *_ in sink.probed] == [1, 2] and all(scores and items for _, scores, items in sink.probed) and sink.closed == 1
    commands.probe({"ckpt": f"{sparse}/*.ckpt", "probe": "units"}, (), [])
    assert len(sink.probed) == 2
    commands.probe({"ckpt": f"{sparse}/*.ckpt", "probe": "units"}, (), ["probes.units.utterances=7"])
    assert len(sink.probed) == 2  # measured otherwise than the run: not on its curve


@pytest.mark.slow
def test_scores_go_into_the_same_wandb_run_offline(sparse, monkeypatch, tmp_path):
    from test_dashboard import of, records, rows

    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = runfolder.read_config(sparse)
    made.log.logger = "wandb"
    runfolder.write_config(sparse, made)
    runfolder.update_manifest(sparse, wandb_id="abcd1234")
    (sparse / "wandb" / "offline-run-20260101_000000-abcd1234").mkdir(parents=True)  # the part that the training logged
    commands.probe({"ckpt": f"{sparse}/*.ckpt"}, (), [])
    (part,) = (records(path) for path in (sparse / "wandb").glob("offline-run-*/*.wandb"))
    assert of(part, "run")[0].run_id == "abcd1234" and of(part, "run")[0].starting_step == 0
    logged = [row for row in rows(part) if "probe/epoch" in row]
    assert [row["probe/epoch"] for row in logged] == [1, 2]
    stored_rows = read_table(sparse / "scores.parquet")
    for row in logged:
        here = stored_rows[(stored_rows.epoch == row["probe/epoch"]) & (stored_rows.metric == "perplexity") & (stored_rows.layer == "1")]
        assert row["probe/units/perplexity/L01"] == here.value.item()
        assert not any(name.startswith(("listening/", "plots/")) for name in row)  # those in the folder are of the end
    assert "model" not in {artifact.type for artifact in of(part, "artifact")}
    assert {row["_step"] for row in logged} == {10_000_000, 10_000_001}
    assert runfolder.read_manifest(sparse)[backfill.WAITING] == []


def test_the_leaderboard_has_a_row_for_every_run(trained, sparse):
    shutil.copytree(trained, sparse.parent / "other")
    text = leaderboard.write(sparse.parent).read_text()
    scores = read_table(trained / "scores.parquet")
    assert text.count("<tr><td>") == 2 and "<td>epoch 2</td>" in text and "<td>epoch 0</td>" in text
    value = scores[(scores.step == 12) & (scores.metric == "pnmi") & (scores.layer == "1")].value.iloc[0]
    assert f"<td>{value:.3g} ±" in text and "http" not in text.split("<script>")[-1]
    with pytest.raises(RequestError, match="leaderboard="):
        leaderboard.write(trained)
