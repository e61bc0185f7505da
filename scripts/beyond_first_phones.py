"""What `beyond_form` of text_alignment leaves once the first phones of words are out too: `python scripts/beyond_first_phones.py RUN`.

A run that has been through `--config recipes`. Text models read words in pieces, so words that begin alike have vectors alike; a layer that
tells how words begin then shares something with them that a count of phones does not hold.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from laminal import probing
from laminal.cache import usual_cache
from laminal.lexicon.pronounce import pronunciations
from laminal.probes import text_alignment
from laminal.results import Score

PLACES = {"as it is": (), "without the last two phones": (-1, -2), "without the first two phones": (0, 1)}


def edges(words: Sequence[str], places: Sequence[int]) -> list[np.ndarray]:
    """One column for each phone at each place of a word (negative: from its end)."""
    said = [[re.sub(r"\d", "", phone) for phone in pronunciations(word)[0]] for word in words]
    names = sorted({phone for each in said for phone in each})
    found = []
    for place in places:
        told = [each[place] if -len(each) <= place < len(each) else "" for each in said]
        columns = np.array([[phone == name for name in names] for phone in told], dtype=float)
        found.append(columns[:, columns.any(0)])
    return found


def main(run: Path) -> None:
    """Print the latent's and the last codebook's share with the text space, after each regression."""
    config, split = probing.checkpoint_config(run / "last.ckpt", ("recipes",), [])
    probe = probing.ground(config, ["text_alignment"], split, usual_cache(None, None)).probes["text_alignment"]
    codec = probing.checkpoint_target(run / "last.ckpt", run).codec
    powers = text_alignment.duration_powers
    for said, places in PLACES.items():
        text_alignment.duration_powers = lambda types, found, places=places: np.concatenate(
            [powers(types, found), *edges(types.words, places)], axis=1
        )
        rows = {(row.layer, row.metric): row for row in probe.run(codec) if isinstance(row, Score) and row.setting == "text"}
        for layer in ("latent", str(codec.codebooks)):
            row, p = rows[layer, "beyond_form"], rows[layer, "p_beyond_form"].value
            print(f"{said}, {layer}: {row.value:.4f} ({row.low:.4f} to {row.high:.4f}), p {p:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
