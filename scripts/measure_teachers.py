"""Measure the two small teachers and write their card: python scripts/measure_teachers.py --librispeech DIR --untranscribed DIR.

Phone accuracy by layer and speaker equal error rate, on voices of the spoken corpus that training left out and on real speech;
about 8 minutes of one core.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import teacher_card
import teacher_hubert
import torch
from teacher_phones import Features, accuracy_table, collect, log_mel, phone_accuracy
from teacher_speakers import halves, mean_mfcc, recoloured, speaker_errors, standardised, utterances
from torch import Tensor
from train_teachers import HELD, SEED, SPEAKERS, UTTERANCES

from laminal.atomic import write_json, write_text
from laminal.corpora.base import Corpus
from laminal.corpora.librispeech import librispeech
from laminal.corpora.spoken import spoken
from laminal.teachers.base import SHIPPED
from laminal.teachers.ecapa import PUBLISHED, EcapaTeacher, build
from laminal.teachers.hubert import HubertTeacher

SPOKEN_UTTERANCES = 8  # of each unseen voice


def random_hubert(seed: int) -> HubertTeacher:
    """Make a teacher of the same shape with random weights."""
    with TemporaryDirectory() as folder:
        teacher_hubert.save(teacher_hubert.new(teacher_hubert.SIZES, seed), Path(folder))
        return HubertTeacher(folder, "mean")


def random_ecapa(seed: int) -> EcapaTeacher:
    """Make a teacher of the same shape with random weights: the shipped one's, drawn again."""
    teacher = EcapaTeacher(SHIPPED / "ecapa-small")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build(PUBLISHED | teacher.sizes)
    teacher._networks[0].load_state_dict(fresh.state_dict())
    return teacher


def phone_features(trained: HubertTeacher, untrained: HubertTeacher) -> Features:
    """Log-mel, and every layer and the mean of both teachers."""

    def features(wav: Tensor) -> dict[str, Tensor]:
        found = {"log-mel": log_mel(wav)}
        for name, teacher in (("random ", untrained), ("", trained)):
            states = teacher.hidden_states(wav)
            found |= {f"{name}layer {layer}": state[0] for layer, state in enumerate(states)}
            found[f"{name}mean of layers"] = torch.stack(states[1:]).mean(0)[0]
        return found

    return features


def phones(corpora: dict[str, Corpus], features: Features) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Accuracy, and difference from log-mel, of every layer on every corpus, each as [value, low, high]."""
    table = {}
    for name, corpus in corpora.items():
        frames = collect(corpus, features)
        rows = accuracy_table(frames, phone_accuracy(frames, folds=5, every=2), "log-mel")
        table[name] = {layer: {"accuracy": accuracy.row, "over log-mel": over.row} for layer, (accuracy, over) in rows.items()}
        print(name, {layer: row["accuracy"] for layer, row in table[name].items()}, flush=True)
    return table


def speakers(sets: dict[str, tuple[list[Tensor], np.ndarray]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Equal error rates, and their differences from the mean MFCC's of the same kind, on every set of recordings."""
    trained, untrained = EcapaTeacher(SHIPPED / "ecapa-small"), random_ecapa(seed=1)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "mean MFCC": mean_mfcc,
        "random ECAPA": lambda wav: untrained.embed(wav)[0],
        "ecapa-small": lambda wav: trained.embed(wav)[0],
    }
    table = {}
    for name, (wavs, who) in sets.items():
        with torch.no_grad():
            vectors = {way: torch.stack([embed(wav[None]) for wav in wavs]) for way, embed in ways.items()}
        vectors |= {f"{way}, standardised": standardised(found) for way, found in vectors.items()}
        rates = speaker_errors(vectors, who)
        table[name] = {}
        for way, (rate, draws) in rates.items():
            base, base_draws = rates["mean MFCC, standardised" if way.endswith("standardised") else "mean MFCC"]
            table[name][way] = {"rate": rate.row, "over MFCC": teacher_card.difference(rate, draws, base, base_draws)}
        print(name, {way: row["rate"] for way, row in table[name].items()}, flush=True)
    return table


def unseen(cache: str | None) -> Corpus:
    """Give the voices that training left out, some utterances of each."""
    whole = spoken(speakers=SPEAKERS, utterances=UTTERANCES, seed=SEED, cache=cache)
    held = whole.subset(frozenset(whole.speakers[-HELD:]))
    taken: dict[str, int] = {}
    kept = []
    for utterance in held:
        taken[utterance.speaker] = taken.get(utterance.speaker, 0) + 1
        if taken[utterance.speaker] <= SPOKEN_UTTERANCES:
            kept.append(utterance)
    return Corpus("spoken, unseen voices", tuple(kept))


def main() -> None:
    """Measure, and write numbers.json and CARD.md beside the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--librispeech", required=True, help="aligned LibriSpeech, as librispeech-mini")
    parser.add_argument("--untranscribed", required=True, help="LibriSpeech audio of other speakers")
    parser.add_argument("--cache", help="where the spoken corpus is kept")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    made, real = unseen(asked.cache), librispeech(asked.librispeech)
    told = utterances(real, 99)
    cut, who = halves(*told)
    sets = {
        "spoken, unseen voices: utterances": utterances(made, SPOKEN_UTTERANCES),
        "librispeech-mini: utterances": told,
        "librispeech-mini: halves of utterances": (cut, who),
        "librispeech-mini: halves, each through its own equaliser": (recoloured(cut, seed=0), who),
        "librispeech-untranscribed: halves": halves(*utterances(librispeech(asked.untranscribed, alignments="none"), 9)),
    }
    numbers = {"speakers": speakers(sets)}
    features = phone_features(HubertTeacher(SHIPPED / "hubert-small", "mean"), random_hubert(seed=1))
    numbers["phones"] = phones({"spoken, unseen voices": made, "librispeech-mini": real}, features)
    write_json(SHIPPED / "numbers.json", numbers)
    write_text(SHIPPED / "CARD.md", teacher_card.card(json.loads((SHIPPED / "numbers.json").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
