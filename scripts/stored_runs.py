"""Keep what `probe.py recipes=checkpoints/runs` needs of trained runs: `python scripts/stored_runs.py checkpoints/RUN ... [OLD=NEW ...]`.

Of each run its manifest and the scores of its last step, also those of `--config recipes` (and recipes_real), go to checkpoints/runs/RUN:
0.1 MB a run, so that the tables of the documents can be printed from a clone. OLD=NEW as in make_demo.py.
"""

import json
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from make_demo import renamed_text, told

KEPT = ("argv", "corpus", "corpus_sha256", "generator_steps", "git", "seed", "split_sha256", "started", "versions")


def main(run: Path, target: Path, renamed: dict[str, str]) -> None:
    """Copy the last step's scores, and the manifest without lists of voices and of what is undefined."""
    step = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["generator_steps"]
    for scores in (run / "scores.parquet", *run.glob("probed/recipes*/scores.parquet")):
        table = pq.read_table(scores)
        kept = table.filter(pc.equal(table["step"], step))
        if not kept.num_rows:
            continue
        folder = target / scores.parent.relative_to(run)
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(kept, folder / "scores.parquet", compression="zstd", compression_level=19)
        manifest = json.loads((scores.parent / "manifest.json").read_text(encoding="utf-8"))
        short = {name: slim(value) for name, value in manifest.items() if name in KEPT or name.startswith("probing/")}
        text = renamed_text(json.dumps(short, indent=1) + "\n", f"{scores.parent}/manifest.json", renamed)
        (folder / "manifest.json").write_text(text, encoding="utf-8")


def slim(value: object) -> object:
    """Leave out what no table needs: facts of the corpus and what is undefined."""
    if isinstance(value, dict):
        return {key: slim(each) for key, each in value.items() if key not in ("corpus_facts", "undefined", "material")}
    return value


if __name__ == "__main__":
    runs, renamed = told(sys.argv[1:])
    if not runs:
        raise SystemExit(__doc__)
    for run in map(Path, runs):
        main(run, Path(__file__).resolve().parents[1] / "checkpoints" / "runs" / run.name, renamed)
