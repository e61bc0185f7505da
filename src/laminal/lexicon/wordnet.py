"""WordNet 3.0 from the shipped tables, without NLTK: senses, lemmas, synonyms and example sentences.

Words and lemmas are lower case, with `_` for a space inside a lemma. A part of speech is n, v, a (satellite adjectives too) or r.
A synset's id is its first member, part of speech and number of sense there: `dog.n.01`. NLTK's wn.synset() finds the same synset by it.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

from laminal.errors import RequestError
from laminal.lexicon import base
from laminal.lexicon.function_words import LIGHT_VERBS, STOP_WORDS

PARTS_OF_SPEECH = "nvar"
CORE_SENSES = 2  # synonym_core: the shared synset is among the first two senses of each lemma
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {  # the rules of detachment, morphy(7WN)
    "n": (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}


@dataclass(frozen=True, slots=True)
class Sense:
    """One sense of a word: `rank` is its place among the senses of `lemma` with this `pos` (0 = first), `count` its uses in tagged text."""

    synset: str
    pos: str
    rank: int
    lexname: str
    lemma: str
    count: int


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence or phrase that shows a synset in use, and the synset's members as written (case, `_`)."""

    text: str
    synset: str
    lemmas: tuple[str, ...]


@lru_cache(maxsize=1)
def _senses() -> dict[str, str]:  # "dog n" -> "rows<tab>counts"
    table = {}
    for row in base.rows("senses"):
        lemma, part, listed = row.split("\t", 2)
        table[f"{lemma} {part}"] = listed
    return table


@lru_cache(maxsize=1)
def _exceptions() -> dict[str, str]:  # "went v" -> "go"
    return {f"{form} {part}": bases for part, form, bases in (row.split("\t") for row in base.rows("exceptions"))}


@lru_cache(maxsize=1)
def _synsets() -> list[str]:
    return base.rows("synsets")


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {row[: row.index("\t")]: number for number, row in enumerate(_synsets())}


def _row(number: int) -> tuple[str, str, tuple[str, ...]]:
    name, lexname, listed = _synsets()[number].split("\t")
    return name, lexname, tuple(listed.split(" "))


@cache
def _forms(word: str, part: str) -> tuple[str, ...]:
    """Morphy: the word and its base forms that WordNet has; an exceptional form follows its list and no rule."""
    listed = _exceptions().get(f"{word} {part}")
    bases = listed.split(" ") if listed is not None else [word[: -len(old)] + new for old, new in _ENDINGS[part] if word.endswith(old)]
    return tuple(form for form in dict.fromkeys([word, *bases]) if f"{form} {part}" in _senses())


@cache
def lemmas(word: str) -> frozenset[tuple[str, str]]:
    """Give (lemma, part of speech) for each reading of `word` by WordNet's morphy; empty if WordNet has none."""
    return frozenset((form, part) for part in PARTS_OF_SPEECH for form in _forms(word, part))


@cache
def _base_forms(word: str) -> frozenset[str]:
    return frozenset(form for form, _ in lemmas(word))


def same_lemma(a: str, b: str) -> bool:
    """Say whether two words are equal or have a lemma in common, of whatever part of speech (saw, see: yes; by sound alone: no)."""
    return a == b or not _base_forms(a).isdisjoint(_base_forms(b))


@cache
def ranks(word: str) -> dict[int, int]:
    """Map the number of every synset that `word` reaches through its lemmas to its best rank there (0 = first sense of the lemma)."""
    best: dict[int, int] = {}
    for lemma, part in lemmas(word):
        for rank, number in enumerate(_senses()[f"{lemma} {part}"].split("\t")[0].split(" ")):
            best[int(number)] = min(rank, best.get(int(number), rank))
    return best


def senses(word: str) -> tuple[Sense, ...]:
    """List the senses of `word` through each of its lemmas: nouns, verbs, adjectives, adverbs, each lemma's in WordNet's order."""
    found = []
    for part in PARTS_OF_SPEECH:
        for lemma in _forms(word, part):
            rows, counts = _senses()[f"{lemma} {part}"].split("\t")
            for rank, (number, count) in enumerate(zip(rows.split(" "), counts.split(" "), strict=True)):
                name, lexname, _ = _row(int(number))
                found.append(Sense(name, part, rank, lexname, lemma, int(count)))
    return tuple(found)


@cache
def contentless(word: str) -> bool:
    """Say whether `word` is kept out of synonym pairs: a function word, or a form of a light verb (both lists in function_words.py)."""
    return word in STOP_WORDS or any(part == "v" and lemma in LIGHT_VERBS for lemma, part in lemmas(word))


def synonyms(a: str, b: str) -> bool:
    """Say whether lemmas of two words share a synset (so a part of speech too), in any sense and inflection; a word is its own synonym."""
    return not ranks(a).keys().isdisjoint(ranks(b))


def synonyms_core(a: str, b: str) -> bool:
    """Say whether lemmas of two words share a synset that is among the first two senses of each lemma."""
    return any(rank < CORE_SENSES and ranks(b).get(number, CORE_SENSES) < CORE_SENSES for number, rank in ranks(a).items())


@cache
def listed_synonyms(word: str) -> frozenset[str]:
    """Give the members of every synset of `word`, in lower case, without it: was -> cost, but not cost -> was (Choi et al. 2024)."""
    return frozenset(member.lower() for number in ranks(word) for member in _row(number)[2]) - {word}


def members(synset: str) -> tuple[str, ...]:
    """List a synset's members as written (case, `_`) in WordNet's order; raises RequestError for an unknown id."""
    return _row(_number(synset))[2]


def lexname(synset: str) -> str:
    """Give a synset's lexicographer class, such as `noun.animal`; raises RequestError for an unknown id."""
    return _row(_number(synset))[1]


def _number(synset: str) -> int:
    if synset not in _numbers():
        raise RequestError(f"synset {synset!r}: not in WordNet 3.0; ids look like dog.n.01 (first member, part of speech, number of sense)")
    return _numbers()[synset]


@cache
def vocabulary(pos: str) -> tuple[str, ...]:
    """List every lemma of a part of speech (n, v, a or r) in alphabetical order."""
    return tuple(sorted(key[:-2] for key in _senses() if key[-1] == pos))


@lru_cache(maxsize=1)
def examples() -> tuple[Example, ...]:
    """List WordNet's 48,339 example sentences in the order of their synsets (nouns, verbs, adjectives, adverbs)."""
    found = []
    for row in base.rows("examples"):
        number, text = row.split("\t")
        name, _, lemmas_of = _row(int(number))
        found.append(Example(text, name, lemmas_of))
    return tuple(found)
