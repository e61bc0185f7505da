"""Encode once: a second run of all probes touches no encoder, several processes share a cache and the work, a killed run goes on."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from laminal import cache as codes_cache
from laminal import progress, word_shards
from laminal.corpora.base import Corpus
from laminal.encoded import utterance_frames
from laminal.errors import RequestError
from laminal.features import word_features
from laminal.probes.reconstruction import Reconstruction
from laminal.probes.run import fill, run_probes
from laminal.probes.units import Units
from laminal.probes.word_pairs import WordPairs
from laminal.results import Context
from laminal.words import tokens
from oracle_pairs import FakeCodec, noise_corpus

ROOT = Path(__file__).resolve().parents[1]


class Encoder(FakeCodec):
    """Hidden states as layers, no codes: a self-supervised encoder."""

    codes_and_latent = property()  # hasattr: no

    def __init__(self):
        super().__init__()
        self.codebooks, self.codebook_size = 0, 0

    def layers(self, wav):
        latent = self.latent(wav)
        return {"0": latent, "1": latent * 2 + 1}


class Plain(FakeCodec):
    """Codes, and no common pass."""

    codes_and_latent = property()


CODECS = {"codes": FakeCodec, "plain": Plain, "ssl": Encoder}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=3, utterances=2)


def probes(corpus, cache):
    made = {
        "word_pairs": WordPairs(
            corpus, None, style="matched", slices=["audio", "features"], distances=["euclidean"], modes=["cumulative"], maximum=300,
            tier_maximum=None, token_pairs=2, randoms=2, draws=1000, items=[], seed=0,
        ),
        "units": Units(corpus, None, utterances=6, nulls=1, cells=30, maximum=50, draws=1000, seed=0),
        "reconstruction": Reconstruction(
            corpus, None, utterances=5, seconds=1.0, codebooks=[1], pesq_codebooks=[1], speaker=None, asr=None, draws=1000, seed=0
        ),
    }  # fmt: skip
    for probe in made.values():
        probe.cache = cache
    return made


def table(codec, corpus, cache) -> pd.DataFrame:
    context = Context(run="r", codec=codec.name, revision=codec.revision, corpus=corpus.name)
    return run_probes(codec, probes(corpus, cache), context).score_table()


def deaf(codec):
    """The codec without its encoder."""

    def latent(wav):
        raise AssertionError("encoded again")

    codec.latent = latent
    return codec


@pytest.mark.parametrize("kind", CODECS)
def test_a_second_run_of_all_probes_touches_no_encoder(corpus, tmp_path, kind):
    make = CODECS[kind]
    plain = table(make(), corpus, None)
    assert set(plain.probe) == ({"word_pairs", "units"} if kind == "ssl" else {"word_pairs", "units", "reconstruction"})
    cold = table(make(), corpus, codes_cache.open_cache(tmp_path))
    warm = table(deaf(make()), corpus, codes_cache.open_cache(tmp_path))
    pd.testing.assert_frame_equal(cold, plain, check_exact=True)
    pd.testing.assert_frame_equal(warm, plain, check_exact=True)
    with pytest.raises(AssertionError, match="encoded again"):
        table(deaf(make()), corpus, None)


def test_shares_together_are_the_whole(corpus, tmp_path, monkeypatch, size=3):
    for name in ("BLOCK_TOKENS", "PART_TOKENS"):
        monkeypatch.setattr(word_shards, name, 40)
    whole = table(FakeCodec(), corpus, codes_cache.open_cache(tmp_path / "whole"))
    made = []
    for rank in range(size):
        cache = codes_cache.open_cache(tmp_path / "shared")
        fill(FakeCodec(), probes(corpus, cache), (rank, size))
        made.append(cache.misses)
    assert min(made) > 2 and sum(made) == len(list((tmp_path / "shared").rglob("*.npz")))  # nothing twice
    again = table(deaf(FakeCodec()), corpus, codes_cache.open_cache(tmp_path / "shared"))
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    shared = {path.name: path.read_bytes() for path in (tmp_path / "shared").rglob("*.npz")}
    assert shared == {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.npz")}


def test_frames_of_an_utterance_are_those_of_all_frames(corpus, tmp_path):
    codec, utterance = FakeCodec(), corpus[0]
    wav = corpus.wav(utterance, 16_000)[None]
    spans = tuple((phone.start, phone.end) for phone in utterance.phones[3:9])
    every = codec.layers(wav)
    for _ in range(2):
        found = utterance_frames(codec, corpus, utterance, spans, codes_cache.open_cache(tmp_path))
        np.testing.assert_array_equal(found.codes, codec.encode(wav)[0].numpy())
        assert set(found.layers) == set(every) and 0 < len(found.frames) < found.codes.shape[1]
        for name, layer in every.items():
            np.testing.assert_allclose(found.layers[name], layer[0, found.frames].numpy(), atol=1e-6)
    centres = (found.frames + 0.5) / 50
    assert all(any(start - 1e-9 <= centre <= end + 1e-9 for start, end in spans) for centre in centres)


def test_units_leave_out_cells_of_unreadable_utterances(corpus, tmp_path):
    def broken(number):
        return Corpus("x", tuple(replace(u, path=tmp_path / "gone.wav") if i == number else u for i, u in enumerate(corpus)))

    whole, partial = (
        [s for s in run_probes(FakeCodec(), {"units": probes(each, None)["units"]}, Context(run="r", codec="c", revision="v")).scores]
        for each in (corpus, broken(1))
    )
    counts = [next(s.n for s in scores if s.metric == "abx_across") for scores in (whole, partial)]
    assert 2 <= counts[1] < counts[0]


@pytest.mark.filterwarnings("ignore:cache")
def test_the_limit_keeps_what_was_used_last(tmp_path):
    kept = codes_cache.CodesCache(tmp_path, limit=100_000)
    clock = time.time() - 1000
    for number in range(9):
        kept.store(f"{number:064d}", codes=np.zeros(10_000, np.uint8))
        os.utime(kept._path(f"{number:064d}"), (clock + number, clock + number))
    assert len(list(tmp_path.rglob("*.npz"))) == 9
    assert kept.fetch(f"{0:064d}", ("codes",)) is not None  # used just now
    for number in range(9, 12):
        kept.store(f"{number:064d}", codes=np.zeros(10_000, np.uint8))
    left = {int(path.stem) for path in tmp_path.rglob("*.npz")}
    assert 0 in left and 1 not in left and {9, 10, 11} <= left and sum(p.stat().st_size for p in tmp_path.rglob("*.npz")) <= 100_000


def test_a_limit_below_what_a_run_needs_is_said_and_changes_no_number(corpus, tmp_path, monkeypatch):
    for name in ("BLOCK_TOKENS", "PART_TOKENS"):
        monkeypatch.setattr(word_shards, name, 20)
    plain = word_features(FakeCodec(), corpus, tokens(corpus), "features")
    with pytest.warns(UserWarning, match="raise cache.limit"):
        bounded = word_features(FakeCodec(), corpus, tokens(corpus), "features", codes_cache.open_cache(tmp_path, "20 KB"))
    np.testing.assert_array_equal(bounded.values, plain.values)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npz")) <= 20_000


def test_what_killed_processes_left_goes(tmp_path):
    kept = codes_cache.CodesCache(tmp_path, limit=100_000)
    kept.store("0" * 64, codes=np.zeros(10, np.uint8))
    old, new = tmp_path / "00" / ".x.npz.1-a.npz", tmp_path / "00" / ".y.npz.1-b.npz"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    codes_cache.CodesCache(tmp_path, limit=100_000).store("1" * 64, codes=np.zeros(10, np.uint8))
    assert not old.exists() and new.exists()


def test_sizes_and_where_the_cache_is(tmp_path, monkeypatch):
    assert codes_cache.parsed_size("20GB") == 20 * 10**9 and codes_cache.parsed_size("1.5 mb") == 1_500_000
    assert codes_cache.parsed_size(1000) == 1000 and codes_cache.parsed_size("1e9") == 10**9 and codes_cache.parsed_size(None) is None
    for wrong in ("much", "-1", "0", "1.2.3GB", "5 XB"):
        with pytest.raises(RequestError, match="cache.limit"):
            codes_cache.parsed_size(wrong)
    monkeypatch.setenv("LAMINAL_CACHE", str(tmp_path))
    monkeypatch.delenv("LAMINAL_CODES")
    usual = codes_cache.usual_cache()
    assert usual.folder == tmp_path / "codes" and usual.limit == 20 * 10**9
    assert codes_cache.usual_cache(False) is None and codes_cache.usual_cache("off") is None  # YAML reads off as false
    assert codes_cache.usual_cache(str(tmp_path / "x"), "1GB") == codes_cache.CodesCache(tmp_path / "x", 10**9)
    monkeypatch.setenv("LAMINAL_CODES", "off")
    assert codes_cache.usual_cache() is None


def hammer(folder, corpus, seed, out):
    torch.set_num_threads(1)
    word_shards.BLOCK_TOKENS = word_shards.PART_TOKENS = 20
    kept = codes_cache.open_cache(folder, "200KB")
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(6):
        values.append(word_features(FakeCodec(), corpus, tokens(corpus), "features", kept).values.tobytes())
        for path in list(Path(folder).rglob("*.npz")):
            if generator.random() < 0.1:
                path.write_bytes(b"broken by another")
            elif generator.random() < 0.1:
                path.unlink(missing_ok=True)
    out.put((values, kept.hits, len(kept.corrupt)))


@pytest.mark.filterwarnings("ignore:cache")
def test_several_processes_use_break_and_empty_one_cache_at_once(corpus, tmp_path, monkeypatch):
    for name in ("BLOCK_TOKENS", "PART_TOKENS"):
        monkeypatch.setattr(word_shards, name, 20)
    expected = word_features(FakeCodec(), corpus, tokens(corpus), "features").values.tobytes()
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    working = [context.Process(target=hammer, args=(tmp_path / "cache", corpus, seed, out)) for seed in range(3)]
    for process in working:
        process.start()
    results = [out.get(timeout=120) for _ in working]
    for process in working:
        process.join()
    assert all(value == expected for values, _, _ in results for value in values)
    assert sum(hits for _, hits, _ in results) > 0 and sum(corrupt for *_, corrupt in results) > 0


def test_bars_are_shown_only_where_asked(capsys, monkeypatch):
    assert list(progress.track(range(3), "words", 3)) == [0, 1, 2] and capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress.shown():
        list(progress.track(range(4), "words", 4))
    said = capsys.readouterr().err
    assert "words: 25 %, 0 s left" in said and "words: 100 %" in said
    assert [progress.duration(s) for s in (5, 600, 7200)] == ["5 s", "10 min", "2.0 h"]


CODEC = """
import os, time, torch
class Mine:
    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "mine", 16000, 50.0, 2, 16, "1"
    def __init__(self, log, wait=0.0):
        self.log, self.wait = log, wait
    def encode(self, wav):
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()} {wav.shape[0]} {wav.shape[1]}\\n")
        time.sleep(self.wait)
        mean = torch.nn.functional.avg_pool1d(wav[:, None], 320, ceil_mode=True)[:, 0]
        return torch.stack([(mean > 0).long(), (mean.abs() * 500).round().long().clamp(max=15)], 1)
    def decode(self, codes):
        size = codes[:, 1] / 500 if codes.shape[1] > 1 else torch.full(codes[:, 0].shape, 0.01)
        return ((codes[:, 0] * 2 - 1) * size).repeat_interleave(320, dim=1)
    def codes_and_latent(self, wav):
        codes = self.encode(wav)
        return codes, self.layers(codes)["2"] * 1.1
    def layers(self, given):
        codes = given if not given.is_floating_point() else self.encode(given)
        first = torch.stack([codes[:, 0] * 2.0 - 1, torch.ones(codes.shape[0], codes.shape[2])], -1)
        layers = {"1": first}
        if codes.shape[1] > 1:
            layers["2"] = first + torch.stack([torch.zeros(codes.shape[0], codes.shape[2]), codes[:, 1] / 15], -1)
        return layers if given is codes else {"latent": layers["2"] * 1.1} | layers
