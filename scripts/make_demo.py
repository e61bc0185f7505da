"""Make `checkpoints/demo` of a run: `python scripts/make_demo.py checkpoints/RUN`; the checkpoint leans on tokenizer/ for its weights."""

import shutil
import sys
from pathlib import Path

import torch

from laminal.report import page
from laminal.runfolder import read_config, write_config

KEPT = ("manifest.json", "split.json", "scores.parquet", "items.parquet", "metrics.csv")
LIMIT = 10e6  # bytes


def main(run: Path, demo: Path) -> None:
    """Copy what a reader needs; optimizers, plots and audio stay behind."""
    shutil.rmtree(demo, ignore_errors=True)
    demo.mkdir(parents=True)
    for name in KEPT:
        shutil.copy(run / name, demo / name)
    write_config(demo, read_config(run))
    shutil.copytree(run / "tokenizer", demo / "tokenizer")
    page.write(demo)  # anew: without the audio samples it is smaller
    held = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    facts = {name: held["laminal"][name] for name in ("generator_step", "tokenizer")}
    slim = {"laminal": facts | {"weights": "tokenizer"}, "state_dict": {}, "epoch": held["epoch"]}
    torch.save(slim, demo / "last.ckpt")
    size = sum(path.stat().st_size for path in demo.rglob("*") if path.is_file())
    print(f"{demo}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"{size / 1e6:.1f} MB is over {LIMIT / 1e6:.0f} MB: take a smaller tokenizer.dim")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(__file__).resolve().parents[1] / "checkpoints" / "demo")
