"""Slow references for the measures on waveforms: loops and sums, straight from the definitions."""

import cmath
import math

import numpy as np


def si_sdr(s, e):
    s, e = [x - sum(s) / len(s) for x in s], [x - sum(e) / len(e) for x in e]
    a = sum(x * y for x, y in zip(s, e)) / sum(x * x for x in s)
    target, distortion = sum((a * x) ** 2 for x in s), sum((a * x - y) ** 2 for x, y in zip(s, e))
    return 10 * math.log10(target / distortion)


def hann(size):
    return [0.5 - 0.5 * math.cos(2 * math.pi * i / size) for i in range(size)]


def magnitudes(samples, window, size):
    """|DFT| of one windowed frame, by its sum."""
    x = np.zeros(size, complex)
    first = (size - len(window)) // 2
    x[first : first + len(window)] = np.asarray(samples)[first : first + len(window)] * np.asarray(window)
    return np.array([abs(sum(x[i] * cmath.exp(-2j * math.pi * i * k / size) for i in range(size) if x[i])) for k in range(size // 2 + 1)])


def slaney_hz(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def slaney_mel(hz):
    return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) / math.log(6.4) * 27


def htk_hz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


def htk_mel(hz):
    return 2595 * math.log10(1 + hz / 700)


def triangles(bands, size, rate, to_hz, to_mel):
    """Rows of triangular filters of height 1, and their corners in Hz."""
    corners = [to_hz(to_mel(rate / 2) * i / (bands + 1)) for i in range(bands + 2)]
    rows = np.zeros((bands, size // 2 + 1))
    for band in range(bands):
        low, top, high = corners[band : band + 3]
        for k in range(size // 2 + 1):
            f = k * rate / size
            rows[band, k] = max(0.0, min((f - low) / (top - low), (high - f) / (high - top)))
    return rows, corners


def log_mel(wav, window, bands, rate):
    """One scale of the mel distance, frame by frame."""
    rows, corners = triangles(bands, window, rate, slaney_hz, slaney_mel)
    for band in range(bands):
        rows[band] *= 2 / (corners[band + 2] - corners[band])
    padded = np.pad(wav, window // 2, mode="reflect")
    frames = [magnitudes(padded[s : s + window], hann(window), window) for s in range(0, len(wav) + 1, window // 4)]
    return np.array([[math.log10(max(float(row @ frame), 1e-5)) for row in rows] for frame in frames])


def mcd(a, b):
    """Mel-cepstral distortion over the frames of `a` within 40 dB of its loudest."""
    rows, _ = triangles(40, 512, 16000, htk_hz, htk_mel)
    rows /= rows.sum(1, keepdims=True)
    window = np.array(hann(400)) / sum(hann(400))

    def frames(wav):
        padded = np.pad(wav, 256)
        return [magnitudes(padded[s : s + 512], window, 512) for s in range(0, len(wav) + 1, 160)]

    def cepstrum(frame):
        logs = [math.log(max(float(row @ frame), 1e-5)) for row in rows]
        return [2 / 40 * sum(x * math.cos(math.pi * m * (j + 0.5) / 40) for j, x in enumerate(logs)) for m in range(1, 25)]

    first, second = frames(a), frames(b)
    level = [float((frame**2).sum()) for frame in first]
    found = []
    for x, y, power in zip(first, second, level):
        if power >= max(level) * 1e-4:
            found.append(10 / math.log(10) * math.sqrt(2 * sum((p - q) ** 2 for p, q in zip(cepstrum(x), cepstrum(y)))))
    return sum(found) / len(found)


def normalised_correlation(x, start, window, lag):
    a, b = x[start : start + window], x[start + lag : start + lag + window]
    norm = math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))
    return sum(p * q for p, q in zip(a, b)) / norm if norm else 0.0


def word_errors(reference, heard):
    """Levenshtein's table."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def voice(f0, rate=16000, seed=0, formants=((700, 90), (1200, 110), (2600, 160))):
    """Speech-like sound: a pulse train at `f0` Hz (one value a sample, 0 for a pause) through resonances."""
    rng = np.random.default_rng(seed)
    f0 = np.asarray(f0, dtype=float)
    phase = np.cumsum(f0 / rate)
    pulses = (np.diff(np.floor(phase), prepend=0) > 0) * (f0 > 0) + 1e-4 * rng.standard_normal(len(f0))
    for centre, width in formants:
        r, angle = math.exp(-math.pi * width / rate), 2 * math.pi * centre / rate
        out = np.zeros(len(pulses) + 2)
        for i, x in enumerate(pulses):
            out[i + 2] = x + 2 * r * math.cos(angle) * out[i + 1] - r * r * out[i]
        pulses = out[2:]
    return (0.3 * pulses / np.abs(pulses).max()).astype(np.float32)
