"""Recordings with tracts whose answer is known, codecs that look them up, and trees as Annot-16 and the 75-Speaker set have them."""

import codecs
import hashlib
from pathlib import Path

import numpy as np
import scipy.io
import torch

from laminal import audio
from laminal.codecs.base import random_entries
from laminal.corpora.base import Utterance
from laminal.corpora.tract import Tract, TractCorpus
from laminal.measures.clock import MRI_RATE, on_codec_frames
from laminal.nn.nearest import nearest

RATE, LINES = 16_000, 12
MARK = 160  # samples by which audio is known again
CENTRE = np.array([42.0, 60.0])  # pixels
SIXTEEN = (1, 3, 5, 6, 8, 9, 11, 14, 17, 19, 25, 27, 30, 35, 40, 61)  # a choice of the 75 subjects


def moving(rng, rows, columns, width=9):
    """Signals that change slowly."""
    return np.stack([np.convolve(rng.standard_normal(rows + width - 1), np.ones(width) / width, mode="valid") for _ in range(columns)], 1)


def tract_corpus(folder: Path, speakers=3, tracks=4, seconds=6.0, seed=0, causes=5) -> TractCorpus:
    """Noise with tracts of LINES lines that follow `causes` slow signals; the loudness follows the first of them."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((causes, LINES))
    utterances, tracts = [], {}
    for speaker in range(speakers):
        for number in range(tracks):
            name, path = f"s{speaker}-{number}", folder / f"s{speaker}-{number}.wav"
            length = seconds + 0.37 * number
            frames = int(length * MRI_RATE)
            cause = moving(rng, frames, causes)
            loud = np.interp(np.arange(int(length * RATE)) / RATE, (np.arange(frames) + 0.5) / MRI_RATE, cause[:, 0])
            audio.write(path, 0.05 * np.exp(2 * loud) * rng.standard_normal(len(loud)), RATE)
            vtd = 10 + speaker + (cause @ mix + 0.1 * moving(rng, frames, LINES)) * (1 + speaker)
            utterances.append(Utterance(name, path, f"s{speaker}", (), (), "", len(loud) / RATE))
            tracts[name] = Tract(vtd.astype(np.float32), MRI_RATE)
    return TractCorpus("made_up", tuple(utterances), (), {}, tracts)


class Copying:
    """A codec whose features are the tract of the recording that the audio begins like: as it is, `late` by seconds, shuffled, or spoilt.

    Layer "1" has the first line alone, "2" all of them, "3" all of them and numbers that vary ten times as much and mean nothing.
    """

    sample_rate, codebooks, codebook_size = RATE, 0, 0
    mark = slice(0, MARK)
    filled = False  # whether lines that are missing are at their mean; else frames where any is take the nearest frame where none is

    def __init__(self, corpus, frame_rate=50.0, late=0.0, shuffled=False, spoilt=()):
        self.corpus, self.frame_rate, self.late, self.shuffled, self.spoilt = corpus, frame_rate, late, shuffled, set(spoilt)
        self.name, self.calls = "copying", 0
        self.revision = f"{frame_rate} {late} {shuffled} {sorted(self.spoilt)}"
        self.places = {corpus.wav(each, RATE).numpy()[self.mark].tobytes(): each for each in corpus}

    def decode(self, codes):
        raise AssertionError("there are no codes")

    encode = decode

    def latent(self, row):
        utterance = self.places[row[self.mark].tobytes()]
        tract = self.corpus.tracts[utterance.id]
        frames = -(-len(row) * self.frame_rate // RATE)
        vtd = tract.vtd.astype(np.float64)
        if self.filled:
            known = np.isfinite(vtd)
            vtd = np.where(known, vtd, np.where(known, vtd, 0.0).sum(0) / np.maximum(known.sum(0), 1))
        x = on_codec_frames(vtd, tract.times + self.late, self.frame_rate, int(frames))
        known = np.flatnonzero(np.isfinite(x).all(1))
        x = x[known[np.abs(known[None] - np.arange(len(x))[:, None]).argmin(1)]]
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(utterance.id.encode()).digest()[:4]))
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
        return (rng.permutation(x) if self.shuffled else x), rng

    def layers(self, wav):
        self.calls += 1
        found = {"1": [], "2": [], "3": []}
        for row in wav.numpy():
            x, rng = self.latent(row)
            nothing, loud = np.zeros((len(x), 4)), 10 * moving(rng, len(x), 4)  # an encoder's layers are all of one width
            made = {"1": np.pad(x[:, :1], ((0, 0), (0, LINES + 3))), "2": np.hstack([x, nothing]), "3": np.hstack([x, loud])}
            for name, value in made.items():
                found[name].append(np.full_like(value, np.nan) if name in self.spoilt else value)
        return {name: torch.from_numpy(np.stack(rows)).float() for name, rows in found.items()}


class Quantised(Copying):
    """The same with three codebooks of 16 over the tract; `semantic` books stand before the others, as in Mimi."""

    codebooks, codebook_size = 3, 16

    def __init__(self, corpus, semantic=0, **given):
        super().__init__(corpus, **given)
        self.name, self.semantic = "quantised", semantic
        self.tables = []
        residual = torch.cat([self._latent(corpus.wav(each, RATE)[None])[0] for each in corpus])
        for number in range(self.codebooks):
            self.tables.append(random_entries(residual, self.codebook_size, number))
            residual = residual - self.tables[-1][nearest(residual, self.tables[-1])]

    def _latent(self, wav):
        return torch.from_numpy(np.stack([self.latent(row)[0] for row in wav.numpy()])).float()

    def encode(self, wav):
        self.calls += 1
        residual, codes = self._latent(wav).flatten(0, 1), []
        for table in self.tables:
            codes.append(nearest(residual, table))
            residual = residual - table[codes[-1]]
        return torch.stack([each.view(len(wav), -1) for each in codes], 1)

    def codes_and_latent(self, wav):
        return self.encode(wav), self._latent(wav)

    def layers(self, given):
        if given.is_floating_point():
            return {"latent": self._latent(given)} | self.layers(self.encode(given))
        sums = torch.cumsum(torch.stack([table[given[:, book]] for book, table in enumerate(self.tables[: given.shape[1]])]), 0)
        return {str(number): layer for number, layer in enumerate(sums, start=1)}


def wall(radius, first, last, points):
    """Points of an arc about CENTRE in pixels of the image; angle pi is at the lips, 0 at the larynx."""
    angle = np.linspace(first, last, points)
    return CENTRE + radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def contours(lower, upper):
    """One frame as the annotators keep it: walls at radius `lower` and `upper`, cut into the parts by their ids."""
    pi = np.pi
    low = {6: (0.0, 0.1), 1: (0.1, 0.2), 2: (0.2, 0.8), 3: (0.8, 0.9), 4: (0.9, 1.0)}
    parts = {
        1: {each: (lower, *ends) for each, ends in low.items()} | {5: (lower - 8, 0.5, 0.6)},
        2: {4: (upper, 0.0, 0.15), 1: (upper, 0.15, 0.3), 2: (upper, 0.3, 0.45), 3: (upper + 8, 0.4, 0.5)},
        3: {5: (upper, 1.0, 0.9), 1: (upper, 0.9, 0.6), 2: (upper, 0.6, 0.45)} | {each: (upper + 9, 0.6, 0.7) for each in (3, 4)},
        4: {1: (upper + 15, 0.0, 1.0)},
    }  # fmt: skip
    segment = np.empty(4, dtype=object)
    for number, ids in parts.items():
        points = {each: wall(radius, a * pi, b * pi, 30) for each, (radius, a, b) in sorted(ids.items())}
        v = np.concatenate(list(points.values())) - 42
        ids_of = np.repeat(list(points), 30)
        segment[number - 1] = {"v": v * [1, -1], "i": ids_of.astype(np.uint8)[:, None], "mu": np.ones((1, 30 * len(points)))}
    return {"segment": segment[None]}


def write_track(path: Path, frames, change=None):
    """A *_track.mat of {number from 1: (lower, upper) or None for a frame that was lost}; `change(cells)` may spoil it."""
    cells = np.empty((1, len(frames)), dtype=object)
    for place, (number, radii) in enumerate(frames):
        empty = np.zeros((0, 0))
        cells[0, place] = empty if radii is None else {"frameNo": float(number), "template": "t1", "contours": contours(*radii)}
    if change is not None:
        change(cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"trackdata": cells}, format="5")


def textgrid(words, phones, end):
    """Long text format; tier 1 words, tier 2 phones."""
    head = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {end}\ntiers? <exists>\nsize = 2\nitem []:\n'
    for number, (name, tier) in enumerate((("words", words), ("phones", phones)), 1):
        head += f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n        xmin = 0\n        xmax = {end}\n'
        head += f"        intervals: size = {len(tier)}\n"
        for place, (label, start, stop) in enumerate(tier, 1):
            head += f'        intervals [{place}]:\n            xmin = {start}\n            xmax = {stop}\n            text = "{label}"\n'
    return head


def gap_of(subject, number, frame):
    """What the tree says: pixels between the walls of a frame."""
    return 8 + 0.1 * subject + number + 2 * np.sin(0.3 * frame)


def annot16_tree(root: Path, subjects=SIXTEEN, tracks=2, frames=20, seconds=None):
    """Write both trees: frames 7 to 9 are missing, 12 was lost, and each track of each subject differs. Gives (Annot-16, 75-Speaker)."""
    annotated, recorded = root / "annot16", root / "75speaker"
    rng = np.random.default_rng(0)
    for subject in subjects:
        for number in range(tracks):
            name = f"sub{subject:03d}_2drt_{number + 1:02d}_vcv{number + 1}_r1"
            kept = [f for f in range(1, frames + 1) if f not in (7, 8, 9)]
            rows = [(f, None if f == 12 else (20.0, 20.0 + gap_of(subject, number, f))) for f in kept]
            write_track(annotated / f"sub{subject:03d}" / "track" / f"{name}_track.mat", rows)
            length = seconds or frames / MRI_RATE
            sound = recorded / f"sub{subject:03d}" / "2drt" / "audio" / f"{name}_audio.wav"
            sound.parent.mkdir(parents=True, exist_ok=True)
            audio.write(sound, 0.1 * rng.standard_normal(int(length * 20_000)), 20_000)
            for other in ("video", "recon"):
                (recorded / f"sub{subject:03d}" / "2drt" / other).mkdir(exist_ok=True)
            words = [("apa", 0.05, 0.15), ("", 0.15, length)]
            text = textgrid(words, [("AA1", 0.05, 0.1), ("P", 0.1, 0.15), ("", 0.15, length)], length)
            grid = annotated / f"sub{subject:03d}" / "alignment" / f"{name}_text.TextGrid"
            grid.parent.mkdir(parents=True, exist_ok=True)
            grid.write_bytes(codecs.BOM_UTF16_BE + text.encode("utf-16-be"))
    return annotated, recorded
