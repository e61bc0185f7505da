"""A folder of noises, a codec of a few lines to tokenise them with, and the command as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from laminal import audio

ROOT = Path(__file__).resolve().parents[1]
CODEC = '''
import os, time, torch

class Mine:
    """Two codebooks of 300: sign and size of an average over 640 samples, a frame each 320; says on which audio it depends."""
    name, sample_rate, frame_rate, codebooks, codebook_size = "mine", 16000, 50.0, 2, 300

    def __init__(self, revision="1", context=True, wait=0.0, log=None):
        self.revision, self.wait, self.log = revision, wait, log
        if context:
            self.chunk_context = (160, 160)

    def encode(self, wav):
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{os.getpid()} {wav.shape[1]}\\n")
        time.sleep(self.wait)
        padded = torch.nn.functional.pad(wav, (160, 160 + -wav.shape[1] % 320))
        mean = padded.unfold(1, 640, 320).mean(2)
        return torch.stack([(mean > 0).long(), (mean.abs() * 20000).round().long().clamp(max=299)], 1)

    def decode(self, codes):
        return ((codes[:, 0] * 2 - 1) * codes[:, 1] / 20000).repeat_interleave(320, 1)

    def layers(self, wav_or_codes):
        codes = wav_or_codes if not wav_or_codes.is_floating_point() else self.encode(wav_or_codes)
        return {"1": codes[:, 0, :, None].float()}
'''


def noises(root: Path, count: int = 6, rates: tuple[int, ...] = (16_000, 22_050)) -> Path:
    """Files of different lengths, rates and formats, in folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"speaker {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        rate = rates[number % len(rates)]
        wav = 0.1 * rng.standard_normal(rate // 2 + 777 * number).astype(np.float32)
        audio.write(folder / f"u{number}.{('wav', 'flac')[number % 2]}", wav, rate)
    return root


def command(*words: str) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
    return [sys.executable, *words], environment


def run(*words: str) -> subprocess.CompletedProcess:
    line, environment = command(*words)
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


def tree(folder: Path, suffix: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob(f"*{suffix}"))}
