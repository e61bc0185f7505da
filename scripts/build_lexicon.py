"""Rebuild src/laminal/lexicon/data/*.tsv.gz from WordNet 3.0 and the CMU Pronouncing Dictionary.

    python scripts/build_lexicon.py [--wordnet DIR] [--dictionary FILE] [--out DIR]

--wordnet     a folder with WordNet's own files (Debian: apt install wordnet-base, then /usr/share/wordnet). Two files that NLTK wants and
              Debian leaves out, lexnames and index.sense, are made in a temporary folder. Without it NLTK's copy is read
              (nltk.download('wordnet')).
--dictionary  a pronunciation dictionary in CMU form; without it the copy in pocketsphinx's wheel is read (pip install pocketsphinx).
--out         where the tables go; the package's own folder by default.

The same sources give the same bytes. Cost: about 20 s.
"""

import argparse
import gzip
import io
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nltk import data as nltk_data
from nltk.corpus.reader.wordnet import WordNetCorpusReader

from laminal import atomic
from laminal.lexicon.base import DATA

PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
CLASSES = {  # lexicographer files in WordNet's order, lexnames(5WN)
    "adj": "all pert",
    "adv": "all",
    "noun": "Tops act animal artifact attribute body cognition communication event feeling food group location motive object person "
    "phenomenon plant possession process quantity relation shape state substance time",
    "verb": "body change cognition communication competition consumption contact creation emotion motion perception possession social "
    "stative weather",
}
PART_NUMBERS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
Rows = list[tuple[str, ...]]


def lexnames() -> str:
    """Write WordNet's `lexnames` file: number, class, number of the part of speech; adj.ppl came last, as 44."""
    names = [f"{part}.{name}" for part, classes in CLASSES.items() for name in classes.split()] + ["adj.ppl"]
    return "".join(f"{number:02d}\t{name}\t{PART_NUMBERS[name.split('.')[0]]}\n" for number, name in enumerate(names))


@contextmanager
def reader(folder: Path | None) -> Iterator[WordNetCorpusReader]:
    """Open WordNet with NLTK: `folder` completed in a temporary place (NLTK reads only inside its data folders), or NLTK's own copy."""
    if folder is None:
        yield WordNetCorpusReader(nltk_data.find("corpora/wordnet"), None)
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "corpora" / "wordnet"
        copy.mkdir(parents=True)
        for name in ("lexnames", "index.sense"):
            (copy / name).write_text(lexnames() if name == "lexnames" else "")
        for name in ["cntlist.rev"] + [f for part in PARTS.values() for f in (f"index.{part}", f"data.{part}", f"{part}.exc")]:
            shutil.copy(folder / name, copy / name)
        nltk_data.path.insert(0, temporary)
        try:
            yield WordNetCorpusReader(nltk_data.find("corpora/wordnet", [temporary]), None)
        finally:
            nltk_data.path.remove(temporary)


def index(wordnet: WordNetCorpusReader) -> Iterator[tuple[str, str, list[int]]]:
    """Read index.*: lemma, part of speech, offsets of its synsets in order of sense."""
    for part, name in PARTS.items():
        with wordnet.open(f"index.{name}") as lines:
            for line in lines:
                if not line.startswith(" "):
                    fields = line.split()
                    yield fields[0], part, [int(offset) for offset in fields[-int(fields[2]) :]]


def wordnet_tables(wordnet: WordNetCorpusReader) -> dict[str, Rows]:
    """Make the four tables of WordNet; a synset's id is first member, part of speech and sense, which `nltk`'s wn.synset() reads."""
    senses = list(index(wordnet))
    ranks = {(lemma, part, offset): rank for lemma, part, offsets in senses for rank, offset in enumerate(offsets)}
    with wordnet.open("cntlist.rev") as lines:
        counts = {key: count for key, _, count in (line.split() for line in lines)}
    keys = sorted({(part, offset) for _, part, offsets in senses for offset in offsets}, key=lambda key: ("nvar".index(key[0]), key[1]))
    numbers = {key: str(number) for number, key in enumerate(keys)}
    synsets: Rows = []
    examples: Rows = []
    tagged: dict[tuple[str, str, int], str] = {}
    for part, offset in keys:
        synset = wordnet.synset_from_pos_and_offset(part, offset)
        first = synset.lemma_names()[0].lower()
        name = f"{first}.{part}.{ranks[first, part, offset] + 1:02d}"
        synsets.append((name, synset.lexname(), " ".join(synset.lemma_names())))
        examples += [(numbers[part, offset], " ".join(text.split())) for text in synset.examples() if text.strip()]
        for lemma in synset.lemmas():
            tagged.setdefault((lemma.name().lower(), part, offset), counts.get(lemma.key(), "0"))
    sense_rows: Rows = [
        (lemma, part, " ".join(numbers[part, o] for o in offsets), " ".join(tagged[lemma, part, o] for o in offsets))
        for lemma, part, offsets in senses
    ]
    exceptions: Rows = []
    for part, name in PARTS.items():
        with wordnet.open(f"{name}.exc") as lines:
            last = {fields[0]: fields[1:] for fields in map(str.split, lines)}  # a form listed twice: NLTK keeps the last
        exceptions += [(part, form, " ".join(bases)) for form, bases in last.items()]
    return {"synsets": synsets, "senses": sense_rows, "exceptions": exceptions, "examples": examples}


def pronunciation_table(dictionary: Path) -> Rows:
    """Read a CMU dictionary: `word` or `word(2)`, phones; comments and stress digits are dropped, repeated pronunciations too."""
    words: dict[str, dict[str, None]] = {}
    for line in dictionary.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith(";;;"):
            entry, *phones = line.split(" #")[0].split()
            word = re.sub(r"\(\d+\)$", "", entry).lower()
            words.setdefault(word, {})[re.sub(r"\d", "", " ".join(phones))] = None
    return [(word, "|".join(words[word])) for word in sorted(words)]


def pocketsphinx_dictionary() -> Path:
    """Find the dictionary in pocketsphinx's wheel."""
    import pocketsphinx

    return Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))


def text(rows: Iterable[tuple[str, ...]]) -> str:
    """Join rows into tab-separated text."""
    lines = ["\t".join(row) for row in rows]
    assert all(line.count("\t") == lines[0].count("\t") and "\n" not in line for line in lines)
    return "".join(f"{line}\n" for line in lines)


def build(wordnet: Path | None, dictionary: Path | None) -> dict[str, str]:
    """Make the text of every table, by name."""
    with reader(wordnet) as source:
        tables = wordnet_tables(source)
    tables["pronunciations"] = pronunciation_table(dictionary or pocketsphinx_dictionary())
    return {name: text(rows) for name, rows in tables.items()}


def compressed(table: str) -> bytes:
    """Pack a table with no file name and no time in the header, so that the bytes depend on nothing but the text and zlib."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(table.encode("utf-8"))
    return packed.getvalue()


def main() -> None:
    """Build the tables and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--dictionary", type=Path)
    parser.add_argument("--out", type=Path, default=DATA)
    options = parser.parse_args()
    for name, table in build(options.wordnet, options.dictionary).items():
        packed = compressed(table)
        with atomic.replacing(options.out / f"{name}.tsv.gz") as path:
            path.write_bytes(packed)
        print(f"{name:16} {table.count(chr(10)):8,} rows {len(packed):11,} bytes")


if __name__ == "__main__":
    main()
