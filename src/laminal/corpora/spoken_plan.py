"""Who says what: every word of the vocabulary by as many speakers as there is room for, whichever of them are held out later."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from laminal.corpora import spoken_templates, spoken_text
from laminal.corpora.spoken_text import Vocabulary

WORDS_PER_UTTERANCE = 0.4  # size of the vocabulary: each word is then said by 6 speakers or more
USED = 0.1  # a sentence said once more weighs like this many needed words per word
MOST_WORDS = 6000  # about all that WordNet and the dictionary offer; more utterances give each word more speakers
TEMPLATE_DRAWS = 4  # templates looked at for one sentence; the one with the most needed words is filled


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence for one speaker (by number); `source` is "example" or "template"."""

    speaker: int
    text: str
    source: str


class Plan:
    """Fills sentences with the words that the fewest speakers have said, never one speaker twice with one sentence."""

    def __init__(self, vocabulary: Vocabulary, speakers: int, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._vocabulary = vocabulary
        self._number = {word: number for number, word in enumerate(vocabulary.words)}
        self.said = np.zeros((speakers, len(vocabulary.words)), dtype=bool)  # by whom
        self._count = np.zeros(len(vocabulary.words))  # by how many
        self._texts: list[set[str]] = [set() for _ in range(speakers)]
        self._uses: dict[str, int] = {}  # of a sentence, by all speakers
        self._class: dict[str, np.ndarray] = {}
        for name in sorted({name for names in vocabulary.classes.values() for name in names}):
            self._class[name] = np.array([self._number[w] for w in vocabulary.words if name in vocabulary.classes[w]])
        templates = [t for t in spoken_templates.TEMPLATES if all(name in self._class for name in spoken_templates.slots(t))]
        self._templates = {name: [t for t in templates if name in spoken_templates.slots(t)] for name in self._class}

    def line(self, speaker: int, example: bool) -> Line:
        """Give `speaker` a sentence around the word it needs most: an example (where `example` and there is one) or a template."""
        need = self._need(speaker)
        for number in _best(need, 50):
            word = self._vocabulary.words[number]
            order = (self._example, self._template) if example else (self._template, self._example)
            for attempt in order:
                text = attempt(speaker, word, need)
                if text is not None:
                    return self._said(speaker, text, "example" if attempt == self._example else "template")
        raise AssertionError("fifty words with no new sentence: the vocabulary is far too small for the utterances")

    def _need(self, speaker: int) -> np.ndarray:
        """How much each word lacks speakers, below any other where `speaker` has said it; ties fall by chance."""
        return 0.9 * self._rng.random(len(self._count)) - self._count - 1000.0 * self.said[speaker]

    def _said(self, speaker: int, text: str, source: str) -> Line:
        self._texts[speaker].add(text)
        self._uses[text] = self._uses.get(text, 0) + 1
        for number in {self._number[word] for word in spoken_text.tokens(text) if word in self._number}:
            self._count[number] += not self.said[speaker, number]
            self.said[speaker, number] = True
        return Line(speaker, text, source)

    def _example(self, speaker: int, word: str, need: np.ndarray) -> str | None:
        """Pick the example of `word` with the most words that lack speakers for its length, rather an unused one."""
        left = [text for text in self._vocabulary.sentences[word] if text not in self._texts[speaker]]
        if not left:
            return None
        floor = float(need.max()) - 3.0  # words that lack at most 3 speakers less than the neediest are worth saying

        def rank(text: str) -> tuple[float, str]:
            said = spoken_text.tokens(text)
            worth = sum(max(0.0, float(need[self._number[w]]) - floor) for w in set(said) if w in self._number)
            return USED * self._uses.get(text, 0) - worth / (len(said) + 2), text

        return min(left, key=rank)

    def _template(self, speaker: int, word: str, need: np.ndarray) -> str | None:
        names = [name for name in self._vocabulary.classes[word] if self._templates.get(name)]
        if not names:
            return None
        options = self._templates[names[int(self._rng.integers(len(names)))]]
        best: tuple[float, str] | None = None
        for index in self._rng.integers(len(options), size=TEMPLATE_DRAWS).tolist():
            words = self._fillers(options[index], word, need)
            if words is None:
                continue
            text = spoken_templates.fill(options[index], words)
            worth = float(np.mean([need[self._number[w]] for w in words])) - 8.0 / len(words)
            if text not in self._texts[speaker] and (best is None or worth > best[0]):
                best = (worth, text)
        return best[1] if best else None

    def _fillers(self, template: str, word: str, need: np.ndarray) -> tuple[str, ...] | None:
        """`word` in one slot of its class and the neediest words of their classes in the others: no word twice, no synonyms together."""
        names = spoken_templates.slots(template)
        own = [index for index, name in enumerate(names) if name in self._vocabulary.classes[word]]
        words = [""] * len(names)
        words[own[int(self._rng.integers(len(own)))]] = word
        for index, name in enumerate(names):
            if words[index]:
                continue
            members = self._class[name]
            for place in _best(need[members], 20):
                filler = self._vocabulary.words[members[place]]
                if filler not in words and not any(filler in self._vocabulary.near[w] for w in words if w):
                    words[index] = filler
                    break
            else:
                return None
        return tuple(words)


def _best(need: np.ndarray, count: int) -> Iterator[int]:
    """Places of the `count` largest values, largest first, found as far as they are asked for."""
    left = need.copy()
    for _ in range(min(count, len(left))):
        place = int(left.argmax())
        yield place
        left[place] = -np.inf


def plan(vocabulary: Vocabulary, speakers: int, utterances: int, seed: int, examples: float) -> tuple[Line, ...]:
    """Give every speaker the same number of sentences (one more to the first few where it does not divide).

    Speakers take turns in an order drawn anew each round, so that any part of them has said much the same; the share `examples` of
    the sentences is WordNet's, the rest templates.
    """
    rng = np.random.default_rng([seed, 2])
    given = Plan(vocabulary, speakers, seed)
    lines: list[Line] = []
    while len(lines) < utterances:
        left = min(speakers, utterances - len(lines))
        turn = rng.permutation(speakers) if left == speakers else rng.permutation(left)
        lines += [given.line(speaker, bool(rng.random() < examples)) for speaker in turn.tolist()]
    return tuple(lines)


def vocabulary_size(utterances: int) -> int:
    """How many words `utterances` can say often enough."""
    return min(MOST_WORDS, max(8, round(WORDS_PER_UTTERANCE * utterances)))