"""


def command(folder: Path, speech: Path, name: str, cache: Path | str, *more: str, ranks: int = 1) -> list[str]:
    """probe.py with all probes, small; blocks of words as in the product, utterances and excerpts one by one."""
    (folder / "mine.py").write_text(CODEC)
    OmegaConf.save({"base": "probe", "probes": {
        "word_pairs": {"maximum": 300, "token_pairs": 1, "randoms": 1}, "units": {"utterances": 12, "cells": 20, "nulls": 1},
        "reconstruction": {"utterances": 4, "seconds": 1.0, "codebooks": [1]},
    }}, folder / "small.yaml")  # fmt: skip
    head = [sys.executable] if ranks == 1 else [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)
    ]  # fmt: skip
    return [
        *head, str(ROOT / "probe.py"), f"codec={folder}/mine.py:Mine", f"codec.log={folder / name}.log", "--config",
        str(folder / "small.yaml"), "corpus=folder", f"corpus.root={speech}", f"out={folder / name}", f"cache={cache}", *more,
    ]  # fmt: skip


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "WANDB_MODE": "offline"}


def probed(line: list[str]) -> None:
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


CHECKED = (["3", "32000"], ["1", "960"])  # what the contract's check encodes at the start


def calls(log: Path) -> list[list[str]]:
    """Process, batch and samples of every encoding of the corpus."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.is_file() else []
    return [line for line in lines if line[1:] not in CHECKED]


