"""Make `checkpoints/demo` of a run: `python scripts/make_demo.py checkpoints/RUN`; the checkpoint leans on tokenizer/ for its weights."""

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from laminal.report import page
from laminal.runfolder import read_config, write_config

KEPT = ("manifest.json", "split.json", "scores.parquet", "metrics.csv")
LIMIT = 10e6  # bytes


def main(run: Path, demo: Path) -> None:
    """Copy what a reader needs; optimizers, plots and audio stay behind."""
    shutil.rmtree(demo, ignore_errors=True)
    demo.mkdir(parents=True)
    for name in KEPT:
        shutil.copy(run / name, demo / name)
    copy_items(run / "items.parquet", demo / "items.parquet")
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


def copy_items(source: Path, target: Path) -> None:
    """Copy the items of the first and the last step, of word pairs those of the first and the last codebook: what sentences speak of."""
    table = pq.read_table(source)
    steps, layers = table["step"].to_pandas(), table["layer"].to_pandas().astype(str)
    books = sorted({int(layer) for layer in layers.unique() if layer.isdigit()})
    spoken_of = table["setting"].to_pandas().astype(str).str.contains("synonym|near_homophone")
    told = (table["probe"].to_pandas() != "word_pairs") | (layers.isin([str(books[0]), str(books[-1])]) & spoken_of)
    parts = []
    for step in sorted({steps.min(), steps.max()}):
        parts.append(table.filter(pa.array(told & (steps == step))))
    with pq.ParquetWriter(target, table.schema, compression="zstd", compression_level=19) as writer:
        for part in parts:  # a row group for each step, as a run has them
            writer.write_table(part, row_group_size=part.num_rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(__file__).resolve().parents[1] / "checkpoints" / "demo")
