"""Train the small ECAPA-shaped teacher: which two of many crops were said by one voice, voices being made without end from the corpus.

A voice is a speaker of the corpus through a vocal tract length and a long-term colour drawn for it. Its two crops differ in words, in
noise, room, level and a little in tract; in some pairs each crop has a colour of its own, so that the colour alone does not tell.
All of it is done to log-mel features (dB), computed once.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from teacher_data import RATE, Bank
from torch import Generator, Tensor, nn

from laminal.teachers.ecapa import PUBLISHED, build, front_end, normalised

CHANNELS = 128
SIZES: dict[str, Any] = PUBLISHED | {
    "channels": [CHANNELS] * 4 + [3 * CHANNELS],
    "attention_channels": 64,
    "se_channels": 64,
    "normalise": "level",
}
VOICES = 32  # in a batch, two crops each
FRAMES = (100, 150, 200, 300)  # of 10 ms; one length a batch
TRACT, TRACT_JITTER = 0.16, 0.02  # log spread of the warp of the frequency axis: of voices, of crops of one voice
COLOUR, COLOUR_JITTER = 4.0, 1.0  # dB at the equaliser's knots: of voices, of crops of one voice
ESTRANGED = 0.3  # share of pairs whose crops have colours of their own
HARD = 0.25  # share of voices that are another tract's version of one in the batch
RATE_PEAK, DECAY = 2e-3, 0.02
MEL = 80


def features(bank: Bank) -> list[Tensor]:
    """Log-mel (n, 80) in dB of every utterance, as half floats."""
    front = front_end(MEL)
    cut = [bank.wav[o : o + n] for o, n in zip(bank.offset, bank.length)]
    return [front(torch.from_numpy(c.astype(np.float32) / 32768)[None])[0].half() for c in cut]


def curves(rows: int, spread: float, knots: int, generator: Generator) -> Float[Tensor, "b 1 m"]:
    """Smooth random curves over the mel axis, in dB."""
    drawn = torch.randn(rows, 1, knots, generator=generator) * spread
    return nn.functional.interpolate(drawn, MEL, mode="linear", align_corners=True)


def warped(mel: Float[Tensor, "b n m"], factor: Float[Tensor, "b"]) -> Float[Tensor, "b n m"]:
    """Read each row's spectrum at `factor` times the frequency (the other vocal tract length)."""
    edge = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (torch.linspace(0, edge, MEL + 2)[1:-1] / 2595) - 1)
    place = (2595 * torch.log10(1 + centres * factor[:, None] / 700) / edge * (MEL + 1) - 1).clamp(0, MEL - 1.001)
    low = place.floor().long()
    part = (place - low)[:, None]
    index = low[:, None].expand(-1, mel.shape[1], -1)
    return mel.gather(2, index) * (1 - part) + mel.gather(2, index + 1) * part


