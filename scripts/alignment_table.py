"""The table of docs/text_alignment.md from stored scores: `python scripts/alignment_table.py FOLDER[:LAYER,LAYER] ...`."""

import sys
from pathlib import Path

from laminal.report.selection import Checkpoint, checkpoints
from laminal.results import layer_order, read_table

HEADS = (
    "", "CKA", "p, p within one length", "permuted within one length", "random", "bag of phones", "over a bag of phones", "over duration",
    "beyond form", "beyond all controls",
)  # fmt: skip


def main(words: list[str]) -> None:
    """Print a row for each layer and way to cut words."""
    print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    for word in words:
        folder, _, wanted = word.partition(":")
        scores = read_table(Path(folder) / "scores.parquet")
        layers = layer_order(scores.loc[(scores["probe"] == "text_alignment") & (scores["layer"] != ""), "layer"])
        for slice in ("audio", "features"):
            for layer in [name for name in layers if not wanted or name in wanted.split(",")]:
                print(f"| {Path(folder).name} {layer}, {slice} | " + " | ".join(cells(checkpoints(scores)[-1], layer, slice)) + " |")


def cells(point: Checkpoint, layer: str, slice: str) -> list[str]:
    """Give the numbers of one layer."""

    def number(metric: str, setting: str = "text") -> str:
        found = point.find("text_alignment", metric, setting, layer, slice=slice)
        if found is None:
            return ""
        return f"{found.value:.3f}" if metric.startswith("p") else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"

    first = [number("cka"), f"{number('p')}, {number('p_by_length')}", number("null_by_length"), number("cka", "random")]
    beyond = [f"{number(metric)}, p {number(f'p_{metric}')}" for metric in ("beyond_form", "beyond_controls")]
    return [*first, number("cka", "bag_of_phones"), number("over_phones"), number("over_duration"), *beyond]


if __name__ == "__main__":
    main(sys.argv[1:])
