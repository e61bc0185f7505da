"""Markdown tables of a comparison: python scripts/compared_tables.py results/A-against-B/comparison.parquet [--layers 1,8]."""

import argparse
from pathlib import Path

import pandas as pd

SETTINGS = ("near_homophone", "synonym_core", "synonym")
TIERS = ("trained", "new_pair", "new_word", "cross", "all")
QUALITY = ("mel_distance", "stoi", "estoi", "pesq", "si_sdr", "abx_across", "abx_within")


def pairs(table: pd.DataFrame, layer: str) -> list[str]:
    """Word pairs at one layer, a row for each setting and tier."""
    rows = table[(table.probe == "word_pairs") & (table.distance == "euclidean") & (table.layer == layer)]
    lines = [f"| codebook {layer} | tier | A | B | A - B (95 %) | n |", "|---|---|---|---|---|---|"]
    for setting in SETTINGS:
        for tier in TIERS:
            for row in rows[(rows.setting == setting) & (rows.split == tier)].itertuples():
                told = "" if row.low <= 0 <= row.high else " *"
                change = f"{row.difference:+.1%} ({row.low:+.1%} to {row.high:+.1%}){told}"
                lines.append(f"| {setting} | {tier} | {row.a:+.1%} | {row.b:+.1%} | {change} | {row.n} |")
    return lines


def quality(table: pd.DataFrame) -> list[str]:
    """Tabulate what utterances say: reconstruction with all codebooks, and what else has items."""
    rows = table[(table.probe != "word_pairs") & table.metric.isin(QUALITY)]
    last = str(max((int(layer) for layer in rows.layer if layer.isdigit()), default=0))
    lines = ["| | A | B | A - B (95 %) | p | n |", "|---|---|---|---|---|---|"]
    for row in rows[rows.layer.isin(["1", last])].itertuples():
        change = f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        lines.append(f"| {row.metric}, codebooks: {row.layer} | {row.a:.3f} | {row.b:.3f} | {change} | {row.p:.3f} | {row.n} |")
    return lines


def main() -> None:
    """Print the tables of the comparison that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--layers", default="1,8")
    asked = parser.parse_args()
    table = pd.read_parquet(asked.comparison)
    for layer in asked.layers.split(","):
        print("\n".join(pairs(table, layer)), end="\n\n")
    print("\n".join(quality(table)))


if __name__ == "__main__":
    main()
