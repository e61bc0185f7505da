"""Recipes side by side, from stored runs."""

import json

import numpy as np
import pytest
from scipy.stats import t

from laminal.errors import RequestError
from laminal.report import recipes
from laminal.results import Context, Results, store
from oracle_report import pairs, score

STEPS = 20


def stored(folder, argv, seed=0, near=-0.1, stoi=0.6, step=STEPS, started="2026-01-01", version=1, clusters=100, corpus="spoken", n=300):
    """A run as train.py leaves it, its near-homophones `near` of random at codebook 1 and half of that at codebook 2."""
    run = folder / f"run{len(list(folder.iterdir()))}"
    rows = [
        pairs("near_homophone", share * near, layer=layer, layer_mode="cumulative", slice=slice, distance=distance, split=split,
              clusters=clusters, n=n, probe_version=version)
        for layer, share in (("latent", 3), ("1", 1), ("2", 0.5))
        for slice, distance in (("audio", "euclidean"), ("audio", "cosine"), ("features", "euclidean"))
        for split in ("all", "new_word")
        if (slice, distance) == ("audio", "euclidean") or share != 1
    ]  # fmt: skip
    purity = {"layer": "1", "layer_mode": "single", "low": 0.5, "high": 0.7, "chance": 0.5, "n": 50 * step}
    rows.append(score(probe="units", metric="phone_purity", value=0.6, **purity))
    for layer, value in (("1", 0.1), ("2", stoi)):
        given = {"layer": layer, "layer_mode": "cumulative", "low": value - 0.2, "high": value + 0.1}
        rows.append(score(probe="reconstruction", metric="stoi", value=value, **given))
    rows.append(score(probe="units", metric="bits_nominal", value=4000.0, low=4000.0, high=4000.0, unit="bit/s"))
    for at in (10, step):
        store(run, Results(Context(run=run.name, codec="laminal", revision=f"r{at}", corpus=corpus, epoch=at // 10, step=at), rows))
    about = {"argv": argv, "seed": seed, "generator_steps": STEPS, "corpus": corpus, "started": started}
    (run / "manifest.json").write_text(json.dumps(about))


def rows_of(text):
    """Cells of the one table, by the name of the row."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in lines}, [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")][1:]


def test_mean_over_seeds_with_an_interval_over_seeds_and_words(tmp_path):
    near = [-0.1, -0.16, -0.13]
    for seed, value in enumerate(near):
        stored(tmp_path, ["train.py", "--config", "semantic_rvq.yaml", f"seed={seed}", f"run=a{seed}", "out=/x"], seed, near=value)
    found, heads = rows_of(recipes.printed(tmp_path))
    half = np.sqrt((t.ppf(0.975, 2) * np.std(near, ddof=1)) ** 2 / 3 + 0.01**2)  # 0.01: each run's own, over words
    (cell,) = found["near-homophones over random, codebook 1, all, %"]
    assert heads == ["semantic_rvq (3 seeds)"]
    assert cell == f"{-13.0:.3g} ({100 * (-0.13 - half):.3g} to {100 * (-0.13 + half):.3g})"
    assert found["STOI"] == ["0.6 (0.4 to 0.7)"] and found["kbit/s"] == ["4 (4 to 4)"]
    assert not any("core synonyms" in name or "CKA" in name for name in found)  # nobody has them


def test_what_a_run_did_not_probe_comes_from_its_later_probings(tmp_path):
    stored(tmp_path, ["train.py", "--config", "a"], stoi=0.6)
    for name, started, eer, step, corpus, weights in (
        ("first", "2026-01-02", 0.4, STEPS, "spoken", ""), ("last", "2026-01-04", 0.3, STEPS, "spoken", ""),
        ("of_another_step", "2026-01-05", 0.2, 10, "spoken", ""), ("of_another_corpus", "2026-01-06", 0.1, STEPS, "librispeech", ""),
        ("of_other_weights", "2026-01-07", 0.05, STEPS, "spoken", "0" * 64),
    ):  # fmt: skip
        beside = tmp_path / "run0" / "probed" / name
        given = {"layer": "2", "low": eer - 0.05, "high": eer + 0.05, "n": 20}
        rows = [score(probe="speaker_verification", metric="eer", value=eer, **given)]
        rows.append(score(probe="reconstruction", metric="stoi", value=eer, **given))
        about = {"revision": "r", "ckpt_sha256": weights, "corpus": corpus, "epoch": step // 10, "step": step}
        store(beside, Results(Context(run="run0", codec="laminal", **about), rows))
        (beside / "manifest.json").write_text(json.dumps({f"probing/{corpus}/step={step}": {"started": started}}))
    found, _ = rows_of(recipes.printed(tmp_path))
    assert found["speaker EER, all codebooks"] == ["0.3 (0.25 to 0.35)*"]
    assert found["STOI"] == ["0.6 (0.4 to 0.7)*"]  # the run's own stays


def test_one_seed_has_its_own_interval_and_a_mark(tmp_path):
    stored(tmp_path, ["train.py", "--config=plain_rvq.yaml"])
    text = recipes.printed(tmp_path)
    assert rows_of(text)[0]["STOI"] == ["0.6 (0.4 to 0.7)*"] and "* fewer than 3 runs." in text


def test_recipes_are_told_apart_by_what_they_override(tmp_path):
    words = ["train.py", "--config", "lm_spt.yaml", "tokenizer.frame_rate=12.5"]
    for seed in range(2):
        stored(tmp_path, [*words, f"seed={seed}", "log.logger=csv", f"tokenizer.seed={seed}", "tokenizer.seed=5"], seed)
    stored(tmp_path, [*words[:3], "tokenizer.frame_rate=25", "trainer.devices=8", "teachers.semantic.path=/a/b/c/"], stoi=0.9)
    _, heads = rows_of(recipes.printed(tmp_path))
    assert heads == ["lm_spt teachers.semantic.path=c tokenizer.frame_rate=25 trainer.devices=8 (1 seed)",
                     "lm_spt tokenizer.frame_rate=12.5 tokenizer.seed=5 (2 seeds)"]  # fmt: skip


def test_the_later_of_two_runs_of_one_seed_counts(tmp_path):
    for started, stoi in (("2026-03-01", 0.8), ("2026-02-01", 0.2)):
        stored(tmp_path, ["train.py", "--config", "a"], stoi=stoi, started=started)
    found, heads = rows_of(recipes.printed(tmp_path))
    assert heads == ["a (1 seed)"] and found["STOI"][0].startswith("0.8 ")


def test_scores_of_older_versions_or_other_sizes_are_left_out_and_counted(tmp_path):
    for seed in range(3):
        stored(tmp_path, ["train.py", "--config", "a"], seed, version=2)
    stored(tmp_path, ["train.py", "--config", "b"], near=-0.9)  # of version 1
    stored(tmp_path, ["train.py", "--config", "c"], version=2, clusters=50, near=-0.9)
    stored(tmp_path, ["train.py", "--config", "d"], version=2, n=20, near=-0.9)
    text = recipes.printed(tmp_path)
    assert rows_of(text)[0]["near-homophones over random, codebook 1, all, %"] == ["-10 (-11 to -9)", "-", "-", "-"]
    assert "6 scores of other sizes or older versions" in text  # two splits of three runs


def test_the_newest_version_counts_though_most_runs_have_another(tmp_path):
    for seed in range(3):
        stored(tmp_path, ["train.py", "--config", "a"], seed, near=-0.9, version=2 if seed == 2 else 1)
    assert rows_of(recipes.printed(tmp_path))[0]["near-homophones over random, codebook 1, all, %"] == ["-90 (-91 to -89, n = 1)*"]


def test_chance_is_taken_off_purity_and_its_frames_need_not_agree(tmp_path):
    for rate in (12.5, 50):
        stored(tmp_path, ["train.py", "--config", "a", f"tokenizer.frame_rate={rate}"], step=int(STEPS + rate))
    assert rows_of(recipes.printed(tmp_path))[0]["phone purity above chance, codebook 1"] == ["0.1 (0 to 0.2)*"] * 2


def test_scores_of_another_corpus_in_the_same_run_are_not_taken(tmp_path):
    stored(tmp_path, ["train.py", "--config", "a"])
    (run,) = tmp_path.iterdir()
    for at in (10, 15, STEPS):
        rows = [score(probe="reconstruction", metric="stoi", layer="2", layer_mode="cumulative", value=0.2)]
        store(run, Results(Context(run=run.name, codec="laminal", revision="r", corpus="librispeech", epoch=at, step=at), rows))
    assert rows_of(recipes.printed(tmp_path))[0]["STOI"] == ["0.6 (0.4 to 0.7)*"]


def test_runs_of_other_corpora_are_other_tables_and_unfinished_ones_none(tmp_path):
    stored(tmp_path, ["train.py", "--config", "a"])
    stored(tmp_path, ["train.py", "--config", "a"], corpus="librispeech", seed=1)
    stored(tmp_path, ["train.py", "--config", "b"], step=15)
    stored(tmp_path, ["probe.py", "ckpt=x"])
    first, second = recipes.printed(tmp_path).split("\n\n* fewer than 3 runs.\n\n")
    assert first.startswith("librispeech, 20 generator steps") and second.startswith("spoken, 20 generator steps")
    assert "| b" not in second and "train" not in second


def test_corpora_of_one_name_are_other_tables_and_where_they_lie_is_no_recipe(tmp_path):
    for number, sha256 in enumerate(("a" * 64, "a" * 64, "b" * 64)):
        stored(tmp_path, ["train.py", "--config", "a", f"corpus.root=/data{number}"], seed=number, stoi=0.6 + 0.1 * number)
        path = tmp_path / f"run{number}" / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"corpus_sha256": sha256}))
    first, second = recipes.printed(tmp_path).split("\n\nspoken")
    assert first.startswith("spoken (aaaaaaaa), ") and second.startswith(" (bbbbbbbb), ")
    assert "| a (2 seeds) |" in first and "0.65 (" in first and "| a (1 seed) |" in second and "0.8 (" in second


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no run with scores.parquet"):
        recipes.printed(tmp_path)


def beside(folder, run, name, layers, corpus_sha256="", metric="eer", probe="speaker_verification"):
    """A later probing of a run, with other settings than the run's."""
    rows = [score(probe=probe, metric=metric, layer=layer, value=value, low=value - 0.05, high=value + 0.05, n=20)
            for layer, value in layers.items()]  # fmt: skip
    about = {"revision": "r", "corpus": "spoken", "corpus_sha256": corpus_sha256, "epoch": 2, "step": STEPS}
    store(folder / run / "probed" / name, Results(Context(run=run, codec="laminal", **about), rows))


def test_all_codebooks_are_all_of_the_run_not_of_a_probing(tmp_path):
    stored(tmp_path, ["train.py", "--config", "a"])  # 2 codebooks
    beside(tmp_path, "run0", "one", {"1": 0.4})
    found, _ = rows_of(recipes.printed(tmp_path))
    assert found["speaker EER, codebook 1"] == ["0.4 (0.35 to 0.45)*"] and "speaker EER, all codebooks" not in found


@pytest.mark.parametrize("other", [{"name": "recipes_real"}, {"name": "recipes", "corpus_sha256": "b" * 64}])
def test_probings_with_other_settings_or_corpora_are_not_averaged(tmp_path, other):
    for seed in range(3):
        stored(tmp_path, ["train.py", "--config", "a"], seed)
        beside(tmp_path, f"run{seed}", **({"name": "recipes"} | (other if seed == 2 else {})), layers={"2": 0.9 if seed == 2 else 0.3})
    text = recipes.printed(tmp_path)
    assert rows_of(text)[0]["speaker EER, all codebooks"] == ["0.3 (0.25 to 0.35, n = 2)*"] and "1 scores of other" in text
