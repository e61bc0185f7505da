"""Markdown tables of a comparison: python scripts/compared_tables.py results/A-against-B/comparison.parquet [--layers 1,8|1,last]."""

import argparse
from pathlib import Path

import pandas as pd

SETTINGS = ("near_homophone", "synonym_core", "synonym")
TIERS = ("trained", "new_pair", "new_word", "cross", "all")
LAST = "last"  # all codebooks, where A and B have different numbers of them
QUALITY = ("mel_distance", "stoi", "estoi", "pesq", "si_sdr", "phone_gain", "abx_across", "abx_within")


def pairs(table: pd.DataFrame, layer: str) -> list[str]:
    """Word pairs at one layer, a row for each setting and tier."""
    rows = table[(table.probe == "word_pairs") & (table.distance == "euclidean") & (table.layer == layer)]
    heading = "all codebooks" if layer == LAST else f"codebook {layer}"
    lines = [f"| {heading} | tier | A | B | A - B (95 %) | n |", "|---|---|---|---|---|---|"]
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
    deepest = str(max((int(layer) for layer in rows.layer if layer.isdigit()), default=0))
    last = LAST if LAST in set(rows.layer) else deepest
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
    if "layer_mode" in table:  # comparisons of before had none
        table = table[table.layer_mode.isin(["cumulative", ""]) | (table.probe != "word_pairs")]
    sides = table.groupby(["run_a", "run_b"], sort=False) if "run_a" in table else [(("A", "B"), table)]
    for (a, b), rows in sides:
        print(f"A = {a}, B = {b}\n")
        for layer in asked.layers.split(","):
            print("\n".join(pairs(rows, layer)), end="\n\n")
        print("\n".join(quality(rows)), end="\n\n")


if __name__ == "__main__":
    main()
