"""Two batches of waveforms at 16 kHz, compared by every measure; what one side needs is computed once."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from laminal import parallel
from laminal.audio import resample
from laminal.measures.cepstra import MelCepstra, mcd
from laminal.measures.intelligibility import framed, intelligibility
from laminal.measures.mel import MelScales, mel_distance
from laminal.measures.pitch import Pitch, f0_correlation, pitch, voicing_error
from laminal.measures.signal import si_sdr
from laminal.teachers.base import SpeakerTeacher

RATE = 16000  # Hz


@dataclass(frozen=True, slots=True)
class Described:
    """A batch of waveforms and what the measures need of each."""

    wav: Float[np.ndarray, "b t"]
    finite: Bool[np.ndarray, " b"]  # rows that are not hold silence instead, and every measure of them is NaN
    mels: list[Tensor]
    cepstra: Float[Tensor, "b n d"]
    loud: Bool[Tensor, "b n"]
    pitch: Pitch
    frames: Float[np.ndarray, "b m w"]  # at 10 kHz, for intelligibility
    voice: Float[Tensor, "b e"] | None

    def rows(self, rows: Int[np.ndarray, " b"]) -> "Described":
        """Take these rows of the batch."""
        index = torch.from_numpy(rows)
        return Described(
            self.wav[rows], self.finite[rows], [mel[index] for mel in self.mels], self.cepstra[index], self.loud[index],
            Pitch(self.pitch.f0[index], self.pitch.voiced[index]), self.frames[rows], None if self.voice is None else self.voice[index],
        )  # fmt: skip


class Comparison:
    """All measures but PESQ and word error rate; cosine of `speaker`'s embeddings where one is given."""

    def __init__(self, speaker: SpeakerTeacher | None) -> None:
        self.speaker = speaker
        self._mels, self._cepstra = MelScales(RATE), MelCepstra()

    def describe(self, wav: Float[np.ndarray, "b t"]) -> Described:
        """Compute what the measures need of waveforms of at least 0.5 s at 16 kHz."""
        finite = np.isfinite(wav).all(1)
        wav = np.where(finite[:, None], wav, 0).astype(np.float32)
        sound = torch.from_numpy(wav)
        with parallel.one_thread():  # the same numbers on any number of threads
            cepstra, loud = self._cepstra(sound)
            mels, voiced = self._mels(sound), pitch(sound, RATE)
        return Described(wav, finite, mels, cepstra, loud, voiced, framed(wav.T, RATE), self._voice(wav))

    def __call__(self, reference: Described, estimate: Described) -> dict[str, Float[np.ndarray, " b"]]:
        """Give each metric row by row; NaN where it has no value."""
        understood = [intelligibility(a, b) for a, b in zip(reference.frames, estimate.frames)]
        found = {
            "stoi": np.array([each.stoi for each in understood]),
            "estoi": np.array([each.estoi for each in understood]),
            "si_sdr": si_sdr(reference.wav, estimate.wav),
            "mel_distance": mel_distance(reference.mels, estimate.mels).double().numpy(),
            "mcd": mcd(reference.cepstra, estimate.cepstra, reference.loud).double().numpy(),
            "f0_correlation": f0_correlation(reference.pitch, estimate.pitch),
            "voicing_error": voicing_error(reference.pitch, estimate.pitch),
        }
        if reference.voice is not None and estimate.voice is not None:
            found["speaker_similarity"] = torch.cosine_similarity(reference.voice, estimate.voice).double().numpy()
        usable = reference.finite & estimate.finite
        return {name: np.where(usable, value, np.nan) for name, value in found.items()}

    def _voice(self, wav: Float[np.ndarray, "b t"]) -> Float[Tensor, "b d"] | None:
        if self.speaker is None:
            return None
        heard = np.stack([resample(each, RATE, self.speaker.sample_rate) for each in wav])
        with torch.no_grad():
            return self.speaker.embed(torch.from_numpy(heard)).float().cpu()
