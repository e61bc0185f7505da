"""Are the shipped teachers worth distilling from? Students of them against students of random networks of the same shape, 3 seeds.

python scripts/distill_teachers.py --speech DIR --librispeech DIR [--steps 400] [--out results/distillation.json]: about 20 minutes of one
core.

A student is the laptop tokenizer's encoder and quantizer, trained with semantic_distill on z_1, acoustic_align on z_2:K and commitment,
without decoder or any loss on the waveform, on the real speech of --speech (audio alone, as librispeech-untranscribed), which no teacher
has heard. Then it is judged on other speakers, those of --librispeech: phones by a linear classifier of codebook 1's frames and of the
latent's; the speaker by the pooled z_2:K of halves of recordings, as they are and each through an equaliser of its own, so that the
channel tells nothing.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure_teachers import random_ecapa, random_hubert
from omegaconf import OmegaConf
from teacher_phones import RATE, accuracy_table, collect, phone_accuracy
from teacher_speakers import halves, recoloured, speaker_errors, utterances
from torch import Tensor, nn

from laminal.atomic import write_json
from laminal.corpora.base import Corpus
from laminal.corpora.crops import Crops
from laminal.corpora.librispeech import librispeech
from laminal.corpora.split import make_split
from laminal.losses.acoustic_align import AcousticAlignLoss
from laminal.losses.semantic_distill import SemanticDistillLoss
from laminal.nn.tokenizer import Tokenizer
from laminal.teachers.ecapa import EcapaTeacher
from laminal.teachers.hubert import HubertTeacher

CONFIG = Path(__file__).parents[1] / "configs" / "tokenizer.yaml"
SEEDS = (0, 1, 2)
BATCH, PEAK = 16, 3e-3
SEMANTIC, ACOUSTIC, COMMITMENT = 20.0, 100.0, 10.0  # the voice weighs more than in configs: no other loss is there to shape the encoder


def teachers(kind: str, seed: int) -> tuple[HubertTeacher, EcapaTeacher]:
    """Give the shipped teachers, or networks of their shapes with random weights from `seed`."""
    if kind == "shipped":
        return HubertTeacher("shipped/hubert-small", "mean"), EcapaTeacher("shipped/ecapa-small")
    return random_hubert(seed), random_ecapa(seed)


def student(crops: Crops, kind: str, seed: int, steps: int) -> tuple[Tokenizer, AcousticAlignLoss]:
    """Train a student from `seed`; 0 steps gives it as it starts."""
    config = OmegaConf.create({"seed": seed, "tokenizer": OmegaConf.load(CONFIG)})
    settings: Any = OmegaConf.to_container(config.tokenizer, resolve=True)
    tokenizer = Tokenizer(**settings)
    frames, voice = teachers(kind, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        semantic = SemanticDistillLoss(frames, settings["dim"], "frame")
        acoustic = AcousticAlignLoss(voice, settings["dim"], heads=8)
    acoustic.fit([crops[steps + i] for i in range(32)], tokenizer.sample_rate)
    tokenizer.initialise((batch.wav, batch.mask) for batch in (crops[steps + i] for i in range(400)))
    modules = nn.ModuleList([tokenizer.encoder, tokenizer.quantizer, semantic, acoustic])
    optimizer = torch.optim.AdamW(modules.parameters(), PEAK, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=max(steps, 2), pct_start=0.1)
    for step in range(steps):
        batch = crops[step]
        out = coded(tokenizer, batch.wav, batch.mask)
        loss = SEMANTIC * semantic(out, batch) + ACOUSTIC * acoustic(out, batch) + COMMITMENT * out.commitment.mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            said = ", ".join(f"{name} {float(value):.3f}" for name, value in semantic.logged.items())
            print(f"{kind} seed {seed} step {step + 1}: loss {loss.item():.3f}, {said}", flush=True)
    return tokenizer.eval(), acoustic.eval()


def coded(tokenizer: Tokenizer, wav: Tensor, mask: Tensor) -> Any:
    """Run the tokenizer without its decoder, which no loss here reaches: its audio is the input."""
    decoder, tokenizer.decoder = tokenizer.decoder, Silent(wav)
    try:
        return tokenizer(wav, mask)
    finally:
        tokenizer.decoder = decoder


class Silent(nn.Module):
    """Stands in for the decoder."""

    def __init__(self, wav: Tensor) -> None:
        super().__init__()
        self.wav = wav

    def forward(self, z: Tensor) -> Tensor:
        """Give the input back."""
        return self.wav[:, None]


@dataclass(frozen=True)
class Voices:
    """Half recordings of real speakers, at most 10 s each, by how they were treated."""

    sets: dict[str, list[Tensor]]
    who: np.ndarray

    @classmethod
    def of(cls, corpora: list[Corpus]) -> "Voices":
        """Halves of all recordings of `corpora`, whose speakers are others in each."""
        told = [utterances(corpus, 99) for corpus in corpora]
        cut, who = halves([wav for wavs, _ in told for wav in wavs], np.concatenate([names for _, names in told]))
        cut = [half[: 10 * RATE] for half in cut]
        return cls({"as recorded": cut, "own equaliser": recoloured(cut, seed=0)}, who)


def judged(tokenizer: Tokenizer, acoustic: AcousticAlignLoss, real: Corpus, voices: Voices) -> dict[str, Any]:
    """Right or wrong for every frame (codebook 1, latent), and the pooled vectors of all half recordings."""

    def features(wav: Tensor) -> dict[str, Tensor]:
        out = coded(tokenizer, wav, torch.ones_like(wav, dtype=torch.bool))
        return {"codebook 1": out.sums[0][0], "latent": out.latent[0]}

    def voice(wav: Tensor) -> Tensor:
        out = coded(tokenizer, wav[None], torch.ones_like(wav, dtype=torch.bool)[None])
        return acoustic.voice(out.z_rest, out.frame_mask)[0]

    frames = collect(real, features)
    with torch.no_grad():
        pooled = {name: torch.stack([voice(half) for half in cut]) for name, cut in voices.sets.items()}
    return {"frames": frames, "right": phone_accuracy(frames, folds=3, every=4), "pooled": pooled}


def compared(shipped: dict[str, Any], random: dict[str, Any], who: np.ndarray) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Values of both students and the paired difference, [value, low, high] over speakers; and the draws of the error rates' difference."""
    row: dict[str, list[float]] = {}
    for layer in ("codebook 1", "latent"):
        frames = shipped["frames"]
        table = accuracy_table(frames, {"shipped": shipped["right"][layer], "random": random["right"][layer]}, "random")
        row |= {f"{layer}: shipped": table["shipped"][0].row, f"{layer}: random": table["random"][0].row}
        row[f"{layer}: difference"] = table["shipped"][1].row
    draws = {}
    for treated in shipped["pooled"]:
        rates = speaker_errors({"shipped": shipped["pooled"][treated], "random": random["pooled"][treated]}, who)
        (mine, mine_draws), (theirs, their_draws) = rates["shipped"], rates["random"]
        draws[treated] = np.append(mine.value - theirs.value, mine_draws - their_draws)
        name = f"speaker EER, {treated}"
        row |= {f"{name}: shipped": mine.row, f"{name}: random": theirs.row, f"{name}: difference": summary(draws[treated])}
    return row, draws


