"""Trainings of milliseconds a step: a corpus of chirps, settings, and what two runs differ in."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from omegaconf import DictConfig

from laminal import config, experiment, training
from laminal.corpora import textgrid
from laminal.corpora.base import Interval

WORDS = (("big", "B IH G"), ("large", "L AA R JH"), ("dog", "D AO G"), ("fog", "F AO G"), ("road", "R OW D"), ("path", "P AE TH"))


def chirps(root: Path) -> Path:
    """Six speakers who say six words in chirps, four times: enough for a split, pairs and every probe."""
    rng = np.random.default_rng(0)
    for speaker in range(6):
        for number in range(4):
            words, phones, sound, at = [], [], [], 0.0
            for index in rng.permutation(len(WORDS)):
                word, said = WORDS[index]
                length = 0.3 + 0.02 * speaker
                clock = np.arange(round(length * 16000)) / 16000
                pitch = 100 + 30 * speaker
                sound.append(0.3 * np.sin(2 * np.pi * (pitch + 60 * index) * clock) + 0.02 * rng.normal(size=len(clock)))
                words.append(Interval(word, at, at + length))
                step = length / len(said.split())
                phones += [Interval(p, at + i * step, at + (i + 1) * step) for i, p in enumerate(said.split())]
                at += length
            folder = root / f"s{speaker}"
            folder.mkdir(exist_ok=True)
            soundfile.write(folder / f"s{speaker}_{number}.wav", np.concatenate(sound), 16000)
            (folder / f"s{speaker}_{number}.txt").write_text(" ".join(word.label for word in words))
            tiers = tuple(textgrid.Tier(name, textgrid.filled(tier, at)) for name, tier in (("words", words), ("phones", phones)))
            textgrid.write(folder / f"s{speaker}_{number}.TextGrid", textgrid.TextGrid(0.0, at, tiers))
    return root


def small(corpus: Path) -> list[str]:
    """Overrides that make an experiment so small that a step takes milliseconds."""
    return [
        "corpus=folder", f"corpus.root={corpus}", "split.speakers=0.34", "trainer.epochs=2", "trainer.steps_per_epoch=4",
        "tokenizer.filters=4", "tokenizer.dim=16", "tokenizer.codebooks=2", "tokenizer.codebook_size=16",
        "tokenizer.quantizer.kmeans_frames=64",
        "data.seconds=0.5", "data.batch=2", "data.pairs=0", "data.validation_crops=2", "log.logger=csv", "log.every_steps=1",
        "losses.adversarial.n_ffts=[128,64]", "losses.adversarial.filters=2", "losses.mel.longest=9",
        "losses.adversarial.start=2", "losses.feature_matching.start=2",
        "probes.units.utterances=6", "probes.units.draws=1000", "probes.reconstruction=null", "probes.articulation=null",
        "optimizer.warmup_steps=2",
    ]  # fmt: skip


def settings(corpus: Path, *overrides: str, name: str = "plain_rvq") -> DictConfig:
    """The experiment `name`, small."""
    return experiment.resolved(config.load([name], [*small(corpus), *overrides]))


def train(made: DictConfig, folder: Path, resume: bool = False):
    folder.mkdir(parents=True, exist_ok=True)
    return training.train(made, folder, resume, [])


def weights(path: Path) -> dict:
    held = torch.load(path, weights_only=True)
    kept = {name: held[name] for name in ("state_dict", "optimizer_states", "epoch", "global_step")}
    own = {name: value for name, value in held["laminal"].items() if name != "facts"}  # facts: the id of the run at W&B
    return kept | {"laminal": own}


def differences(a, b, where="") -> list[str]:
    """Places at which two checkpoints differ, bit for bit."""
    if isinstance(a, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict):
        return [where] if a.keys() != b.keys() else [d for key in a for d in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)):
        return [where] if len(a) != len(b) else [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{where}/{i}")]
    return [] if a == b else [where]


def metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").sort_values(["step", "name"]).reset_index(drop=True)
