"""The shipped tables: gzipped tab-separated text beside this file, written by scripts/build_lexicon.py, read whole and once.

pronunciations.tsv.gz   word, pronunciations separated by `|` (ARPAbet phones without stress)
synsets.tsv.gz          id, lexicographer class, members separated by spaces (`_` for a space); its row number, from 0, is used elsewhere
senses.tsv.gz           lemma, part of speech (n v a r), rows of synsets.tsv.gz in order of sense, counts of those senses in tagged text
exceptions.tsv.gz       part of speech, inflected form, base forms separated by spaces
examples.tsv.gz         row of synsets.tsv.gz, example sentence

Sources: the CMU Pronouncing Dictionary (LICENSE.cmudict) and WordNet 3.0 (LICENSE.wordnet).
"""

import gzip
from pathlib import Path

DATA = Path(__file__).parent / "data"
TABLES = ("pronunciations", "synsets", "senses", "exceptions", "examples")


def rows(table: str) -> list[str]:
    """Give the lines of a shipped table."""
    return gzip.decompress((DATA / f"{table}.tsv.gz").read_bytes()).decode("utf-8").splitlines()