def mixed(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two powers in dB."""
    return 10 / np.log(10) * torch.logaddexp(a * (np.log(10) / 10), b * (np.log(10) / 10))


def _uniform(low: float, high: float, rows: int, generator: Generator) -> Float[Tensor, "b 1 1"]:
    return low + (high - low) * torch.rand(rows, 1, 1, generator=generator)


def room(mel: Float[Tensor, "b n m"], share: float, generator: Generator) -> Float[Tensor, "b n m"]:
    """Add a decaying tail to the power of `share` of the rows (RT60 0.1 to 0.8 s, -15 to 0 dB in all)."""
    rows, taps = len(mel), 40
    decay = 10 ** (-6 * torch.arange(1, taps + 1) * 0.01 / _uniform(0.1, 0.8, rows, generator))
    tail = decay / decay.sum(2, keepdim=True) * 10 ** (_uniform(-15, 0, rows, generator) / 10)
    tail = tail * (torch.rand(rows, 1, 1, generator=generator) < share)
    power = 10 ** (mel / 10)
    padded = nn.functional.pad(power.transpose(1, 2), (taps, 0))[:, :, :-1]  # b m n, one frame late
    late = nn.functional.conv1d(padded.transpose(0, 1), tail.flip(2), groups=rows).transpose(0, 1)
    return 10 * (power + late.transpose(1, 2)).clamp(min=1e-10).log10()


def noisy(mel: Float[Tensor, "b n m"], generator: Generator) -> Float[Tensor, "b n m"]:
    """Add noise of a random colour, 5 to 45 dB under the loud frames."""
    loud = mel.flatten(1).quantile(0.95, dim=1)[:, None, None]
    flicker = 10 * (-torch.rand(mel.shape, generator=generator).clamp(min=1e-4).log()).log10().clamp(min=-15)
    return mixed(mel, loud - _uniform(5, 45, len(mel), generator) + curves(len(mel), 5, 6, generator) + flicker)


def batch(mels: list[Tensor], by_speaker: list[np.ndarray], rng: np.random.Generator, generator: Generator) -> Float[Tensor, "b n m"]:
    """Draw VOICES voices: their first crops, then their second ones in the same order."""
    voices = rng.choice(len(by_speaker), VOICES)
    hard = round(HARD * VOICES)
    voices[-hard:] = voices[:hard]
    frames = int(rng.choice(FRAMES))
    pairs = [rng.choice(by_speaker[v], 2, replace=False) for v in voices]
    mel = torch.stack([_crop(mels[pair[side]], frames, rng) for side in range(2) for pair in pairs])
    tract = torch.from_numpy(np.exp(rng.uniform(-TRACT, TRACT, VOICES))).float().repeat(2)
    mel = warped(mel, tract * torch.from_numpy(np.exp(rng.normal(0, TRACT_JITTER, 2 * VOICES))).float())
    colour = curves(VOICES, COLOUR, 8, generator).repeat(2, 1, 1)
    strange = (torch.rand(VOICES, 1, 1, generator=generator) < ESTRANGED).repeat(2, 1, 1)
    mel = mel + torch.where(strange, curves(2 * VOICES, COLOUR, 8, generator), colour) + curves(2 * VOICES, COLOUR_JITTER, 8, generator)
    return noisy(room(mel, 0.4, generator), generator) + _uniform(-15, 15, 2 * VOICES, generator)


def _crop(mel: Float[Tensor, "n m"], frames: int, rng: np.random.Generator) -> Float[Tensor, "_ m"]:
    """Crop, at a tempo of 0.85 to 1.15; an utterance that is too short goes round."""
    source = round(frames * float(rng.uniform(0.85, 1.15)))
    first = int(rng.integers(max(1, len(mel) - source)))
    places = (first + torch.arange(frames) * (source / frames)).long() % len(mel)
    return mel[places].float()


def train(bank: Bank, utterances: np.ndarray, steps: int, seed: int, folder: Path) -> None:
    """Train on `utterances` of `bank` for `steps` batches; save to `folder` in speechbrain's names, fp16, with sizes.json.

    Loss: softmax over the batch of the scaled cosines between first and second crops (angular prototypical with one shot,
    Chung et al. 2020, arXiv 2003.11982), both ways.
    """
    mels = features(bank)
    by_speaker = [np.intersect1d(np.flatnonzero(bank.speaker == s), utterances) for s in range(len(bank.speakers))]
    by_speaker = [found for found in by_speaker if len(found) > 1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(SIZES)
    scale = nn.Parameter(torch.tensor(10.0))
    optimizer = torch.optim.AdamW([{"params": model.parameters()}, {"params": [scale], "weight_decay": 0.0}], RATE_PEAK, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_PEAK, total_steps=steps, pct_start=0.1)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    model.train()
    right, begun, target = [], time.time(), torch.arange(VOICES)
    for step in range(1, steps + 1):
        mel = normalised(batch(mels, by_speaker, rng, generator), None, SIZES["normalise"])
        with torch.autocast("cpu", torch.bfloat16):
            found = model(mel)[:, 0]
        unit = nn.functional.normalize(found.float(), dim=1)
        cosine = unit[:VOICES] @ unit[VOICES:].T
        loss = (nn.functional.cross_entropy(scale * cosine, target) + nn.functional.cross_entropy(scale * cosine.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
        schedule.step()
        right.append(float((cosine.argmax(1) == target).float().mean()))
        if step % 100 == 0:
            seconds = time.time() - begun
            print(f"ecapa step {step}: loss {loss.item():.3f}, pairs right {np.mean(right[-100:]):.3f}, {seconds:.0f} s", flush=True)
        if step % 500 == 0 or step == steps:
            save(model, folder)


def save(model: Any, folder: Path) -> None:
    """Write embedding_model.safetensors (fp16) and sizes.json."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    save_file(state, folder / "embedding_model.safetensors")
    (folder / "sizes.json").write_text(json.dumps(SIZES, indent=1) + "\n", encoding="utf-8")
