"""Make a checkpoint that can be shipped: `python scripts/make_demo.py checkpoints/RUN [checkpoints/NAME] [OLD=NEW ...]`.

NAME is `demo` where none is given. The checkpoint leans on tokenizer/ for its weights. OLD=NEW: a path of this machine, in the
configuration and the manifest, and what stands for it, as /home/me/pretrained.pt=resemblyzer; a path that is left is refused.
"""

import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from laminal.report import page

KEPT = ("split.json", "scores.parquet", "metrics.csv")
LIMIT = 10e6  # bytes


def main(run: Path, demo: Path, renamed: dict[str, str]) -> None:
    """Copy what a reader needs; optimizers, plots and audio stay behind."""
    last = demo / "last.ckpt"
    if demo.exists() and not (last.is_file() and not torch.load(last, map_location="cpu", weights_only=True)["state_dict"]):
        raise SystemExit(f"{demo} is there and was not made by this script; remove it, or give another name")
    texts = {name: renamed_text((run / name).read_text(encoding="utf-8"), name, renamed) for name in ("manifest.json", "config.yaml")}
    shutil.rmtree(demo, ignore_errors=True)
    demo.mkdir(parents=True)
    for name in KEPT:
        shutil.copy(run / name, demo / name)
    copy_items(run / "items.parquet", demo / "items.parquet")
    for name, text in texts.items():
        (demo / name).write_text(text, encoding="utf-8")
    shutil.copytree(run / "tokenizer", demo / "tokenizer")
    page.write(demo)  # anew: without the audio samples it is smaller
    held = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    facts = {name: held["laminal"][name] for name in ("generator_step", "tokenizer")}
    slim = {"laminal": facts | {"weights": "tokenizer"}, "state_dict": {}, "epoch": held["epoch"]}
    torch.save(slim, last)
    size = sum(path.stat().st_size for path in demo.rglob("*") if path.is_file())
    print(f"{demo}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"{size / 1e6:.1f} MB is over {LIMIT / 1e6:.0f} MB: take a smaller tokenizer.dim")


def told(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Part the command line's words from its OLD=NEW."""
    return [word for word in arguments if "=" not in word], dict(word.split("=", 1) for word in arguments if "=" in word)


def renamed_text(text: str, name: str, renamed: dict[str, str]) -> str:
    """Replace paths of this machine; raises SystemExit where an absolute one is left."""
    for old, new in renamed.items():
        text = text.replace(old, new)
    if left := re.search(r"""(?<![\w.:/])(?:/[\w.-]+){2,}""", text):
        raise SystemExit(f"{name} names {left[0]}, a path of this machine; give {left[0]}=NAME")
    return text


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
    words, renamed = told(sys.argv[1:])
    if len(words) not in (1, 2):
        raise SystemExit(__doc__)
    target = Path(words[1]) if len(words) == 2 else Path(__file__).resolve().parents[1] / "checkpoints" / "demo"
    main(Path(words[0]), target, renamed)
