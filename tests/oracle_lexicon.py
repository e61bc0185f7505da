"""Slow, plain references for the lexicon: phone distance by dynamic programming, pairs by double loops, WordNet by NLTK."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from laminal.lexicon.function_words import LIGHT_VERBS, STOP_WORDS

WORDNET = Path(os.environ.get("LAMINAL_WORDNET", "/usr/share/wordnet"))
NO_WORDNET = f"no {WORDNET}/data.noun: `apt install wordnet-base`, or set LAMINAL_WORDNET to a folder with WordNet 3.0's files"
SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "build_lexicon.py"


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_lexicon", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def levenshtein(x: Sequence[str], y: Sequence[str]) -> int:
    last = list(range(len(y) + 1))
    for i, a in enumerate(x, 1):
        row = [i]
        for j, b in enumerate(y, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b)))
        last = row
    return last[-1]


def distance(listed_a: Sequence[Sequence[str]], listed_b: Sequence[Sequence[str]]) -> float:
    return min(levenshtein(x, y) / max(len(x), len(y)) for x in listed_a for y in listed_b)


class Wordnet:
    """What the settings need of WordNet, asked of NLTK."""

    def __init__(self, nltk_reader: object) -> None:
        self.nltk = nltk_reader

    def lemmas(self, word: str) -> set[tuple[str, str]]:
        return {(form, pos) for pos in "nvar" for form in self.nltk._morphy(word, pos)}  # morphy() gives the first form only

    def synsets(self, word: str) -> set:
        return set(self.nltk.synsets(word))

    def core(self, word: str) -> set:
        """Synsets among the first two senses of a lemma of the word (a lemma's own list: without morphy's other forms)."""
        found = set()
        for lemma, pos in self.lemmas(word):
            found |= set([s for s in self.nltk.synsets(lemma, pos) if lemma in (name.lower() for name in s.lemma_names())][:2])
        return found

    def same_lemma(self, a: str, b: str) -> bool:
        return a == b or bool({lemma for lemma, _ in self.lemmas(a)} & {lemma for lemma, _ in self.lemmas(b)})

    def contentless(self, word: str) -> bool:
        return word in STOP_WORDS or any(pos == "v" and lemma in LIGHT_VERBS for lemma, pos in self.lemmas(word))
