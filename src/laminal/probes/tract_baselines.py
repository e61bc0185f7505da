"""What articulation is measured beside: log-mel, pitch and energy, codebooks drawn at random, codes drawn at random."""

import numpy as np
import torch
from jaxtyping import Float

from laminal.codecs.base import random_entries
from laminal.codecs.log_mel import LogMel
from laminal.measures.clock import on_codec_frames
from laminal.measures.pitch import HOP, WINDOW, pitch
from laminal.nn.nearest import nearest

RATE = 16_000  # Hz
FLOOR = 1e-5  # of the RMS
FITTED = 20_000  # frames of the latent from which random codebooks are drawn


def log_mel(wav: Float[np.ndarray, " t"], frame_rate: float, frames: int) -> Float[np.ndarray, "frames 80"]:
    """Log-mel at 100 Hz (80 bands, 16 kHz), averaged over each codec frame's hop."""
    found = LogMel(RATE, RATE // 100, RATE // 40, 80).layers(torch.from_numpy(wav)[None])["1"][0].double().numpy()
    return _filled(on_codec_frames(found, (np.arange(len(found)) + 0.5) / 100, frame_rate, frames))


def pitch_and_energy(wav: Float[np.ndarray, " t"], frame_rate: float, frames: int) -> Float[np.ndarray, "frames 3"]:
    """Log F0 (interpolated where unvoiced), voicing and log energy every 10 ms, averaged over each codec frame's hop."""
    track = pitch(torch.from_numpy(wav)[None], RATE)
    voiced = track.voiced[0].numpy()
    log = np.log(np.maximum(track.f0[0].double().numpy(), 1.0))
    place = np.arange(len(log))
    pitched = np.interp(place, place[voiced], log[voiced]) if voiced.any() else np.zeros(len(log))
    span = round(WINDOW * RATE)
    padded = np.pad(wav.astype(np.float64), (0, span + round(len(log) * HOP * RATE)))
    starts = (place * HOP * RATE).round().astype(int)
    power = np.concatenate([[0.0], np.cumsum(padded**2)])
    energy = 0.5 * np.log(np.maximum((power[starts + span] - power[starts]) / span, FLOOR**2))
    values = np.stack([pitched, voiced.astype(np.float64), energy], 1)
    return _filled(on_codec_frames(values, place * HOP + WINDOW / 2, frame_rate, frames))


class RandomCodebooks:
    """As many codebooks of the same size as a codec has, drawn at random about its own latent, residual after residual."""

    def __init__(self, latent: Float[np.ndarray, "n d"], codebooks: int, size: int, seed: int):
        """Draw from the frames of `latent`; about FITTED of them are enough."""
        residual = torch.from_numpy(latent).float()
        self.books: list[torch.Tensor] = []
        for number in range(codebooks):
            self.books.append(random_entries(residual, size, seed + number))
            residual = residual - self.books[-1][nearest(residual, self.books[-1])]

    def layers(self, latent: Float[np.ndarray, "n d"], kept: list[int]) -> dict[int, Float[np.ndarray, "n d"]]:
        """Add up the entries nearest to what is left, after the codebooks numbered `kept` (from 1)."""
        residual = start = torch.from_numpy(latent).float()
        found = {}
        for number, book in enumerate(self.books, start=1):
            residual = residual - book[nearest(residual, book)]
            if number in kept:
                found[number] = (start - residual).double().numpy()
        return found

    def chance(self, frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        """Sum of entries whose codes are drawn evenly: they know nothing of the audio."""
        return sum(book[torch.from_numpy(rng.integers(len(book), size=frames))] for book in self.books).double().numpy()  # type: ignore[union-attr]


def powers(codebooks: int) -> list[int]:
    """1, 2, 4 .. and all."""
    return sorted({2**power for power in range(codebooks.bit_length()) if 2**power <= codebooks} | {codebooks})


def _filled(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Repeat the nearest frame that has a value at the ends, where an analysis window does not fit."""
    known = np.flatnonzero(np.isfinite(values).all(1))
    if not len(known):
        return np.zeros_like(values)
    rows = np.arange(len(values))
    after = np.searchsorted(known, rows).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    nearer = np.where(np.abs(known[after] - rows) < np.abs(known[before] - rows), known[after], known[before])
    return values[nearer]
