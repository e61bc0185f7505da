"""What `beyond_form` of text_alignment leaves once the first or the last phones of words are out too: `... beyond_first_phones.py RUN`.

A run that has been through `--config recipes`. Text models read words in pieces, so words that begin alike have vectors alike; a layer that
tells how words begin then shares something with them that a count of phones does not hold.
"""

import sys
from pathlib import Path

import numpy as np

from laminal import probing
from laminal.cache import usual_cache
from laminal.probes import text_alignment
from laminal.probes.word_types import phones_at
from laminal.results import Score

PLACES = {"as it is": (), "without the last two phones": (-1, -2), "without the first two phones": (0, 1)}


def main(run: Path) -> None:
    """Print the latent's and the last codebook's share with the text space, after each regression."""
    config, split = probing.checkpoint_config(run / "last.ckpt", ("recipes",), [])
    probe = probing.ground(config, ["text_alignment"], split, usual_cache(None, None)).probes["text_alignment"]
    codec = probing.checkpoint_target(run / "last.ckpt", run).codec
    powers = text_alignment.duration_powers
    for said, places in PLACES.items():
        text_alignment.duration_powers = lambda types, found, places=places: np.concatenate(
            [powers(types, found), phones_at(types.words, places)], axis=1
        )
        rows = {(row.layer, row.metric): row for row in probe.run(codec) if isinstance(row, Score) and row.setting == "text"}
        for layer in ("latent", str(codec.codebooks)):
            row, p = rows[layer, "beyond_form"], rows[layer, "p_beyond_form"].value
            print(f"{said}, {layer}: {row.value:.4f} ({row.low:.4f} to {row.high:.4f}), p {p:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
