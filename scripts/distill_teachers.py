"""Are the shipped teachers worth distilling from? Students of them against students of random networks of the same shape.

python scripts/distill_teachers.py --speech DIR --librispeech DIR [--steps 400] [--seeds 0,1,2] [--tasks voice,phones]
[--out results/distillation.json]: about 8 minutes of one core a seed. What --out holds already is not done again.

A student is the laptop tokenizer's encoder and quantizer, trained without decoder or any loss on the waveform, on the real speech of
--speech (audio alone, as librispeech-untranscribed), which no teacher has heard. Each teacher has students of its own: semantic_distill
on z_1, or acoustic_align on z_2:K, with commitment. They are judged on other speakers, those of --librispeech: phones by a linear
classifier of codebook 1's frames and of the latent's; the speaker by the pooled z_2:K of halves of recordings, as they are and each
through an equaliser of its own, so that the channel tells nothing.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure_teachers import random_ecapa, random_hubert
from omegaconf import OmegaConf
from scipy import stats
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


@dataclass(frozen=True)
class Task:
    """What a student is trained with: the weights of the two losses and of commitment, crops a step, peak rate, level of the latent."""

    semantic: float
    acoustic: float
    commitment: float
    batch: int
    peak: float
    level: float  # of the encoder's output, in that which the tokenizer starts with


# The first as in configs/semantic_rvq.yaml. Alone, the second may shape the encoder as it likes, and 400 steps lead further from a quiet
# latent that nothing holds: with level 1 and commitment 0.02 or 0.25 its loss ends at 42 to 44, not 35.
TASKS = {"phones": Task(20.0, 0.0, 0.25, 8, 2e-3, 1.0), "voice": Task(0.0, 100.0, 10.0, 16, 3e-3, 1 / 20)}


def teachers(kind: str, seed: int) -> tuple[HubertTeacher, EcapaTeacher]:
    """Give the shipped teachers, or networks of their shapes with random weights from `seed`."""
    if kind == "shipped":
        return HubertTeacher("shipped/hubert-small", "mean"), EcapaTeacher("shipped/ecapa-small")
    return random_hubert(seed), random_ecapa(seed)


def student(crops: Crops, task: Task, kind: str, seed: int, steps: int) -> tuple[Tokenizer, AcousticAlignLoss]:
    """Train a student from `seed`; 0 steps gives it as it starts."""
    config = OmegaConf.create({"seed": seed, "tokenizer": OmegaConf.load(CONFIG)})
    settings: Any = OmegaConf.to_container(config.tokenizer, resolve=True)
    tokenizer = Tokenizer(**settings)
    with torch.no_grad():
        last = tokenizer.encoder.layers[-1].get_submodule("conv")
        last.weight = task.level * torch.as_tensor(last.weight)  # through weight norm's own inverse
    frames, voice = teachers(kind, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        semantic = SemanticDistillLoss(frames, settings["dim"], "frame")
        acoustic = AcousticAlignLoss(voice, settings["dim"], heads=8)
    acoustic.fit([crops[steps + i] for i in range(32)], tokenizer.sample_rate)
    tokenizer.initialise((batch.wav, batch.mask) for batch in (crops[steps + i] for i in range(400)))
    modules = nn.ModuleList([tokenizer.encoder, tokenizer.quantizer, semantic, acoustic])
    optimizer = torch.optim.AdamW(modules.parameters(), task.peak, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, task.peak, total_steps=max(steps, 2), pct_start=0.1)
    for step in range(steps):
        batch = crops[step]
        out = coded(tokenizer, batch.wav, batch.mask)
        loss = task.commitment * out.commitment.mean()
        loss = loss + (task.semantic * semantic(out, batch) if task.semantic else task.acoustic * acoustic(out, batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"{kind} seed {seed} step {step + 1}: loss {loss.item():.3f}", flush=True)
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


def heard_phones(tokenizer: Tokenizer, real: Corpus) -> tuple[Any, dict[str, np.ndarray]]:
    """Frames of `real`, and whether a linear classifier is right in each, of codebook 1 and of the latent."""

    def features(wav: Tensor) -> dict[str, Tensor]:
        out = coded(tokenizer, wav, torch.ones_like(wav, dtype=torch.bool))
        return {"codebook 1": out.sums[0][0], "latent": out.latent[0]}

    frames = collect(real, features)
    return frames, phone_accuracy(frames, folds=3, every=4)


def heard_voices(tokenizer: Tokenizer, acoustic: AcousticAlignLoss, voices: Voices) -> dict[str, Tensor]:
    """Pooled vectors of all half recordings, by how they were treated."""

    def voice(wav: Tensor) -> Tensor:
        out = coded(tokenizer, wav[None], torch.ones_like(wav, dtype=torch.bool)[None])
        return acoustic.voice(out.z_rest, out.frame_mask)[0]

    with torch.no_grad():
        return {name: torch.stack([voice(half) for half in cut]) for name, cut in voices.sets.items()}


Row = dict[str, list[float]]  # value, low, high of both students and of their difference


def phones_row(found: dict[str, tuple[Any, dict[str, np.ndarray]]]) -> Row:
    """Phone accuracy of both students and the paired difference, over speakers."""
    row: Row = {}
    for layer in ("codebook 1", "latent"):
        table = accuracy_table(found["shipped"][0], {kind: found[kind][1][layer] for kind in ("shipped", "random")}, "random")
        row |= {f"{layer}: {kind}": table[kind][0].row for kind in ("shipped", "random")} | {
            f"{layer}: difference": table["shipped"][1].row
        }
    return row


def voices_row(found: dict[str, dict[str, Tensor]], who: np.ndarray) -> Row:
    """Error rates of both students and the paired difference, over speakers."""
    row: Row = {}
    for treated in found["shipped"]:
        rates = speaker_errors({kind: found[kind][treated] for kind in ("shipped", "random")}, who)
        (mine, mine_draws), (theirs, their_draws) = rates["shipped"], rates["random"]
        low, high = np.percentile(mine_draws - their_draws, [2.5, 97.5])
        name = f"speaker EER, {treated}"
        row |= {f"{name}: shipped": mine.row, f"{name}: random": theirs.row}
        row[f"{name}: difference"] = [mine.value - theirs.value, float(low), float(high)]
    return row


def over_seeds(rows: list[Row]) -> dict[str, list[float]]:
    """Mean difference over the seeds of each measure, which draw students, crops and random networks anew, with its interval.

    Its half-width is the root of two squares: Student's t of the seeds' spread, and the speakers' half-width of one seed, as if all seeds
    erred alike on the same speakers (some of it is in the spread too: on the safe side).
    """
    table = {}
    for name in {name for row in rows for name in row if name.endswith("difference")}:
        found = np.array([row[name] for row in rows if name in row])
        values = found[:, 0]
        if len(values) > 1:
            seeds = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            half = float(np.hypot(seeds, (found[:, 2] - found[:, 1]).mean() / 2))
            table[name] = [float(values.mean()), float(values.mean() - half), float(values.mean() + half), len(values)]
    return dict(sorted(table.items()))


def markdown(table: dict[str, Any]) -> str:
    """Give the table of docs/teachers.md."""
    lines = ["| | seed | shipped teacher | random network | difference |", "|---|---|---|---|---|"]
    for name, mean in table["over seeds"].items():
        what = name.removesuffix(": difference")
        for seed, row in table["seeds"].items():
            if name in row:
                cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*row[f"{what}: {kind}"]) for kind in ("shipped", "random")]
                lines.append(f"| {what} | {seed} | {cells[0]} | {cells[1]} | {'{:+.3f} [{:+.3f}, {:+.3f}]'.format(*row[name])} |")
        lines.append(f"| **{what}** | {mean[3]} seeds | | | {'**{:+.3f}** [{:+.3f}, {:+.3f}]'.format(*mean[:3])} |")
    return "\n".join(lines)


def main() -> None:
    """Train and judge students of both kinds for every seed; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", required=True, help="LibriSpeech audio to train on, as librispeech-untranscribed")
    parser.add_argument("--librispeech", required=True, help="aligned LibriSpeech of other speakers, as librispeech-mini")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", default="0,1,2", help="seeds of students and of random networks")
    parser.add_argument("--tasks", default="voice,phones", help="which of the two teachers")
    parser.add_argument("--out", type=Path, default=Path("results/distillation.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    corpus, real = librispeech(asked.speech, alignments="none"), librispeech(asked.librispeech)
    split = make_split(corpus, seed=0)
    voices = Voices.of([real])
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    table: dict[str, Any] = {"steps": asked.steps, "speakers": len(set(voices.who)), "seeds": {}}
    if asked.out.is_file():
        held = json.loads(asked.out.read_text(encoding="utf-8"))
        table = held if held["steps"] == asked.steps and held["speakers"] == table["speakers"] else table
    for name in asked.tasks.split(","):
        task = TASKS[name]
        for seed in seeds:
            done = table["seeds"].setdefault(str(seed), {})
            if done.get(f"{name}: task") == str(task):
                continue
            sizes: Any = {"seconds": 1.0, "batch": task.batch, "pairs": 0.0, "synonyms": 0.0, "seed": seed, "cache_bytes": 2**30}
            crops = Crops(corpus, split, sample_rate=RATE, **sizes)
            trained = {kind: student(crops, task, kind, seed, asked.steps) for kind in ("shipped", "random")}
            if name == "phones":
                done |= phones_row({kind: heard_phones(each[0], real) for kind, each in trained.items()})
            else:
                done |= voices_row({kind: heard_voices(*each, voices) for kind, each in trained.items()}, voices.who)
            done[f"{name}: task"] = str(task)
            print(name, seed, done, flush=True)
            write_json(asked.out, table)
    table["over seeds"] = over_seeds(list(table["seeds"].values()))
    write_json(asked.out, table)
    print(markdown(table))


if __name__ == "__main__":
    main()
