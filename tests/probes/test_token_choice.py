"""Tokens for word types: enough of them, by different speakers, in few utterances."""

import numpy as np
import pytest

from laminal.probes.token_choice import TokenChoice


def speech(seed, types=60, utterances=80, length=6, speakers=7):
    """Rows of (type, speaker, utterance): rare and frequent types; each utterance by one speaker."""
    rng = np.random.default_rng(seed)
    speaker_of_utterance = rng.integers(speakers, size=utterances)
    utterance = np.repeat(np.arange(utterances), length)
    kind = np.minimum(rng.geometric(0.05, size=len(utterance)) - 1, types - 1)
    return kind, speaker_of_utterance[utterance], utterance, rng.permutation(len(utterance))


@pytest.mark.parametrize("seed", range(5))
def test_needs_are_met_by_different_speakers(seed):
    kind, speaker, utterance, order = speech(seed)
    needs = {int(each): 1 + int(each) % 3 for each in np.unique(kind)}
    chosen = TokenChoice(kind, speaker, utterance, order).choose(needs, [])
    for each, rows in chosen.items():
        assert (kind[rows] == each).all() and len(set(speaker[rows])) == len(rows)
        assert len(rows) == min(needs[each], len(set(speaker[kind == each])))


@pytest.mark.parametrize("seed", range(5))
def test_pairs_can_be_said_by_two_speakers_wherever_that_is_possible(seed):
    kind, speaker, utterance, order = speech(seed)
    present = np.unique(kind).tolist()
    rng = np.random.default_rng(seed)
    pairs = {tuple(sorted(rng.choice(present, 2).tolist())) for _ in range(60)}
    chosen = TokenChoice(kind, speaker, utterance, order).choose({each: 1 for pair in pairs for each in pair}, pairs)
    for a, b in pairs:
        possible = len(set(speaker[kind == a]) | set(speaker[kind == b])) > 1
        assert any(speaker[x] != speaker[y] for x in chosen[a] for y in chosen[b]) == possible


def test_utterances_are_few():
    kind, speaker, utterance, order = speech(0, utterances=300)
    needs = dict.fromkeys(np.unique(kind).tolist(), 1)
    rows = [row for each in TokenChoice(kind, speaker, utterance, order).choose(needs, []).values() for row in each]
    first = [next(row for row in order if kind[row] == each) for each in needs]
    assert len(set(utterance[rows])) < 0.6 * len(set(utterance[first]))


def test_greedy_takes_the_fullest_utterance_first():
    kind, speaker, utterance = np.array([0, 0, 1, 2, 1, 2]), np.zeros(6, int), np.array([0, 1, 1, 1, 2, 3])
    chosen = TokenChoice(kind, speaker, utterance, np.arange(6)).choose({0: 1, 1: 1, 2: 1}, [])
    assert chosen == {0: [1], 1: [2], 2: [3]}
