"""Make src/laminal/corpora/tract_table from the simulated vocal tract: `python scripts/make_tract_table.py` (needs laminal[vocaltract]).

Cost: 15 minutes of one core. The result is at most 10 MB; the same arguments give the same bytes.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from laminal.atomic import write_text
from laminal.corpora.tract import TractCorpus
from laminal.corpora.tract_table import FOLDER, packed
from laminal.corpora.vocal_tract import vocal_tract
from laminal.measures.clock import MRI_RATE

SPEAKERS, TRACKS, SECONDS = 6, 4, 8.0
LARGEST = 10_000_000  # bytes


def write(corpus: TractCorpus, folder: Path) -> int:
    """Write the table and give its size in bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrays, rows = {}, []
    for utterance in corpus:
        arrays[utterance.id], arrays[f"{utterance.id}-missing"] = packed(corpus.tracts[utterance.id].vtd)
        shutil.copyfile(utterance.path, folder / f"{utterance.id}.flac")
        tiers = {name: [[i.label, round(i.start, 4), round(i.end, 4)] for i in getattr(utterance, name)] for name in ("words", "phones")}
        rows.append({"id": utterance.id, "speaker": utterance.speaker, "text": utterance.text, "seconds": utterance.seconds} | tiers)
    np.savez_compressed(folder / "distances.npz", **arrays)
    facts = {name: corpus.facts[name] for name in ("source", "licence", "alignment")}
    write_text(folder / "table.json", json.dumps({"rate": MRI_RATE, "facts": facts, "recordings": rows}, separators=(",", ":")) + "\n")
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Make it, and refuse what is too large."""
    size = write(vocal_tract(SPEAKERS, TRACKS, SECONDS, seed=0), FOLDER)
    print(f"{FOLDER}: {size:,} bytes")
    if size > LARGEST:
        sys.exit(f"{size:,} bytes are over {LARGEST:,}; take fewer TRACKS")


if __name__ == "__main__":
    main()
