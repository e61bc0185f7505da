"""What tests of the commands need: a folder of aligned noise, codecs in a file, and small probes."""

from pathlib import Path

from laminal.corpora import textgrid
from oracle_pairs import noise_corpus

CODECS = '''
import torch
from oracle_contract import Sound


class Narrow(Sound):
    """50 Hz, 3 codebooks, 6-d."""
    name = revision = "narrow"


class Wide(Sound):
    """25 Hz, 5 codebooks, 10-d, 8 kHz."""
    name, revision, sample_rate, frame_rate, codebooks, codebook_size = "wide", "wide", 8000, 25.0, 5, 16

    def __init__(self, scale=3.0):
        generator = torch.Generator().manual_seed(7)
        self.project = torch.linalg.qr(torch.randn(320, 10, generator=generator))[0]
        self.tables = [scale * 0.6**book * torch.randn(16, 10, generator=generator) for book in range(5)]
        self.revision = f"wide {scale}"

    def layers(self, wav_or_codes):
        if wav_or_codes.is_floating_point():
            return {"latent": self.latent(wav_or_codes)} | self.layers(self.encode(wav_or_codes))
        parts = torch.stack([table[wav_or_codes[:, book]] for book, table in enumerate(self.tables[: wav_or_codes.shape[1]])])
        return {str(k): value for k, value in enumerate(parts.cumsum(0), start=1)}


class Broken(Sound):
    def layers(self, wav_or_codes):
        return {name: value / value.norm(dim=2, keepdim=True) for name, value in super().layers(wav_or_codes).items()}


class Counting(Narrow):
    calls = 0

    def encode(self, wav):
        type(self).calls += 1
        return super().encode(wav)
'''
SMALL = [
    "probes.units=null", "probes.reconstruction=null", "probes.word_pairs.maximum=300", "probes.word_pairs.token_pairs=1",
    "probes.word_pairs.randoms=1", "probes.word_pairs.slices=[audio]", "probes.word_pairs.distances=[euclidean,scaled]",
]  # fmt: skip


def tree(folder: Path) -> Path:
    """A folder that `corpus=folder` reads: noise with real words, TextGrids beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for utterance in noise_corpus(folder):
        place = folder / utterance.speaker
        place.mkdir(exist_ok=True)
        utterance.path.rename(place / utterance.path.name)
        tiers = (
            textgrid.Tier("words", textgrid.filled(list(utterance.words), utterance.seconds)),
            textgrid.Tier("phones", textgrid.filled(list(utterance.phones), utterance.seconds)),
        )
        textgrid.write(place / f"{utterance.id}.TextGrid", textgrid.TextGrid(0.0, utterance.seconds, tiers))
        (place / f"{utterance.id}.txt").write_text(utterance.text)
    return folder
