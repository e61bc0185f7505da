"""Which speech lends its content and which its voice: source, reference, and the target speaker's own saying of the same words."""

from dataclasses import dataclass

import numpy as np

from laminal.corpora.base import Corpus, Utterance
from laminal.probes.excerpts import LEAD, Excerpt
from laminal.probes.recognition import spoken_words

SHORTEST = 0.5  # s
TICK = 100  # to a second: where stretches begin and end


@dataclass(frozen=True, slots=True)
class Pair:
    """`saying`: the target speaker's own recording of the words of `source`, None where there is none; `text`: those words."""

    source: Excerpt
    reference: Excerpt
    saying: Excerpt | None
    text: str

    @property
    def speakers(self) -> tuple[str, str]:
        """Source and target."""
        return self.source.utterance.speaker, self.reference.utterance.speaker


def conversion_pairs(corpus: Corpus, count: int, seconds: float, seed: int) -> tuple[Pair, ...]:
    """Draw `count` pairs, in turn from each source speaker: those with a saying of the same words first.

    Stretches are the first words of an utterance, `seconds` at most (of one without aligned words its first seconds). The reference is
    an utterance of the target speaker with other words than the source's, or codebooks 2 .. K would bring the words too.
    """
    rng = np.random.default_rng([seed, 1])
    usable = [utterance for utterance in corpus if utterance.seconds >= SHORTEST]
    of: dict[str, list[Utterance]] = {}
    said: dict[tuple[str, ...], list[Utterance]] = {}
    for utterance in usable:
        of.setdefault(utterance.speaker, []).append(utterance)
        if utterance.words:
            said.setdefault(tuple(word.label for word in utterance.words), []).append(utterance)
    alike = [
        (source, saying)
        for group in said.values()
        for source in group
        for saying in group
        if source.speaker != saying.speaker and _other(of[saying.speaker], source)
    ]
    drawn = _in_turn([alike[place] for place in rng.permutation(len(alike))], count)
    found = [_pair(source, saying, _other(of[saying.speaker], source), seconds, rng) for source, saying in drawn]
    mixed = [usable[place] for place in rng.permutation(len(usable))]
    for source in [source for source, _ in _in_turn([(each, each) for each in mixed], count - len(found))]:
        others = [speaker for speaker in sorted(of) if speaker != source.speaker and _other(of[speaker], source)]
        if others:
            found.append(_pair(source, None, _other(of[others[int(rng.integers(len(others)))]], source), seconds, rng))
    return tuple(found)


def _pair(source: Utterance, saying: Utterance | None, choice: list[Utterance], seconds: float, rng: np.random.Generator) -> Pair:
    stretch, words = _stretch(source, seconds)
    same = None if saying is None else _stretch(saying, seconds, words)[0]
    text = " ".join(word.label for word in source.words[:words]) or (source.text if stretch.seconds >= source.seconds - 1 / TICK else "")
    return Pair(stretch, _stretch(choice[int(rng.integers(len(choice)))], seconds)[0], same, text)


def _other(target: list[Utterance], source: Utterance) -> list[Utterance]:
    """Utterances with other words than the source's; all where nobody knows its words."""
    ways = {tuple(way) for way in _words(source) if way}
    return [each for each in target if not ways & {tuple(way) for way in _words(each)}]


def _words(utterance: Utterance) -> tuple[list[str], list[str]]:
    """Aligned words, and those of the transcript: either may be missing."""
    return [word.label for word in utterance.words], spoken_words(utterance.text)


def _stretch(utterance: Utterance, seconds: float, count: int | None = None) -> tuple[Excerpt, int]:
    """Cut the first words that fit into `seconds`, or the first `count`, with LEAD around them; give also how many they are."""
    words = utterance.words
    begin = max(0.0, words[0].start - LEAD) if words else 0.0
    begin = int(begin * TICK) / TICK
    if count is None:
        count = sum(word.end + LEAD <= begin + seconds for word in words)
    end = words[count - 1].end + LEAD if count else begin + seconds
    if count and count < len(words):
        end = min(end, max(words[count].start, words[count - 1].end))
    length = int((min(end, utterance.seconds) - begin) * TICK) / TICK
    return Excerpt(utterance, begin, max(length, SHORTEST)), count


def _in_turn(pairs: list[tuple[Utterance, Utterance]], count: int) -> list[tuple[Utterance, Utterance]]:
    """Take pairs from each source speaker in turn, in the order given."""
    place: dict[str, int] = {}
    turns = []
    for row, (source, _) in enumerate(pairs):
        turns.append((place.setdefault(source.speaker, 0), row))
        place[source.speaker] += 1
    return [pairs[row] for _, row in sorted(turns)[: max(0, count)]]