@pytest.mark.slow
def test_two_ranks_give_the_scores_of_one_and_a_killed_run_goes_on(tiny_corpus, tmp_path):
    cache = tmp_path / "cache"
    probed(command(tmp_path, tiny_corpus, "one", cache))
    scores = pd.read_parquet(tmp_path / "one" / "scores.parquet").drop(columns="run")
    whole = len(calls(tmp_path / "one.log"))
    assert set(scores.probe) == {"word_pairs", "units", "reconstruction"} and whole > 12
    probed(command(tmp_path, tiny_corpus, "again", cache))
    assert calls(tmp_path / "again.log") == []

    probed(command(tmp_path, tiny_corpus, "two", "off", ranks=2))
    made = calls(tmp_path / "two.log")
    assert len(made) == whole and len({process for process, *_ in made}) == 2  # nothing twice, nobody idle
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "two" / "scores.parquet").drop(columns="run"), scores, check_exact=True)

    line = command(tmp_path, tiny_corpus, "killed", tmp_path / "cache of the killed", "codec.wait=0.25")
    running = subprocess.Popen(line, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 200
    while len(calls(tmp_path / "killed.log")) < whole - 8 and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = len([path for path in (tmp_path / "cache of the killed").rglob("*.npz") if not path.name.startswith(".")])
    done = tmp_path / "killed" / "scores.parquet"  # written probe by probe
    assert before > 2 and (not done.exists() or set(pd.read_parquet(done).probe) < set(scores.probe))
    (tmp_path / "killed.log").unlink()
    probed(command(tmp_path, tiny_corpus, "killed", tmp_path / "cache of the killed"))
    assert 0 < len(calls(tmp_path / "killed.log")) <= 9
    other = pd.read_parquet(tmp_path / "killed" / "scores.parquet").drop(columns="run")
    pd.testing.assert_frame_equal(other, scores, check_exact=True)
