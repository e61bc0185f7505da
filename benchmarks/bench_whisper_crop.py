"""The Whisper teacher on crops against its padded 30 s window, as `reconstruct_match` asks it: frames of original and rebuilt audio.

One thread, wall time; 2 crops of 1 s, the weights of $LAMINAL_WEIGHTS (default ../shared/weights) or, without them, a random copy of
the same size. The window's positions are not cut: all 1,500 frames go through the layers, and the crop's are taken from them.
"""

import os
import time
from pathlib import Path

import torch
from torch import nn

from laminal import compat
from laminal.teachers.whisper import WhisperTeacher

SECONDS, CROPS, ROUNDS, WINDOW = 1, 2, 3, 480_000
SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "weights"
WEIGHTS = Path(os.environ.get("LAMINAL_WEIGHTS", SHARED)) / "whisper_base_encoder"


def window(teacher: WhisperTeacher, wav: torch.Tensor) -> torch.Tensor:
    """Frames by transformers' own encoder, which insists on 30 s."""
    encoder, mel = teacher._networks
    padded = nn.functional.pad(wav[:, 160:], (0, WINDOW - wav.shape[1] + 160))
    return encoder(mel(padded)).last_hidden_state[:, : wav.shape[1] // 320]


def step(frames, wav: torch.Tensor) -> float:
    """Time the original without and the rebuilt audio with gradient, and the backward pass."""
    rebuilt = (0.9 * wav).requires_grad_()
    begun = time.perf_counter()
    with torch.no_grad():
        target = frames(wav)
    (frames(rebuilt) - target).square().mean().backward()
    return time.perf_counter() - begun


def teacher_of() -> WhisperTeacher:
    """Real weights where they are: speed does not depend on them."""
    if WEIGHTS.is_dir():
        return WhisperTeacher(WEIGHTS, layer=6)
    compat.torchaudio()
    import tempfile

    from transformers import WhisperConfig, WhisperModel

    with tempfile.TemporaryDirectory() as folder:
        size = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
        WhisperModel(WhisperConfig(decoder_layers=1, **size)).save_pretrained(folder)
        return WhisperTeacher(folder, layer=6)


def run() -> list[dict]:
    torch.set_num_threads(1)
    teacher, wav = teacher_of(), 0.1 * torch.randn(CROPS, SECONDS * 16000, generator=torch.Generator().manual_seed(0))
    ways = {"crop": teacher.frames, "window": lambda audio: window(teacher, audio)}
    took = {name: min(step(frames, wav) for _ in range(ROUNDS)) for name, frames in ways.items()}
    what = f"Whisper teacher on crops / padded 30 s window, {CROPS} x {SECONDS} s, both passes"
    ratio = took["window"] / took["crop"]
    return [{"what": what, "ours_s": took["crop"], "reference_s": took["window"], "ratio": ratio, "target": ">= 4"}]
