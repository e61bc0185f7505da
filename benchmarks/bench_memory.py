"""Peak memory of training and probing when the corpus grows tenfold: the same steps and probe sizes, each in a process of its own."""

import subprocess
import sys

SMALL, LARGE = 760, 7600
PROGRAM = """
import resource, sys, tempfile
from pathlib import Path
import torch
from laminal import config, experiment, training
torch.set_num_threads(1)
words = [f"corpus.utterances={sys.argv[1]}", "trainer.epochs=1", "trainer.steps_per_epoch=40", "data.cache_bytes=33554432"]
settings = experiment.resolved(config.load(["semantic_rvq"], [*words, "log.logger=csv"]))
with tempfile.TemporaryDirectory() as folder:
    training.train(settings, Path(folder), False, [])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(utterances: int) -> float:
    """Peak resident size in MB."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(utterances)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def run() -> list[dict]:
    small, large = peak(SMALL), peak(LARGE)
    what = f"peak MB of training and probing, {LARGE} / {SMALL} utterances"
    return [{"what": what, "ours_s": large, "reference_s": small, "ratio": large / small, "target": "<= 1.1"}]