def summary(draws: np.ndarray) -> list[float]:
    """Value (the first draw), low, high."""
    return [float(draws[0]), *map(float, np.percentile(draws[1:], [2.5, 97.5]))]


def main() -> None:
    """Train and judge students of both kinds for every seed; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", required=True, help="LibriSpeech audio to train on, as librispeech-untranscribed")
    parser.add_argument("--librispeech", required=True, help="aligned LibriSpeech of other speakers, as librispeech-mini")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("results/distillation.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    corpus, real = librispeech(asked.speech, alignments="none"), librispeech(asked.librispeech)
    split = make_split(corpus, seed=0)
    voices = Voices.of([real])
    table: dict[str, Any] = {"steps": asked.steps, "batch": BATCH, "speakers": len(set(voices.who)), "seeds": {}}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in voices.sets}
    for seed in SEEDS:
        crops = Crops(corpus, split, sample_rate=RATE, seconds=1.0, batch=BATCH, pairs=0.0, synonyms=0.0, seed=seed, cache_bytes=2**30)
        found = {kind: judged(*student(crops, kind, seed, asked.steps), real, voices) for kind in ("shipped", "random")}
        table["seeds"][str(seed)], draws = compared(found["shipped"], found["random"], voices.who)
        for name, each in draws.items():
            drawn[name].append(each)  # the same speakers are drawn for every seed
            table[f"mean difference over seeds, {name}"] = summary(np.mean(drawn[name], 0))
        print(seed, table["seeds"][str(seed)], flush=True)
        write_json(asked.out, table)


if __name__ == "__main__":
    main()
