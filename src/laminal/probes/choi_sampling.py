"""Pairs drawn as published, so that curves can be laid over the published ones: Choi et al. 2024, and the seed study after them.

10,000 tokens for each of the seeds 0 to 4; near-homophones by first pronunciation with 0.4 inclusive; synonyms of all parts of speech, any
sense, no word left out; random pairs matched to nothing. Two known faults are not copied: a synonym pair counts from either side (theirs
has was -> cost but not cost -> was), and all but same_speaker pairs are of different speakers.
"""

import numpy as np

from laminal.corpora.base import Corpus
from laminal.lexicon import pairs as lexicon_pairs
from laminal.lexicon import wordnet
from laminal.probes.pair_sampling import Chosen, Pool, Sample, ordered, packed, same_speaker, select, voice
from laminal.words import tokens

SEEDS = (0, 1, 2, 3, 4)
TOKENS = 10_000


def choi_pairs(corpus: Corpus, seed: int, maximum: int) -> Sample:
    """Draw TOKENS tokens of `corpus` (all where it has fewer), and at most `maximum` type pairs of each setting, one token pair each."""
    every = tokens(corpus)
    drawn = np.sort(np.random.default_rng([seed, 3]).permutation(len(every))[:TOKENS])
    pool = Pool([every[row] for row in drawn], None, seed)
    near = [(pool.number[pair.a], pool.number[pair.b]) for pair in lexicon_pairs.near_homophones(pool.words, first=True)]
    known = frozenset(pool.words)
    alike = {tuple(sorted((word, other))) for word in pool.words for other in wordnet.listed_synonyms(word) & known}
    listed = {
        "same_word": [(number, number) for number in range(len(pool.words))],
        "near_homophone": near,
        "synonym": sorted((pool.number[a], pool.number[b]) for a, b in alike),
    }
    sets = {}
    for index, (setting, pairs) in enumerate(listed.items()):
        said = [(a, b) for a, b in pairs if len(pool.voices[a] | pool.voices[b]) > 1]
        sets[setting] = select(pool, index, said, maximum, maximum)
    voice(pool, sets, token_pairs=1)
    sets["same_speaker"] = same_speaker(pool, range(len(pool.tokens)), maximum, maximum)
    sets["random"] = _random(pool, maximum)
    return packed(pool, sets, {setting: "random" for setting in sets if setting != "random"}, {})


def _random(pool: Pool, maximum: int) -> list[Chosen]:
    """Any two different words by different speakers."""
    rng = np.random.default_rng([pool.seed, 4])
    found: dict[tuple[int, int], Chosen] = {}
    for one, other in rng.integers(max(len(pool.tokens), 1), size=(4 * maximum if pool.tokens else 0, 2)).tolist():
        types, pair = ordered(pool, one, other)
        if types[0] != types[1] and pool.speaker_of[one] != pool.speaker_of[other] and len(found) < maximum:
            found.setdefault(types, Chosen(types, ("all",), [pair]))
    return list(found.values())
