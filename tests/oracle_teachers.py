"""Slow references for teachers: GE2E's partial utterances one by one in numpy, and sentence normalisation by a loop."""

import numpy as np
from torch import Tensor


def power_mel(wav: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Mel power of (t,) frame by frame: 400 samples every 160, zeros around the ends; (n, 40)."""
    padded = np.concatenate([np.zeros(200), wav, np.zeros(200)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [np.abs(np.fft.rfft(padded[s : s + 400] * window)) ** 2 for s in range(0, len(padded) - 399, 160)]
    return np.array(frames) @ filters


def ge2e(wav: np.ndarray, filters: np.ndarray, embed) -> np.ndarray:
    """resemblyzer's embed_utterance at its defaults (rate 1.3, coverage 0.75), without its silence removal; `embed` (160, 40) -> (256,)."""
    rms = np.sqrt(np.mean(wav**2))
    target = 10 ** (-30 / 20)
    if rms < target:
        wav = wav * (target / rms)
    count = int(np.ceil((len(wav) + 1) / 160))
    step = int(np.round(16000 / 1.3 / 160))
    starts = list(range(0, max(1, count - 160 + step + 1), step))
    if len(starts) > 1 and (len(wav) - starts[-1] * 160) / (160 * 160) < 0.75:
        starts = starts[:-1]
    end = (starts[-1] + 160) * 160
    mel = power_mel(np.concatenate([wav, np.zeros(max(0, end - len(wav)))]), filters)
    mean = np.mean([embed(mel[s : s + 160]) for s in starts], axis=0)
    return mean / np.linalg.norm(mean)


def sentence_mean(bank: Tensor, real: list[int]) -> Tensor:
    """Subtract each row's mean over its first real[row] frames, band by band."""
    out = bank.clone()
    for row, count in enumerate(real):
        for band in range(bank.shape[2]):
            out[row, :, band] -= sum(bank[row, :count, band].tolist()) / count
    return out
