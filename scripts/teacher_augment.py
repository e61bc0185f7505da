"""Random recording channels: equaliser, band limits, reverberation, babble, coloured noise, clipping; all from a private generator."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

RATE = 16000
KNOTS = 10  # of the equaliser curve, equally spaced in mel


def _uniform(low: float, high: float, count: int, generator: Generator) -> Float[Tensor, "b 1"]:
    return low + (high - low) * torch.rand(count, 1, generator=generator)


def _often(share: float, count: int, generator: Generator) -> Float[Tensor, "b 1"]:
    return (torch.rand(count, 1, generator=generator) < share).float()


def equaliser(count: int, bins: int, spread_db: float, generator: Generator) -> Float[Tensor, "b f"]:
    """Smooth random gain curves: N(0, spread) dB at KNOTS mel-spaced knots, linear in mel between them."""
    knots = torch.randn(count, KNOTS, generator=generator) * spread_db
    mel = torch.log1p(torch.linspace(0, RATE / 2, bins) / 700) / torch.log1p(torch.tensor(RATE / 2 / 700)) * (KNOTS - 1)
    low = mel.floor().long().clamp(max=KNOTS - 2)
    part = mel - low
    return 10 ** ((knots[:, low] * (1 - part) + knots[:, low + 1] * part) / 20)


def band_limits(count: int, bins: int, share: float, generator: Generator) -> Float[Tensor, "b f"]:
    """High-pass at 60-400 Hz and low-pass at 2.8-7.5 kHz, each on `share` of the rows, 24 dB an octave and steeper."""
    hertz = torch.linspace(1, RATE / 2, bins)
    high = _uniform(60, 400, count, generator)
    low = _uniform(2800, 7500, count, generator)
    keep_high, keep_low = _often(share, count, generator), _often(share, count, generator)
    passed_high = 1 / (1 + (high / hertz) ** 4)
    passed_low = 1 / (1 + (hertz / low) ** 12)
    return (1 - keep_high + keep_high * passed_high) * (1 - keep_low + keep_low * passed_low)


def reverberation(count: int, samples: int, share: float, generator: Generator) -> Float[Tensor, "b r"]:
    """Impulse responses: a unit impulse, and on `share` of the rows a tail of decaying noise (RT60 0.1-0.8 s, -12 to +3 dB)."""
    seconds = torch.arange(samples) / RATE
    decay = torch.exp(-6.9 * seconds / _uniform(0.1, 0.8, count, generator))
    tail = torch.randn(count, samples, generator=generator) * decay
    tail = tail / tail.square().sum(1, keepdim=True).sqrt() * 10 ** (_uniform(-12, 3, count, generator) / 20)
    response = tail * _often(share, count, generator)
    response[:, 0] = 1
    return response


def noise(count: int, samples: int, generator: Generator) -> Float[Tensor, "b t"]:
    """Noise of unit power with spectra from white to 1/f^2, shaped by a random equaliser."""
    spectrum = torch.fft.rfft(torch.randn(count, samples, generator=generator))
    hertz = torch.linspace(20, RATE / 2, spectrum.shape[1])
    shaped = spectrum * hertz ** (-_uniform(0, 1, count, generator)) * equaliser(count, spectrum.shape[1], 6, generator)
    return _unit(torch.fft.irfft(shaped, samples))


def _unit(wav: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    return wav / wav.square().mean(1, keepdim=True).sqrt().clamp(min=1e-5)


def babble(wav: Float[Tensor, "b t"], generator: Generator) -> Float[Tensor, "b t"]:
    """Another row of the batch as a competing voice, shifted in time."""
    shift = int(torch.randint(wav.shape[1], (1,), generator=generator))
    return _unit(wav.roll((1, shift), (0, 1)))


def channel(wav: Float[Tensor, "b t"], strength: float, generator: Generator) -> Float[Tensor, "b t"]:
    """Put each row through its own random channel; `strength` 1 is heavy (rooms, telephones, 0 dB babble), 0 none."""
    count, samples = wav.shape
    room = 8192
    size = samples + room
    clean = _unit(wav)
    mixed = clean + babble(clean, generator) * _often(0.25 * strength, count, generator) * 10 ** (-_uniform(0, 20, count, generator) / 20)
    bins = size // 2 + 1
    response = torch.fft.rfft(reverberation(count, room, 0.5 * strength, generator), size)
    response = response * equaliser(count, bins, 5 * strength, generator) * band_limits(count, bins, 0.25 * strength, generator)
    heard = _unit(torch.fft.irfft(torch.fft.rfft(mixed, size) * response, size)[:, :samples])
    level = _often(0.7 * strength, count, generator) * 10 ** (-_uniform(3, 35, count, generator) / 20)
    heard = heard + level * noise(count, samples, generator)
    clipped = torch.tanh(heard * 1.5) / 1.5
    share = _often(0.15 * strength, count, generator)
    return 0.08 * _unit(share * clipped + (1 - share) * heard)
