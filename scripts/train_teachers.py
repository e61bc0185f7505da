"""Train and measure the two small teachers that laminal ships: python scripts/train_teachers.py hubert|ecapa [--out DIR] [--steps N].

About 20 minutes of one core each. Measure them with scripts/measure_teachers.py, which writes their card.
"""

import argparse
from pathlib import Path

import numpy as np
import teacher_ecapa
import teacher_hubert
import torch
from teacher_data import Bank, bank

from laminal.corpora.spoken import spoken
from laminal.teachers.base import SHIPPED

# other voices and sentences than those of the default corpus (seed 0)
SPEAKERS, UTTERANCES, SEED = 480, 9600, 11
HELD = 40  # the last speakers are kept out: their scores are those of unseen voices
STEPS = {"hubert": 5000, "ecapa": 1500}


def material(cache: str | None) -> tuple[Bank, np.ndarray]:
    """Give the training corpus in memory, and the utterances of the speakers that are trained on."""
    speech = bank(spoken(speakers=SPEAKERS, utterances=UTTERANCES, seed=SEED, cache=cache))
    return speech, np.flatnonzero(speech.speaker < len(speech.speakers) - HELD)


def main() -> None:
    """Train the teacher that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", choices=sorted(STEPS))
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder that gets NAME-small/")
    parser.add_argument("--steps", type=int, help="default: " + ", ".join(f"{name} {steps}" for name, steps in STEPS.items()))
    parser.add_argument("--cache", help="where the spoken corpus is kept")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    speech, utterances = material(asked.cache)
    train = teacher_hubert.train if asked.teacher == "hubert" else teacher_ecapa.train
    train(speech, utterances, asked.steps or STEPS[asked.teacher], asked.seed, asked.out / f"{asked.teacher}-small")


if __name__ == "__main__":
    main()
