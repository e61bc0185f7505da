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
_SLOT = re.compile(r"\{([a-z]+\.[A-Za-z]+)\}")
TEMPLATES: tuple[str, ...] = tuple(
    line.strip()
    for line in """
    they ate {noun.food} and {noun.food} at dinner
    the cook served the {noun.food} with the {noun.food}
    she bought some {adj.all} {noun.food} at the market
    he left the {noun.food} on his plate and asked for {noun.food}
    he kept the {noun.artifact} behind the {noun.artifact}
    someone left a {adj.all} {noun.artifact} near the {noun.artifact}
    they sold the {noun.artifact} and bought a new {noun.artifact}
    the {noun.person} carried the {noun.artifact} into the house
    you can mend a {noun.artifact} with a {noun.artifact}
    the {noun.person} spoke to the {noun.person} for an hour
    my sister met a {adj.all} {noun.person} and a {noun.person} at the party
    his uncle was a {noun.person}, not a {noun.person}
    the {noun.person} asked the {noun.person} to {verb.communication}
    every {noun.person} in town feared the {adj.all} {noun.person}
    no {noun.person} would {verb.social} with a {noun.person}
    the farmer saw a {noun.animal} and a {noun.animal} in the field
    a hungry {noun.animal} chased the {noun.animal} into the woods
    the children fed the {adj.all} {noun.animal} at the zoo
    a {noun.plant} grew beside the {noun.plant} in the garden
    she watered the {noun.plant} every morning
    the doctor looked at her {noun.body} and her {noun.body}
    he felt a {adj.all} pain in the {noun.body}
    the nurse washed the {noun.body} and covered the {noun.body}
    she felt {noun.feeling} and then {noun.feeling}
    his heart was full of {noun.feeling} and {noun.feeling}
    a {adj.all} {noun.feeling} came over the {noun.person}
    the teacher explained the {noun.cognition} and the {noun.cognition}
    her {noun.cognition} changed our {noun.cognition} of the world
    he wrote a {adj.all} book about {noun.cognition}
    the letter held a {noun.communication} and a {noun.communication}
    they read the {noun.communication} aloud to the {noun.group}
    nobody believed the {adj.all} {noun.communication} in the newspaper
    her {noun.communication} was shorter than his {noun.communication}
    the {noun.act} was followed by another {noun.act}
    they were punished for the {noun.act} and the {noun.act}
    the {noun.group} planned the {adj.all} {noun.act} for weeks
    it takes practice, this kind of {noun.act}
    the {noun.event} ended in a {noun.event}
    everyone remembers the {adj.all} {noun.event} of that year
    people admired the {noun.attribute} and {noun.attribute} of the {noun.person}
    its {noun.attribute} surprised us more than its {noun.attribute}
    he is known for {noun.attribute} and {noun.attribute}
    the {noun.state} led to years of {noun.state}
    a country in {noun.state} has no time for {noun.state}
    the road runs from the {noun.location} to the {noun.location}
    they lived in a {adj.all} {noun.location} near the {noun.location}
    the factory mixes {noun.substance} with {noun.substance}
    the bucket was filled with {adj.all} {noun.substance}
    we waited from the {noun.time} until the {noun.time}
    it happened in the {noun.time} before the {adj.all} {noun.time}
    he measured a {noun.quantity} and then another {noun.quantity}
    they weighed a {noun.quantity} of it on the scale
    she paid the {noun.possession} out of her {noun.possession}
    the bank lost the {noun.possession} and the {noun.possession}
    the {noun.group} joined the {noun.group} in the spring
    a {adj.all} {noun.group} gathered around the {noun.person}
    draw a {noun.shape} next to the {noun.shape}
    the edge of the {adj.all} {noun.shape} was painted red
    from the boat we saw a {noun.object} and a {noun.object}
    the {adj.all} {noun.object} lay beyond the {noun.location}
    scientists measured the {noun.phenomenon} and the {noun.phenomenon}
    the {noun.process} is slower than the {noun.process}
    there is a {noun.relation} between the {noun.cognition} and the {noun.cognition}
    his only {noun.motive} was {noun.feeling}
    they had to {verb.motion} and {verb.motion} all day
    he began to {verb.motion} toward the {noun.location}
    watch it {verb.motion} down the hill and {verb.motion} away
    we saw the {noun.animal} {verb.motion} across the river
    you should {verb.communication} it before they {verb.communication} it
    she wanted to {verb.communication} and not to {verb.communication}
    nobody may {verb.communication} in front of the {noun.person}
    they promised to {verb.social} and {verb.social} each other
    the king had to {verb.social} the {noun.group}
    use your hands to {verb.contact} it and {verb.contact} it
    he tried to {verb.contact} the {noun.artifact} with a knife
    do not {verb.contact} the {adj.all} {noun.artifact}
    it will {verb.emotion} her but {verb.emotion} him
    bad news can {verb.emotion} a {adj.all} {noun.person}
    i {verb.cognition} the {noun.cognition} and {verb.cognition} the rest
    students {verb.cognition} what teachers {verb.cognition}
    in hot water it will {verb.change} and {verb.change}
    time will {verb.change} the {noun.substance}
    these things {verb.stative} where those {verb.stative}
    they {verb.possession} money and {verb.possession} land
    the {noun.person} will {verb.possession} the {noun.possession}
    an artist can {verb.creation} and {verb.creation} all night
    they {verb.creation} a {adj.all} {noun.artifact} every year
    we could {verb.perception} it and {verb.perception} it from the window
    did you {verb.perception} the {noun.phenomenon}
    when i am tired i {verb.body} and {verb.body}
    babies {verb.body} when they are {adj.all}
    our team will {verb.competition} theirs and {verb.competition} again
    the army had to {verb.competition} before the {noun.event}
    they {verb.consumption} and {verb.consumption} at the feast
    it was {adj.all}, {adj.all} and {adj.all}
    a {adj.all} man is seldom {adj.all}
    the room looked {adj.all} but felt {adj.all}
    her answer was {adj.all} and rather {adj.all}
    {adj.all} people are often {adj.all} too
    that was a {adj.all} and {adj.all} thing to say
    what a {adj.all} day, and what a {adj.all} night
    it seems {adj.all} to me, if not {adj.all}
    the {adj.all} {noun.person} gave a {adj.all} {noun.communication}
    she answered {adv.all} and left {adv.all}
    he worked {adv.all} but {adv.all} talked about it
    they {adv.all} came back, and {adv.all} too
they ordered {noun.food}, {noun.food} and {noun.food}
    {noun.food} and {noun.food} go well with {noun.food}
    {noun.artifact}, {noun.artifact} and {noun.artifact} stood in the {noun.artifact}
    a {noun.artifact} is no {noun.artifact}
    {noun.person} and {noun.person} met the {noun.person}
    a {adj.all} {noun.person}, a {adj.all} {noun.person}
    {noun.animal}, {noun.animal} and {noun.animal} came to drink
    {noun.feeling}, {noun.feeling} and {noun.feeling} filled her
    {noun.act} and {noun.act} are forms of {noun.act}
    {noun.communication} or {noun.communication}, the {noun.person} heard it
    {noun.cognition}, {noun.cognition} and {noun.cognition} shape the mind
    after the {noun.event} came {noun.event} and {noun.event}
    {noun.attribute}, {noun.attribute} and {noun.attribute} matter most
    {noun.state} and {noun.state} brought {noun.state}
    {noun.substance}, {noun.substance} and {noun.substance} were mixed
    from {noun.location} to {noun.location} and {noun.location}
    {noun.quantity} by {noun.quantity}, {noun.quantity} by {noun.quantity}
    {noun.group} against {noun.group}, {noun.group} with {noun.group}
    {noun.time} after {noun.time}, {noun.time} by {noun.time}
    {noun.possession}, {noun.possession} and {noun.possession} cost money
    {noun.shape}, {noun.shape} and {noun.shape} in one picture
    {noun.object}, {noun.object} and {noun.object} on the horizon
    the {noun.body}, the {noun.body} and the {noun.body}
    {verb.motion}, {verb.motion} and {verb.motion} again
    {verb.communication}, {verb.communication} or {verb.communication}, said the {noun.person}
    {verb.social}, {verb.social} and {verb.social} your {noun.person}
    {verb.contact} it, {verb.contact} it and {verb.contact} it
    {verb.change}, {verb.change} and {verb.change} the {noun.substance}
    they {verb.cognition}, {verb.cognition} and {verb.cognition}
    {verb.emotion} and {verb.emotion} the {adj.all} {noun.person}
    {verb.possession}, {verb.possession} and {verb.possession} the {noun.possession}
    {adj.all} and {adj.all}, {adj.all} and {adj.all}
    {adj.all} {noun.attribute} and {adj.all} {noun.feeling}
    {adv.all}, {adv.all} and {adv.all} she went on
    the {adj.pert} museum is closed on sundays
    """.strip().splitlines()
)


def slots(template: str) -> tuple[str, ...]:
    """Lexicographer classes of a template's slots, in order."""
    return tuple(_SLOT.findall(template))


def fill(template: str, words: tuple[str, ...]) -> str:
    """Put `words` into the slots, in order, with a or an as it sounds."""
    left = iter(words)
    return articles(_SLOT.sub(lambda _: next(left), template))


def articles(text: str) -> str:
    """Write a before a consonant and an before a vowel, by the next word's sound."""

    def right(match: re.Match[str]) -> str:
        known = pronounce.pronunciations(match.group(2))
        vowel = known[0][0][0] in "AEIOU" if known else match.group(2)[0] in "aeiou"
        return f"{'an' if vowel else 'a'} {match.group(2)}"

    return re.sub(r"\b(an?) ([a-z']+)", right, text)


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
    fixed = Counter(word for template in TEMPLATES for word in tokens(_SLOT.sub("", template)))
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
