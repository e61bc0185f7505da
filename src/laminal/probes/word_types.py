"""Word types with their tokens: which of a corpus' words are compared with text, and their features averaged over tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from laminal.corpora.base import Corpus
from laminal.features import WordFeatures
from laminal.lexicon import pronounce
from laminal.words import Token, tokens

POWERS = (1, 2, 3, 4)  # of the log duration, and of where in its utterance a word stands
STRATUM = 20  # words of one length below which lengths are put together


@dataclass(frozen=True, slots=True)
class Types:
    """Word types in a random order, and the tokens of each: `word[t]` numbers the type of token t."""

    words: tuple[str, ...]
    tokens: tuple[Token, ...]
    word: Int[np.ndarray, " t"]


def candidates(corpus: Corpus, least: int) -> dict[str, list[Token]]:
    """Give the words that probes use with their tokens, sorted; those said at least `least` times."""
    said: dict[str, list[Token]] = {}
    for token in tokens(corpus):
        said.setdefault(token.word, []).append(token)
    return {word: said[word] for word in sorted(said) if len(said[word]) >= least}


def drawn(said: dict[str, list[Token]], most: int, tokens_each: int, seed: int) -> Types:
    """Draw at most `most` word types, and at most `tokens_each` tokens of each, from as many speakers as there are."""
    random = np.random.default_rng([seed, 11])
    words = [str(word) for word in random.permutation(list(said))[:most]] if said else []
    found: list[Token] = []
    number: list[int] = []
    for place, word in enumerate(words):
        kept = _by_speakers([said[word][row] for row in random.permutation(len(said[word]))])[:tokens_each]
        found += kept
        number += [place] * len(kept)
    return Types(tuple(words), tuple(found), np.array(number, dtype=np.int64))


def _by_speakers(shuffled: Sequence[Token]) -> list[Token]:
    """One token of each speaker first, then a second of each, and so on."""
    turn: dict[str, int] = {}
    turns = []
    for place, token in enumerate(shuffled):
        turns.append((turn.get(token.speaker, 0), place))
        turn[token.speaker] = turn.get(token.speaker, 0) + 1
    return [shuffled[place] for _, place in sorted(turns)]


def type_means(types: Types, found: WordFeatures) -> tuple[Float[np.ndarray, "layers kept d"], Bool[np.ndarray, " types"]]:
    """Mean over the readable tokens of each type, in float64, and which types have one; the others are left out."""
    number = types.word[found.ok]
    count = np.bincount(number, minlength=len(types.words))
    kept = count > 0
    if not kept.any():
        return np.zeros((len(found.layers), 0, 0)), kept
    starts = np.concatenate([[0], np.cumsum(count[kept])[:-1]])  # tokens stand type by type
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number stays none, and is named by whoever uses it
        sums = np.stack([np.add.reduceat(layer[found.ok].astype(np.float64), starts, axis=0) for layer in found.values.transpose(1, 0, 2)])
        return sums / count[kept][:, None], kept


def speaker_shares(types: Types, found: WordFeatures) -> Float[np.ndarray, "types speakers"]:
    """Share of each speaker in the readable tokens of each type; NaN where a type has none.

    A word said by few has their voices in its mean, and what else they read out: words of one book are near in text spaces too.
    """
    speakers, speaker = np.unique([token.speaker for token in types.tokens], return_inverse=True)
    counts = np.zeros((len(types.words), len(speakers)))
    np.add.at(counts, (types.word[found.ok], speaker[found.ok]), 1)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(1, keepdims=True)


def phone_counts(words: Sequence[str]) -> Float[np.ndarray, "w phones"]:
    """How often each phone comes in the first pronunciation of each word: what a space knows that hears sounds, and not their order."""
    return np.array([[pronounce.pronunciations(word)[0].count(phone) for phone in pronounce.PHONES] for word in words], dtype=np.float64)


def phones_at(words: Sequence[str], places: Sequence[int]) -> Float[np.ndarray, "w columns"]:
    """Which phone the first pronunciation of each word has at some places (0: the first, -1: the last), a column for each that any has."""
    said = [pronounce.pronunciations(word)[0] for word in words]
    there = [[phones[place] if -len(phones) <= place < len(phones) else "" for place in places] for phones in said]
    found = (np.array(there)[:, :, None] == np.array(pronounce.PHONES)).reshape(len(words), -1)
    return found[:, found.any(0)].astype(np.float64)


def durations(types: Types, found: WordFeatures) -> Float[np.ndarray, "types 1"]:
    """Logarithm of the mean length, in seconds, of the readable tokens of each type; NaN where it has none."""
    seconds = np.array([token.end - token.start for token in types.tokens])[found.ok]
    number = types.word[found.ok]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(number, seconds, len(types.words)) / np.bincount(number, minlength=len(types.words))
    return np.log(mean)[:, None]


def duration_powers(types: Types, found: WordFeatures) -> Float[np.ndarray, "types 4"]:
    """Mean over readable tokens of the standardised log duration to the powers 1 to 4; NaN where a type has none.

    What a layer makes of a length need not be linear in it: Whisper with random weights, which hears of a cut word little but its length,
    kept a CKA of 0.046 with MiniLM beyond phones, letters and log duration, and keeps 0.014 beyond these.
    """
    return standardised_powers(types, found, np.log([token.end - token.start for token in types.tokens]))


def place_powers(types: Types, found: WordFeatures) -> Float[np.ndarray, "types 4"]:
    """Mean over readable tokens of the standardised time of their middle in the utterance to the powers 1 to 4; NaN where a type has none.

    An encoder of whole utterances that tells where it is knows something of word classes, which sentences put in places: Whisper with
    random weights has a CKA of 0.015 with MiniLM beyond form, first phones and speakers, and of 0 beyond these too.
    """
    return standardised_powers(types, found, np.array([(token.start + token.end) / 2 for token in types.tokens]))


def standardised_powers(types: Types, found: WordFeatures, of_tokens: Float[np.ndarray, " t"]) -> Float[np.ndarray, "types 4"]:
    """Mean over the readable tokens of each type of a standardised number of theirs to the powers 1 to 4; NaN where a type has none."""
    number, values = types.word[found.ok], of_tokens[found.ok]
    scaled = (values - values.mean()) / max(float(values.std()), 1e-12)
    count = np.bincount(number, minlength=len(types.words))
    with np.errstate(invalid="ignore"):
        return np.stack([np.bincount(number, scaled**power, len(types.words)) / count for power in POWERS], axis=1)
