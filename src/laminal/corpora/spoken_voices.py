"""The speakers of the spoken corpus: an espeak voice each, and a vocal tract, a colour, a level and a background of their own."""

from dataclasses import dataclass

import numpy as np
import soxr
from jaxtyping import Float, Float32
from scipy.signal import lfilter, sosfilt

from laminal.corpora import espeak

SAMPLE_RATE = 16000  # Hz, of the corpus
EDGE = (0.03, 0.1)  # seconds of background before and after the speech
# American ones more often: the corpora that models are probed on are American in the main
ACCENTS = tuple(
    accent
    for accent, times in {
        "en-us": 5, "en-us-nyc": 1, "en": 1, "en-gb-x-rp": 2, "en-gb-scotland": 1, "en-gb-x-gbclan": 1, "en-gb-x-gbcwmd": 1, "en-029": 1,
    }.items()
    for _ in range(times)
)  # fmt: skip
# espeak's variants without an echo (it would fill the closures) and without robots, whispers, croaks
# and the two that an aligner cannot follow (Annie, shelby)
VARIANTS = (
    "", "f1", "Andrea", "aunty", "belinda", "linda", "steph", "steph2", "grandma", "anika",
    "m1", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy", "Denis", "Gene", "Mike", "Michael", "Reed", "adam", "antonio", "benjamin",
    "david", "edward2", "grandpa", "klatt2", "klatt4", "max", "mike2", "paul", "pedro", "quincy", "rob", "robert", "sandro", "victor",
)  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """One voice. `tract` > 1 is a shorter vocal tract: formants, pitch and rate rise together; `colour` are second-order sections."""

    name: str
    voice: espeak.Voice
    tract: float
    colour: Float[np.ndarray, "sections 6"]
    level: float  # dB below full scale (RMS)
    snr: float  # dB of speech over background
    hiss: float  # pole of the background's one-pole low-pass: 0 white, towards 1 a rumble


def speaker(number: int, seed: int) -> Speaker:
    """Draw speaker `number`; the same however many others there are."""
    rng = np.random.default_rng([seed, 3, number])
    tract = float(rng.uniform(0.87, 1.16))
    first = np.random.default_rng([seed, 4]).integers(len(ACCENTS) * len(VARIANTS))  # where the wheels stand; their sizes are coprime
    accent, variant = ACCENTS[int(first + 5 * number) % len(ACCENTS)], VARIANTS[int(first + 17 * number) % len(VARIANTS)]
    rate = round(float(rng.uniform(165, 215)) / tract)
    voice = espeak.Voice(accent, variant, rate, *rng.integers(25, 76, size=2).tolist())
    tilt, hertz = float(rng.uniform(-7, 5)), _log_uniform(rng, 200.0, 6000.0, 3)
    bands = zip(hertz.tolist(), rng.uniform(-6, 6, 3).tolist(), rng.uniform(0.7, 2.5, 3).tolist(), strict=True)
    colour = np.stack([_shelf(tilt), *(_peak(*band) for band in bands)])
    return Speaker(
        f"spk{number:04d}", voice, tract, colour, float(rng.uniform(-28, -20)), float(rng.uniform(35, 60)), float(rng.uniform(0.0, 0.9))
    )


@dataclass(frozen=True, slots=True)
class Recording:
    """Speech as recorded: samples at SAMPLE_RATE, words and phones as (label, start, end) in seconds."""

    samples: Float32[np.ndarray, " t"]
    words: tuple[tuple[str, float, float], ...]
    phones: tuple[tuple[str, float, float], ...]


def record(said: espeak.Speech, who: Speaker, draw: tuple[int, ...]) -> Recording:
    """Turn what espeak said into a recording of `who`; `draw` seeds level and background of this utterance alone.

    The vocal tract is changed by resampling: sample k of espeak lies at k / (rate * tract) s, and every time stamp with it.
    """
    rng = np.random.default_rng(draw)
    rate = said.sample_rate * who.tract
    speech = sosfilt(who.colour, soxr.resample(said.samples.astype(np.float32) / 32768, rate, SAMPLE_RATE)).astype(np.float32)
    before, after = (rng.uniform(*EDGE, size=2) * SAMPLE_RATE).astype(int).tolist()
    wav = np.zeros(before + len(speech) + after, dtype=np.float32)
    wav[before : before + len(speech)] = speech
    level = 10 ** ((who.level + float(rng.normal(0, 1.5))) / 20)
    wav *= level / max(float(np.sqrt(np.mean(np.square(speech)))), 1e-6)
    hiss = lfilter([1.0], [1.0, -who.hiss], rng.standard_normal(len(wav), dtype=np.float32))
    wav += (level * 10 ** (-who.snr / 20) * np.sqrt(1 - who.hiss**2) * hiss).astype(np.float32)
    wav *= min(1.0, 0.97 / max(float(np.abs(wav).max()), 1e-6))
    offset = before / SAMPLE_RATE

    def seconds(segments: tuple[espeak.Segment, ...]) -> tuple[tuple[str, float, float], ...]:
        return tuple((s.label, round(offset + s.start / rate, 6), round(offset + s.end / rate, 6)) for s in segments)

    return Recording(wav, seconds(said.words), seconds(said.phones))


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    return np.sort(np.exp(rng.uniform(np.log(low), np.log(high), count)))


def _peak(hertz: float, decibel: float, q: float) -> np.ndarray:
    """Peaking filter of the Audio EQ Cookbook (Bristow-Johnson) as one section."""
    a, angle = 10 ** (decibel / 40), 2 * np.pi * hertz / SAMPLE_RATE
    alpha = np.sin(angle) / (2 * q)
    return np.array([1 + alpha * a, -2 * np.cos(angle), 1 - alpha * a, 1 + alpha / a, -2 * np.cos(angle), 1 - alpha / a]) / (1 + alpha / a)


def _shelf(decibel: float, hertz: float = 1500.0) -> np.ndarray:
    """High shelf of the Audio EQ Cookbook (slope 1) as one section: the tilt of the spectrum."""
    a, angle = 10 ** (decibel / 40), 2 * np.pi * hertz / SAMPLE_RATE
    cos, root = np.cos(angle), np.sqrt(2 * a) * np.sin(angle)
    top = [a * ((a + 1) + (a - 1) * cos + root), -2 * a * ((a - 1) + (a + 1) * cos), a * ((a + 1) + (a - 1) * cos - root)]
    bottom = [(a + 1) - (a - 1) * cos + root, 2 * ((a - 1) - (a + 1) * cos), (a + 1) - (a - 1) * cos - root]
    return np.array([*top, *bottom]) / bottom[0]
