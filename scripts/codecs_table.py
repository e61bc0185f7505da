"""Figure and tables of several codecs on one corpus: python scripts/codecs_table.py results/FOLDER [--figure docs/real_speech.png].

Word pairs over random (Euclidean, both slices) at the first, middle and last layer and the latent, and what the units say of phones.
The figure draws near-homophones and synonyms of every layer with their intervals.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

SETTINGS = {"near_homophone": "near-homophones", "synonym_core": "core synonyms", "synonym": "synonyms"}
COLOURS = {"near_homophone": "#c0392b", "synonym_core": "#1f618d", "synonym": "#7fb3d5"}
NARROW = 0.025  # half-width beyond which a null decides nothing
UNITS = ("phone_accuracy", "phone_gain", "pnmi", "abx_across", "abx_within", "lexical_auc")


def chosen(layers: list[str]) -> list[str]:
    """Latent, first, middle and last layer."""
    numbered = sorted((layer for layer in layers if layer.isdigit()), key=int)
    few = [numbered[0], numbered[len(numbered) // 2], numbered[-1]] if numbered else []
    return [layer for layer in ("latent", *dict.fromkeys(few)) if layer in layers]


def told(row: pd.Series) -> str:
    """Value with its interval; `*` where it leaves 0 out, `?` where it holds 0 and is too wide to say so."""
    undecided = " ?" if (row.high - row.low) / 2 > NARROW else ""
    mark = undecided if row.low <= 0 <= row.high else " *"
    return f"{100 * row.value:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f}){mark} ({row.n})"


def pairs(scores: pd.DataFrame, runs: list[str], slice: str) -> list[str]:
    """One row a codec and layer: each setting over its own random pairs, in percent."""
    here = scores[(scores.probe == "word_pairs") & (scores.metric == "over_random") & (scores.distance == "euclidean")]
    here = here[(here.layer_mode == "cumulative") & (here.slice == slice) & (here.split == "all")]
    settings = [setting for setting in SETTINGS if (here.setting == setting).any()]
    heads = [f"{SETTINGS[setting]}, % (n)" for setting in settings]
    lines = [f"| {slice} slices | layer | " + " | ".join(heads) + " |", "|" + "---|" * (2 + len(settings))]
    for run in runs:
        of_run = here[here.run == run]
        for layer in chosen(list(of_run.layer.unique())):
            rows = {row.setting: told(row) for _, row in of_run[of_run.layer == layer].iterrows()}
            lines.append(f"| {run} | {layer} | " + " | ".join(rows.get(setting, "") for setting in settings) + " |")
    return lines


def units(scores: pd.DataFrame, runs: list[str]) -> list[str]:
    """One row a codec and layer: phones and words in the units, with chance."""
    here = scores[(scores.probe == "units") & scores.metric.isin(UNITS)]
    lines = ["| units | layer | " + " | ".join(UNITS) + " |", "|" + "---|" * (2 + len(UNITS))]
    for run in runs:
        of_run = here[here.run == run]
        for layer in chosen(list(of_run.layer.unique())):
            rows = {row.metric: f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f}; {row.chance:.3f})"
                    for row in of_run[of_run.layer == layer].itertuples()}  # fmt: skip
            lines.append(f"| {run} | {layer} | " + " | ".join(rows.get(metric, "") for metric in UNITS) + " |")
    return lines


def ordering(scores: pd.DataFrame, runs: list[str]) -> list[str]:
    """Whether near-homophone < synonym <= random holds, layer by layer, by intervals and by values."""
    here = scores[(scores.probe == "word_pairs") & (scores.metric == "over_random") & (scores.distance == "euclidean")]
    here = here[(here.layer_mode == "cumulative") & (here.split == "all")]
    lines = [
        "| | slice | layers | near-homophones below random (intervals) | below synonyms (values) | synonyms not below random (intervals) |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        for slice in ("audio", "features"):
            of_run = here[(here.run == run) & (here.slice == slice)]
            table = {setting: rows.set_index("layer") for setting, rows in of_run.groupby("setting")}
            if "near_homophone" not in table or "synonym" not in table:
                continue
            near, far = table["near_homophone"], table["synonym"]
            layers = [layer for layer in near.index if layer in far.index]
            below = sum(near.high[layer] < 0 for layer in layers)
            under = sum(near.value[layer] < far.value[layer] for layer in layers)
            level = sum(far.high[layer] >= 0 for layer in layers)
            lines.append(f"| {run} | {slice} | {len(layers)} | {below} | {under} | {level} |")
    return lines


def figure(scores: pd.DataFrame, runs: list[str], path: Path) -> None:
    """Draw a panel for each codec and slice."""
    here = scores[(scores.probe == "word_pairs") & (scores.metric == "over_random") & (scores.distance == "euclidean")]
    here = here[(here.layer_mode == "cumulative") & (here.split == "all")]
    drawn, axes = plt.subplots(2, len(runs), figsize=(2.3 * len(runs), 5), sharey=True, squeeze=False)
    for column, run in enumerate(runs):
        for axis, slice in zip(axes[:, column], ("audio", "features")):
            axis.axhline(0, color="grey", linewidth=0.8)
            for setting, name in SETTINGS.items():
                rows = here[(here.run == run) & (here.slice == slice) & (here.setting == setting)]
                rows = rows.assign(place=[int(layer) if layer.isdigit() else -1 for layer in rows.layer]).sort_values("place")
                level = rows[rows.place >= 0]
                if len(level) == 1 or level.empty:
                    rows = rows.assign(place=range(len(rows)))
                    axis.errorbar(rows.place, 100 * rows.value, 100 * abs(rows[["low", "high"]].to_numpy().T - rows.value.to_numpy()),
                                  fmt="o", markersize=3, color=COLOURS[setting], label=name)  # fmt: skip
                    axis.set_xticks([])
                    continue
                axis.plot(level.place, 100 * level.value, color=COLOURS[setting], label=name, linewidth=1.4)
                axis.fill_between(level.place, 100 * level.low, 100 * level.high, color=COLOURS[setting], alpha=0.15, linewidth=0)
            axis.set_title(f"{run}\n{slice} slices", fontsize=7)
            axis.tick_params(labelsize=7)
        axes[1, column].set_xlabel("layer", fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("% over random", fontsize=7)
    axes[0, 0].legend(fontsize=6)
    drawn.tight_layout()
    drawn.savefig(path, dpi=130)
    plt.close(drawn)


def main() -> None:
    """Print the tables and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--names", nargs="*", default=[], metavar="RUN=NAME", help="what to call the runs")
    asked = parser.parse_args()
    scores = pd.read_parquet(asked.folder / "scores.parquet")
    if len(scores[["corpus", "step"]].drop_duplicates()) > 1:
        raise SystemExit(f"{asked.folder}: scores of several corpora or checkpoints; give a folder with one of each")
    names = dict(each.split("=", 1) for each in asked.names)
    scores = scores.assign(run=[names.get(str(run), str(run)) for run in scores.run])
    runs = list(scores.run.unique())
    for lines in (ordering(scores, runs), pairs(scores, runs, "audio"), pairs(scores, runs, "features"), units(scores, runs)):
        print("\n".join(lines), end="\n\n")
    if asked.figure:
        figure(scores, runs, asked.figure)


if __name__ == "__main__":
    main()
