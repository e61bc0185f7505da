"""Peak memory of probing when the corpus grows from one hour to ten: all probes at their default sizes, each in a process of its own.

A cheap codec (an average over each frame), so that what is measured is laminal's own; synthetic speech of noise with aligned words, written
once into a temporary folder (1.2 GB for ten hours of 16-bit audio at 16 kHz; set TMPDIR to a disk with room). The vocabulary of 1,500 words
is heard within the first hour. With 5,000, of which an hour holds 2,640, the sets of pairs still fill up towards their maximum in the other
nine: 643 MB and 738 MB.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HOURS = (1, 10)
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from laminal import audio
from laminal.cache import CodesCache
from laminal.corpora.base import Corpus, Interval, Packed, Utterance
from laminal.lexicon.pronounce import pronunciations, words
from laminal.probes.reconstruction import Reconstruction
from laminal.probes.run import run_probes
from laminal.probes.units import Units
from laminal.probes.word_pairs import WordPairs
from laminal.results import Context
torch.set_num_threads(1)
hours, folder = int(sys.argv[1]), Path(sys.argv[2])
SECONDS, SPEAKERS = 15.0, 40
rng = np.random.default_rng(0)
known = sorted(word for word in words() if word.isalpha() and 3 <= len(word) <= 9)
vocabulary = [known[i] for i in rng.permutation(len(known))[:1500]]
often = 1 / (np.arange(len(vocabulary)) + 10)
often /= often.sum()

def made():
    noise = 0.05 * rng.standard_normal(16000 * 20).astype(np.float32)
    for number in range(int(hours * 3600 / SECONDS)):
        path = folder / f"{number:05d}.wav"
        audio.write(path, np.roll(noise, int(rng.integers(len(noise))))[: int(SECONDS * 16000)], 16000)
        said, phones, tick = [], [], 5
        for word in rng.choice(len(vocabulary), size=40, p=often):
            length = int(rng.integers(15, 50))
            if tick + length > SECONDS * 100:
                break
            said.append(Interval(vocabulary[word], tick / 100, (tick + length) / 100))
            listed = pronunciations(vocabulary[word])[0]
            edges = np.linspace(tick / 100, (tick + length) / 100, len(listed) + 1).tolist()
            phones += [Interval(p, a, b) for p, a, b in zip(listed, edges[:-1], edges[1:])]
            tick += length
        yield Utterance(f"{number:05d}", path, f"s{number % SPEAKERS}", tuple(said), tuple(phones), "", SECONDS)

class Cheap:
    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "cheap", 16000, 50.0, 2, 16, "1"
    def encode(self, wav):
        mean = torch.nn.functional.avg_pool1d(wav[:, None], 320, ceil_mode=True)[:, 0]
        return torch.stack([(mean > 0).long(), (mean.abs() * 2000).round().long().clamp(max=15)], 1)
    def decode(self, codes):
        size = codes[:, 1] / 2000 if codes.shape[1] > 1 else torch.full(codes[:, 0].shape, 0.01)
        return ((codes[:, 0] * 2 - 1) * size).repeat_interleave(320, dim=1)
    def codes_and_latent(self, wav):
        codes = self.encode(wav)
        return codes, self.layers(codes)["2"]
    def layers(self, codes):
        first = torch.zeros(*codes[:, 0].shape, 64)
        first[..., 0] = codes[:, 0]
        return {"1": first} if codes.shape[1] == 1 else {"1": first, "2": first + codes[:, 1, :, None] / 15}

corpus = Corpus("noise", Packed(made()))
probes = {
    "word_pairs": WordPairs(
        corpus, None, style="matched", slices=["audio", "features"], distances=["euclidean", "cosine", "scaled"], modes=["cumulative"],
        maximum=1000, tier_maximum=None, token_pairs=2, randoms=2, draws=1000, items=["euclidean"], seed=0,
    ),
    "units": Units(corpus, None, utterances=200, nulls=20, cells=400, maximum=1000, draws=1000, seed=0),
    "reconstruction": Reconstruction(
        corpus, None, utterances=16, seconds=2.5, codebooks=None, pesq_codebooks=[1], speaker=None, asr=None, draws=1000, seed=0
    ),
}
for probe in probes.values():
    probe.cache = CodesCache(folder / "codes")
found = run_probes(Cheap(), probes, Context(run="memory", codec="cheap", revision="1", corpus="noise"))
assert {score.probe for score in found.scores} == set(probes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(hours: int) -> float:
    """Peak resident size in MB."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(hours), str(Path(folder))], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) / 1024


def run() -> list[dict]:
    small, large = (peak(hours) for hours in HOURS)
    what = f"peak MB of probing, {HOURS[1]} h / {HOURS[0]} h of speech"
    return [{"what": what, "ours_s": large, "reference_s": small, "ratio": large / small, "target": "<= 1.1"}]


if __name__ == "__main__":
    print(run())
