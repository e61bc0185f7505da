"""What the spoken corpus can say: a vocabulary around core synonym pairs, WordNet's example sentences and templates.

A word can stand in WordNet's own examples that hold it, in the examples of its synset with the word put in place of another member
(which the synset says may be done: so synonyms share contexts), and in the slots of templates, each of which takes words of one
lexicographer class (so context says something of meaning).
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from heapq import heapify, heappop, heappush

from laminal.corpora.spoken_templates import TEMPLATES, articles, bare, slots
from laminal.errors import RequestError
from laminal.lexicon import pairs, pronounce, wordnet

LARGEST_COMPONENT = 40  # words that chains of core synonyms join: smaller ones can be held out whole
SHORTEST, LONGEST = 3, 13  # words of an example sentence
SEEDS = 0.5  # of the vocabulary: frequent pairs of all classes; the rest of it is what makes most pairs with them
# words of WordNet's examples that a filled template would aim at anybody: slurs, sexual violence
_UNSAID = """
bastard bitch bullshit coon crap crippled cripples dyke faggot fairy gay gypped homo homosexuals idiot idiotic incest jew jewish
jews masturbated molester nazi nazis nude oriental pedophile penis prick prostitute prostitution queer rape raped retard retarded
savage sex sexual sexually sexy slave slavery slaves spastic suicide vagina
"""
UNSAID = frozenset(_UNSAID.split())


def tokens(text: str) -> list[str]:
    """Words of a sentence as espeak.py cuts it."""
    return re.findall(r"[a-z']+", text)


def clean(text: str) -> str | None:
    """Give a sentence in lower case with commas as its only inner marks; None where it has figures, quotes, unknown or UNSAID words."""
    line = re.sub(r"\s*(?:--|;|:)\s*", ", ", text.lower()).strip(" .,")
    words = tokens(line)
    fits = re.fullmatch(r"[a-z' ,]+[!?]?", line) and SHORTEST <= len(words) <= LONGEST
    return line if fits and all(word in pronounce.words() and word not in UNSAID for word in words) else None


@dataclass(frozen=True)
class Material:
    """Words that may be said without joining large components, the core pairs among them, and the clean examples made of them alone."""

    frequency: Counter[str]
    core: tuple[tuple[str, str], ...]
    examples: tuple[tuple[str, str, tuple[str, ...]], ...]  # text, synset, members

    @cached_property
    def near(self) -> dict[str, frozenset[str]]:
        """Core synonyms of each word."""
        found: dict[str, set[str]] = {}
        for a, b in self.core:
            found.setdefault(a, set()).add(b)
            found.setdefault(b, set()).add(a)
        return {word: frozenset(others) for word, others in found.items()}

    @cached_property
    def examples_of(self) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        """Examples of each synset: text and members."""
        found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for text, synset, members in self.examples:
            found.setdefault(synset, []).append((text, members))
        return found


@cache
def material() -> Material:
    """Choose words and examples; the same on every call."""
    found = ((clean(example.text), example) for example in wordnet.examples())
    usable = [(text, example.synset, example.lemmas) for text, example in found if text is not None]
    frequency = Counter(word for text, _, _ in usable for word in tokens(text))
    fixed = Counter(word for template in TEMPLATES for word in tokens(bare(template)))
    order = sorted((word for word in frequency | fixed if word.isalpha()), key=lambda word: (word not in fixed, -frequency[word], word))
    core = [(pair.a, pair.b) for pair in pairs.synonyms_core(order)]
    allowed = _bounded(order, core)
    held = tuple(example for example in usable if all(word in allowed or not word.isalpha() for word in tokens(example[0])))
    return Material(frequency, tuple((a, b) for a, b in core if a in allowed and b in allowed), held)


def _bounded(order: list[str], edges: list[tuple[str, str]]) -> set[str]:
    """Take words in order, leaving out each one that would join components into one larger than LARGEST_COMPONENT."""
    near: dict[str, list[str]] = {}
    for a, b in edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    group: dict[str, list[str]] = {}
    for word in order:
        joined = {id(group[other]): group[other] for other in near.get(word, ()) if other in group}
        if 1 + sum(map(len, joined.values())) > LARGEST_COMPONENT:
            continue
        merged = [word, *(member for part in joined.values() for member in part)]
        for member in merged:
            group[member] = merged
    return set(group)


@dataclass(frozen=True)
class Vocabulary:
    """Words to be said by many speakers, with the classes of the slots they fit and the sentences that hold them."""

    words: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    sentences: dict[str, tuple[str, ...]]
    near: dict[str, frozenset[str]]


def vocabulary(source: Material, size: int) -> Vocabulary:
    """Choose `size` base forms: SEEDS of them by `_ranked`, then those that make the most pairs with the chosen.

    Raises RequestError where there are not so many.
    """
    offered = frozenset(name for template in TEMPLATES for name in slots(template))
    ranked = _ranked(source)
    chosen: dict[str, None] = {}
    for pair in ranked:
        if len(chosen) >= SEEDS * size:
            break
        chosen.update(dict.fromkeys(pair))
    _complete(chosen, ranked, size)
    if len(chosen) < size:
        raise RequestError(f"a vocabulary of {size} words: WordNet and the dictionary offer {len(chosen)} here; ask for fewer utterances")
    words = tuple(chosen)
    senses = {word: sorted({s for other in source.near[word] if other in chosen for s in _shared(word, other)}) for word in words}
    classes = {word: tuple(sorted({wordnet.lexname(s) for s in senses[word]} & offered)) for word in words}
    holding: dict[str, list[str]] = {word: [] for word in words}
    for text, _, _ in source.examples:
        for word in set(tokens(text)) & chosen.keys():
            holding[word].append(text)
    for word in words:
        holding[word] += [line for s in senses[word] for line in _swapped(source, s, word)]
    sentences = {word: tuple(dict.fromkeys(lines)) for word, lines in holding.items()}
    return Vocabulary(words, classes, sentences, source.near)


def _ranked(source: Material) -> list[tuple[str, str]]:
    """Core pairs of base forms, frequent ones first, drawn from each class in proportion to the square root of its size.

    By frequency alone a third of the words are adjectives and there are three animals.
    """
    classes: dict[str, list[tuple[str, str]]] = {}
    for a, b in source.core:
        for synset in sorted(_shared(a, b))[:1]:
            classes.setdefault(wordnet.lexname(synset), []).append((a, b))
    placed = []
    for pairs_of in classes.values():
        pairs_of.sort(key=lambda p: (-min(source.frequency[p[0]], source.frequency[p[1]]), p))
        placed += [(place / len(pairs_of) ** 0.5, pair) for place, pair in enumerate(pairs_of)]
    return [pair for _, pair in sorted(placed)]


def _complete(chosen: dict[str, None], ranked: list[tuple[str, str]], size: int) -> None:
    """Add words of `ranked` until there are `size`: each time the one with the most partners among the chosen, the earliest of these."""
    near: dict[str, list[str]] = {}
    for a, b in ranked:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    place = {word: number for number, word in enumerate(near)}
    partners = {word: sum(other in chosen for other in near[word]) for word in near}
    heap = [(-partners[word], place[word], word) for word in near if word not in chosen]
    heapify(heap)
    while heap and len(chosen) < size:
        count, _, word = heappop(heap)
        if word in chosen or -count != partners[word]:
            continue  # counted anew since
        chosen[word] = None
        for other in near[word]:
            partners[other] += 1
            if other not in chosen:
                heappush(heap, (-partners[other], place[other], other))


@cache
def _core_synsets(word: str) -> frozenset[str]:
    """First two senses of `word` as a base form, of each part of speech."""
    return frozenset(s.synset for s in wordnet.senses(word) if s.lemma == word and s.rank < wordnet.CORE_SENSES)


def _shared(a: str, b: str) -> frozenset[str]:
    """Synsets that two base forms share among their first two senses."""
    return _core_synsets(a) & _core_synsets(b)


def _swapped(source: Material, synset: str, word: str) -> list[str]:
    """Examples of `synset` with `word` in the place of another member, as written there (uninflected)."""
    found = []
    for text, members in source.examples_of.get(synset, ()):
        said = tokens(text)
        for member in members:
            if member != word and said.count(member) == 1 and word not in said:
                found.append(articles(re.sub(rf"(?<![a-z']){member}(?![a-z'])", word, text)))
    return found
