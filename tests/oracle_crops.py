"""Slow references for the split and the crops, and a small corpus of noise with real words in it."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile

from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.corpora.split import Split
from laminal.lexicon import pairs, pronounce, wordnet

WORDS = """
begin start begins started large big quick fast rapid sofa couch lounge street road car automobile cat hat bat cap kit bit
bet dog log lake take make rake run running ran walk walked sleep sheep ship answer reply respond job task chore chair share
bear pear child kid baby garbage trash silent quiet wealthy rich buy purchase bye the and of river liver giver mother other
stone phone bone
""".split()  # noqa: SIM905 - a list of 70 strings reads worse


def noise_corpus(folder: Path, speakers: int = 12, each: int = 3, seconds: tuple[float, float] = (0.6, 4.0), rate: int = 16000) -> Corpus:
    """Utterances of white noise, so that any stretch of samples tells where it was cut, with a random word every 0.4 s or so."""
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(speakers * each):
        length = round(rng.uniform(*seconds), 2)
        path = folder / f"{number:03d}.wav"
        samples = rng.integers(-20000, 20000, round(length * rate)).astype(np.int16)
        soundfile.write(path, samples, rate, subtype="PCM_16")
        words, time = [], 0.05
        while time + 0.3 < length:
            end = round(time + rng.uniform(0.05, 0.5), 2)
            words.append(Interval(str(rng.choice(WORDS)), round(time, 2), min(end, length)))
            time = end + 0.03
        words.append(Interval("o'clock", length - 0.01, length))
        utterances.append(Utterance(f"u{number:03d}", path, f"s{number % speakers:02d}", tuple(words), (), "", length))
    return Corpus("noise", tuple(utterances))


def counts_as_token(word: Interval) -> bool:
    return word.label.isalpha() and bool(pronounce.pronunciations(word.label)) and 0.1 - 1e-9 <= word.end - word.start <= 1.5 + 1e-9


def heard(corpus: Corpus, speakers: Iterable[str]) -> dict[str, set[str]]:
    """Speakers, of those given, of each word."""
    found: dict[str, set[str]] = {}
    for utterance in corpus:
        for word in utterance.words:
            if utterance.speaker in set(speakers) and counts_as_token(word):
                found.setdefault(word.label, set()).add(utterance.speaker)
    return found


def components(edges: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Connected components, by merging sets until nothing touches."""
    groups = [set(edge) for edge in edges]
    merged = True
    while merged:
        merged = False
        for a, b in combinations(range(len(groups)), 2):
            if groups[a] & groups[b]:
                groups[a] |= groups.pop(b)
                merged = True
                break
    return groups


def joined(a: str, b: str, edges: Iterable[tuple[str, str]]) -> bool:
    return any(a in group and b in group for group in components(edges))


def matrices(split: Split, words: Sequence[str], speakers: Sequence[object]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positive, excluded, hard of spans, span by span from the dictionary and WordNet."""
    positive, excluded, hard = (np.zeros((len(words), len(words)), dtype=bool) for _ in range(3))
    for i, a in enumerate(words):
        for j, b in enumerate(words):
            pair = (min(a, b), max(a, b))
            alike = a == b or pair in split.positives
            near = 0 < pairs.phone_distance(a, b) <= 0.4 and not wordnet.synonyms(a, b) and not wordnet.same_lemma(a, b)
            positive[i, j] = alike and speakers[i] != speakers[j]
            related = a == b or wordnet.same_lemma(a, b) or wordnet.synonyms(a, b) or pair in split.held_pairs
            excluded[i, j] = not positive[i, j] and related
            hard[i, j] = near and pair not in split.held_pairs
    return positive, excluded, hard
