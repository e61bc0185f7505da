"""A codec whose decoding is known without doubt: 16-bit samples, four bits a codebook; and a small corpus of synthetic voices."""

import numpy as np
import soundfile
import torch

from laminal.corpora.base import Corpus, Interval, Utterance
from oracle_signal import voice


class Pcm:
    """Codebook k holds the k-th four bits of each 16-bit sample: all four of them lose nothing."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "pcm", 16000, 16000.0, 4, 16, "1"

    def __init__(self, spoil=None, sample_rate=16000):
        self.spoil, self.sample_rate = spoil, sample_rate

    def encode(self, wav):
        whole = (wav.double() * 32768).round().clamp(-32768, 32767).long() + 32768
        return torch.stack([whole // 16 ** (3 - k) % 16 for k in range(4)], 1)

    def decode(self, codes):
        kept = codes.shape[1]
        step = 16 ** (4 - kept)
        whole = sum(codes[:, k] * 16 ** (3 - k) for k in range(kept)) + step // 2
        wav = ((whole - 32768).double() / 32768).float()
        return wav if self.spoil is None else self.spoil(wav)

    def layers(self, wav_or_codes):
        raise AssertionError("a reconstruction needs no layers")


def voices(folder, speakers=3, each=2, seconds=2.0):
    """Write `each` recordings of `speakers` speakers with words of known times; returns their corpus."""
    utterances = []
    for speaker in range(speakers):
        for take in range(each):
            count = round(16000 * seconds)
            rng = np.random.default_rng([speaker, take])
            f0 = (90 + 50 * speaker) * (1 + 0.25 * np.sin(2 * np.pi * (0.7 + 0.4 * take) * np.arange(count) / 16000 + speaker))
            shape = tuple((centre * (1 + 0.1 * take + 0.05 * speaker), width) for centre, width in ((600, 90), (1300, 110), (2500, 160)))
            pause = round(16000 * rng.uniform(0.8, 1.2))
            f0[pause : pause + 3200] = 0
            wav = voice(f0, seed=speaker, formants=shape) + 1e-3 * rng.standard_normal(count).astype(np.float32)
            path = folder / f"s{speaker}-{take}.wav"
            soundfile.write(path, wav, 16000, subtype="PCM_16")
            middle = pause / 16000
            words = (Interval("one", 0.3, middle), Interval("two", middle + 0.2, seconds - 0.2))
            utterances.append(Utterance(path.stem, path, f"s{speaker}", words, (), "one two", seconds))
    return Corpus("voices", tuple(utterances))
