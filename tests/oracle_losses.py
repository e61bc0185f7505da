"""Slow, obviously right references of the losses, and small made-up inputs of the right types."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from laminal.corpora import vocabulary
from laminal.corpora.crops import Batch
from laminal.nn.tokenizer import TokenizerOutput


def batch(rows=2, samples=3200, spans=(), pairs=None, seed=0, dtype=torch.float32) -> Batch:
    """Noise crops; `spans` are (row, start, end); `pairs` gives positive, excluded and hard matrices by name."""
    generator = torch.Generator().manual_seed(seed)
    count = len(spans)
    matrices = {name: torch.zeros(count, count, dtype=torch.bool) for name in ("positive", "excluded", "hard")}
    for name, cells in (pairs or {}).items():
        for a, b in cells:
            matrices[name][a, b] = matrices[name][b, a] = True
    return Batch(
        wav=0.1 * torch.randn(rows, samples, generator=generator, dtype=dtype),
        mask=torch.ones(rows, samples, dtype=torch.bool),
        speaker=torch.arange(rows),
        span_row=torch.tensor([span[0] for span in spans], dtype=torch.int64),
        span_start=torch.tensor([span[1] for span in spans], dtype=torch.float32),
        span_end=torch.tensor([span[2] for span in spans], dtype=torch.float32),
        span_word=torch.arange(count),
        span_speaker=torch.tensor([span[0] for span in spans], dtype=torch.int64),
        span_token=torch.arange(count),
        **matrices,
    )


def output(rows=2, frames=10, width=8, codebooks=3, hop=320, seed=1, dtype=torch.float32, audio=None, latent=None) -> TokenizerOutput:
    """Tokenizer output whose z, z_1, z_rest are straight-through copies of `latent` and whose audio depends on z."""
    generator = torch.Generator().manual_seed(seed)
    if latent is None:
        latent = torch.randn(rows, frames, width, generator=generator, dtype=dtype).requires_grad_()
    rows, frames, width = latent.shape
    q_1, q_rest = torch.randn(2, rows, frames, width, generator=generator, dtype=latent.dtype)
    z = latent + (q_1 + q_rest - latent).detach()
    if audio is None:
        mix = torch.randn(width, hop, generator=generator, dtype=latent.dtype)
        audio = 0.05 * (z @ mix).reshape(rows, frames * hop)
    return TokenizerOutput(
        audio=audio,
        latent=latent,
        z=z,
        z_1=latent + (q_1 - latent).detach(),
        z_rest=(latent - q_1) + (q_rest - (latent - q_1)).detach(),
        codes=torch.zeros(rows, codebooks, frames, dtype=torch.int64),
        sums=torch.stack([q_1] + [q_1 + q_rest * k / (codebooks - 1) for k in range(1, codebooks)]),
        perplexity=torch.ones(codebooks),
        usage=torch.ones(codebooks),
        frame_mask=torch.ones(rows, frames, dtype=torch.bool),
        commitment=torch.stack([(latent - q_1).square().mean()] * codebooks),
        frame_rate=16000 / hop,
        sample_rate=16000,
    )


def padded(given: TokenizerOutput, crops: Batch, row: int, frames: int) -> tuple[TokenizerOutput, Batch]:
    """The same with only the first `frames` frames of `row` real."""
    hop = round(given.sample_rate / given.frame_rate)
    frame_mask, mask = given.frame_mask.clone(), crops.mask.clone()
    frame_mask[row, frames:] = False
    mask[row, frames * hop :] = False
    return replace(given, frame_mask=frame_mask), replace(crops, mask=mask)


class ToneTeacher(nn.Module):
    """Frame teacher: a fixed linear map of the 320 samples of each frame; dropout in train mode, so that train mode shows."""

    sample_rate, frame_rate = 16000, 50.0

    def __init__(self, width=6, seed=3):
        super().__init__()
        self.width = width
        self.map = nn.Parameter(torch.randn(320, width, generator=torch.Generator().manual_seed(seed)) / 18)
        self.dropout = nn.Dropout(0.5)

    def frames(self, wav):
        cut = wav[:, : wav.shape[1] // 320 * 320].reshape(len(wav), -1, 320)
        return self.dropout(cut @ self.map.to(wav.dtype))


class VoiceTeacher(nn.Module):
    """Speaker teacher: mean of the absolute value of a fixed linear map over the real frames."""

    sample_rate = 16000

    def __init__(self, width=6, seed=4):
        super().__init__()
        self.width = width
        self.map = nn.Parameter(torch.randn(320, width, generator=torch.Generator().manual_seed(seed)) / 18)

    def embed(self, wav, mask=None):
        mask = torch.ones_like(wav, dtype=torch.bool) if mask is None else mask
        cut = (wav * mask)[:, : wav.shape[1] // 320 * 320].reshape(len(wav), -1, 320)
        return (cut @ self.map.to(wav.dtype)).abs().sum(1) / (mask.sum(1, keepdim=True) / 320).clamp(min=1)


class SpellingTeacher:
    """Word teacher: a vector for each word, of its letters, its neighbours' letters, and None's; it does not know "zzz"."""

    width = 6

    def vectors(self, sentence):
        rows = []
        for place, word in enumerate(sentence):
            about = [str(other) for other in sentence[max(0, place - 1) : place + 2]]
            rows.append(np.random.default_rng([*map(ord, f"{word}:{about}")]).standard_normal(6))
        known = torch.tensor([word not in (None, "zzz") for word in sentence], dtype=torch.bool)
        return torch.tensor(np.array(rows), dtype=torch.float32).reshape(-1, 6) * known[:, None], known


class Sentences(vocabulary.Sentences):
    """Sentences for spans whose number is the place in one utterance."""

    def __init__(self, *words):
        object.__setattr__(self, "said", words or ("big", "zzz", "dog", "fog", "road", "path"))

    def place(self, token):
        return 0, token

    def words(self, utterance):
        return self.said


def stft(wav: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Complex STFT (n, f) of one signal frame by frame: centred, zero-padded, divided by the root of the window's energy."""
    hann = np.array([0.5 - 0.5 * math.cos(2 * math.pi * k / window) for k in range(window)])
    long = np.concatenate([np.zeros(window // 2), wav, np.zeros(window // 2)])
    frames = [np.fft.rfft(long[k * hop : k * hop + window] * hann) for k in range(len(wav) // hop + 1)]
    return np.stack(frames) / math.sqrt((hann**2).sum())


def mel_filters(sample_rate: int, mels: int, window: int) -> np.ndarray:
    """Triangles on the HTK mel scale, (f, m), each with sum 1, empty ones left out."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = [700 * (10 ** (top * i / (mels + 1) / 2595) - 1) for i in range(mels + 2)]
    columns = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        bins = np.arange(window // 2 + 1) * sample_rate / window
        column = np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
        if column.sum() > 0:
            columns.append(column / column.sum())
    return np.stack(columns, axis=1)


def mel_loss(fake: np.ndarray, real: np.ndarray, lengths, sample_rate, mels, windows, log_weight, floor) -> float:
    """Multi-scale mel loss of (b, t) signals of which the first `lengths[b]` samples are real."""
    scales = []
    for window in windows:
        filters, terms = mel_filters(sample_rate, mels, window), []
        for one, other, length in zip(fake, real, lengths, strict=True):
            keep = np.arange(len(one)) < length
            a, b = (np.abs(stft(signal * keep, window, window // 4)) @ filters for signal in (one, other))
            for k in range(len(a)):
                if min(k * window // 4, len(one) - 1) < length:
                    bel = 2 * np.log10((a[k] + floor) / (b[k] + floor))
                    terms.append(np.abs(a[k] - b[k]).mean() + log_weight * (bel**2).mean())
        scales.append(np.mean(terms))
    return float(np.mean(scales))


def span_means(frames: np.ndarray, lengths, rows, starts, ends, frame_rate: float) -> np.ndarray:
    """Mean over the frames whose centre lies in the span, else the nearest one."""
    result = []
    for row, start, end in zip(rows, starts, ends, strict=True):
        centres = [(k + 0.5) / frame_rate for k in range(lengths[row])]
        inside = [k for k, centre in enumerate(centres) if start <= centre <= end]
        if not inside:
            inside = [min(range(len(centres)), key=lambda k: abs(centres[k] - (start + end) / 2))]
        result.append(frames[row][inside].mean(axis=0))
    return np.stack(result)


def info_nce(vectors: np.ndarray, positive, excluded, hard, temperature: float, hard_weight: float) -> float:
    """InfoNCE by loops."""
    unit = [vector / np.linalg.norm(vector) for vector in vectors]
    anchors = []
    for a in range(len(unit)):
        terms = []
        for p in range(len(unit)):
            if p == a or not positive[a, p]:
                continue
            crowd = 0.0
            for n in range(len(unit)):
                if n != a and not positive[a, n] and not excluded[a, n]:
                    crowd += (hard_weight if hard[a, n] else 1.0) * math.exp(unit[a] @ unit[n] / temperature)
            own = math.exp(unit[a] @ unit[p] / temperature)
            terms.append(-math.log(own / (own + crowd)))
        if terms:
            anchors.append(np.mean(terms))
    return float(np.mean(anchors)) if anchors else 0.0


def attention_pool(pooling, frames: np.ndarray, length: int) -> np.ndarray:
    """Multi-head attention of a learned query over the first `length` frames of one crop, head by head."""
    p = {name: value.detach().double().numpy() for name, value in pooling.named_parameters()}
    width, heads = frames.shape[1], pooling.heads
    size = width // heads
    keys = frames[:length] @ p["key.weight"].T + p["key.bias"]
    values = frames[:length] @ p["value.weight"].T + p["value.bias"]
    parts = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = np.array([p["query"][head] @ key[part] / math.sqrt(size) for key in keys])
        weights = np.exp(scores - scores.max())
        parts.append(sum(w * v[part] for w, v in zip(weights / weights.sum(), values, strict=True)))
    return np.concatenate(parts) @ p["output.weight"].T + p["output.bias"]


def conv2d(image: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride, padding, dilation) -> np.ndarray:
    """2-D convolution (c, n, f) position by position."""
    image = np.pad(image, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    reach = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    rows = (image.shape[1] - reach[0]) // stride[0] + 1
    columns = (image.shape[2] - reach[1]) // stride[1] + 1
    result = np.zeros((weight.shape[0], rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride[0], j * stride[1]
            patch = image[:, top : top + reach[0] : dilation[0], left : left + reach[1] : dilation[1]]
            result[:, i, j] = (weight * patch).sum(axis=(1, 2, 3)) + bias
    return result
