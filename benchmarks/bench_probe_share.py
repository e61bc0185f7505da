"""Share of the probes in the wall time of a finished run, from its manifest: checkpoints/demo, or the run named in $LAMINAL_RUN."""

import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run() -> list[dict]:
    folder = Path(os.environ.get("LAMINAL_RUN", ROOT / "checkpoints" / "demo"))
    wall = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["wall_time"]
    probing = sum(seconds for each in wall["probes"] for name, seconds in each.items() if name != "step")
    what = f"probes / fit of {folder.name}, {len(wall['probes'])} probings"
    return [{"what": what, "ours_s": probing, "reference_s": wall["fit_s"], "ratio": probing / wall["fit_s"], "target": "<= 0.1"}]
