"""All benchmarks, one table of ratios: `python benchmarks/run.py [NAME ...]`."""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(names: list[str]) -> int:
    """Run the benchmarks named (all of bench_*.py without a name) and print a row for each ratio."""
    sys.path.insert(0, str(HERE))
    chosen = names or sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    print(f"{'what':<70} {'ours':>10} {'other':>10} {'ratio':>8} {'target':>8}")
    missed = 0
    for name in chosen:
        for row in importlib.import_module(f"bench_{name}").run():
            reached = met(row)
            missed += reached is False
            mark = {True: "", False: "  missed", None: ""}[reached]
            figures = f"{row['ours_s']:>10.4g} {row['reference_s']:>10.4g} {row['ratio']:>8.3g} {row['target']!s:>8}"
            print(f"{row['what'][:70]:<70} {figures}{mark}", flush=True)
    return missed


def met(row: dict) -> bool | None:
    """Whether the ratio reaches its target: `>= 2` or `<= 1.2`; None where there is no target."""
    target = str(row["target"]).replace("x", "").strip()
    if not target or target == "None":
        return None
    if target.startswith("<="):
        return row["ratio"] <= float(target[2:])
    return row["ratio"] >= float(target.removeprefix(">="))


if __name__ == "__main__":
    main(sys.argv[1:])
