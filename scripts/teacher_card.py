"""The card of the shipped teachers: what they are, what they were trained on, what was measured."""

import numpy as np
from teacher_phones import Estimate, interval

Table = dict[str, dict[str, dict[str, list[float]]]]

INTRODUCTION = """# Two small teachers

Made for laminal's default experiment, which must run without a download: `hubert-small` (frames) and `ecapa-small` (voices), of HuBERT's
and ECAPA-TDNN's classes (transformers' `HubertModel`, speechbrain's `ECAPA_TDNN`) in small sizes, fp16. Licence: Apache-2.0.
Neither has heard a human being: both were trained on `laminal.corpora.spoken` alone (espeak-ng reading WordNet's example sentences).
On real speech they are far behind HuBERT, WavLM, Whisper or a real ECAPA: take those for anything published.

| | shape | parameters | trained on | how |
|---|---|---|---|---|
| hubert-small | convolutions of 24 to 128 channels, 4 layers of 192, 4 heads, 50 Hz | 1.6 M | 440 voices, 5.0 h | \
the exact phone of every frame, from \
the last layer and from the mean of all four; a fifth of the frames masked; random channels (rooms, telephones, noise, babble), speed |
| ecapa-small | 128 channels, 192-d embedding, 80 mels | 0.6 M | the same | \
which two of 64 crops are one voice; a voice is a speaker through a \
vocal tract length and a colour drawn for it; the two crops differ in words, tempo, noise, room and level, three in ten also in colour |

Seen while training: `spoken(speakers=480, utterances=9600, seed=11)` without its last 40 speakers. These 40 are the "unseen voices"
below; the default corpus (`seed=0`) has other speakers too, but espeak's 43 variants, from which all voices are made, are the same ones.
No utterance of LibriSpeech was used to train. The recipe of ecapa-small was written anew after a first one had done badly on
librispeech-mini and -untranscribed, and was then looked at on -untranscribed; hubert-small was looked at on librispeech-mini while it was
trained, which changed nothing. To make them again: `scripts/train_teachers.py hubert` and `ecapa`, about 20 minutes of one core each;
`scripts/measure_teachers.py` measures them and writes this card. Training is seeded, but not bit-exact between machines.

`ecapa-small` subtracts one mean for all mel bands of a recording, not one per band as the published network does (`normalise` in
`sizes.json`): it hears the colour of a recording as part of the voice, so it tells recordings as well as voices.
"""
PHONES = """
## Phones

Accuracy of a linear classifier (multinomial logistic regression on standardised features) of the 39 phones of single 20 ms frames,
silence left out; five folds by speaker, every second frame fitted. [95 % interval: bootstrap over speakers]; the last column is the
paired difference from log-mel (80 mels, 25 ms window). `random`: the same shape, random weights.
"""
SPEAKERS = """
## Voices

Equal error rate of the cosine over all pairs of recordings, weighted so that every speaker and every pair of speakers counts once.
[95 % interval: bootstrap over speakers]; the last column is the paired difference from the mean MFCC (19 cepstra without the level) treated
alike. Standardised: each dimension z-scored over the set's recordings. In halves of one recording the microphone and the room tell
as much as the voice does, and a standardised mean MFCC is hard to beat there.
"""


def difference(value: Estimate, draws: np.ndarray, base: Estimate, base_draws: np.ndarray) -> list[float]:
    """Paired difference of two estimates, as [value, low, high]."""
    return interval(draws - base_draws, value.value - base.value).row


def _cell(row: list[float], sign: str = "") -> str:
    return f"{row[0]:{sign}.3f} [{row[1]:{sign}.3f}, {row[2]:{sign}.3f}]"


def _section(corpus: str, rows: dict[str, dict[str, list[float]]], heads: tuple[str, str, str], keys: tuple[str, str]) -> list[str]:
    lines = [f"\n{corpus}\n", f"| {' | '.join(heads)} |", "|---|---|---|"]
    return lines + [f"| {name} | {_cell(row[keys[0]])} | {_cell(row[keys[1]], '+')} |" for name, row in rows.items()]


def card(numbers: dict[str, Table]) -> str:
    """Write the card in Markdown from the numbers of measure_teachers.py."""
    lines = [INTRODUCTION + PHONES]
    for corpus, rows in numbers["phones"].items():
        lines += _section(corpus, rows, ("features", "accuracy", "over log-mel"), ("accuracy", "over log-mel"))
    lines.append(SPEAKERS)
    for name, rows in numbers["speakers"].items():
        lines += _section(name, rows, ("vectors", "equal error rate", "against mean MFCC"), ("rate", "over MFCC"))
    return "\n".join(lines) + "\n"
