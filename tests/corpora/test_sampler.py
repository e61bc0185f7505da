"""Which crops come: uniform over seconds, around related words, pure in the step, disjoint over ranks."""

import numpy as np
import pytest

from laminal.corpora.sampler import PairSampler, Place, PlainSampler, _sizes
from laminal.corpora.split import Split
from laminal.corpora.vocabulary import Relations, Tokens
from laminal.errors import RequestError

NONE: frozenset = frozenset()


def relations(words, positives=(), hard=()) -> Relations:
    return Relations(Split(NONE, NONE, NONE, frozenset(positives), frozenset(hard), NONE), words)


def one_each(rows: list[tuple[int, int, float, float]]) -> Tokens:
    """Tokens of (word, speaker, start, end), each alone in its utterance: the utterance of a place then tells the token."""
    word, speaker, start, end = (np.array(column) for column in zip(*rows))
    count, place = len(rows), np.zeros(len(rows), dtype=np.int64)
    return Tokens(np.arange(count), start.astype(float), end.astype(float), word, speaker, np.arange(count + 1), place)


def test_a_pass_takes_each_utterance_by_its_seconds():
    lengths = np.random.default_rng(0).uniform(0.3, 9.0, 200).tolist()
    sampler = PlainSampler(lengths, 1.5, seed=4)
    assert sampler.crops == int(sum(lengths) / 1.5)
    total = np.zeros(200)
    for number in range(20):
        places = [sampler.place(number * sampler.crops + index) for index in range(sampler.crops)]
        counts = np.bincount([place.utterance for place in places], minlength=200)
        assert (np.abs(counts - np.array(lengths) / 1.5) < 1.01).all(), "floor or ceiling of its share in every pass"
        assert len({(place.utterance, place.start) for place in places}) == sampler.crops, "no crop comes twice in a pass"
        assert all(0 <= place.start <= max(lengths[place.utterance] - 1.5, 0) for place in places)
        total += counts
    assert np.abs(total / 20 - np.array(lengths) / 1.5).mean() < 0.12


def test_plain_starts_are_uniform_in_an_utterance():
    sampler = PlainSampler([10.0, 3.0], 1.0, seed=0)
    starts = np.array([p.start for p in (sampler.place(i) for i in range(6500)) if p.utterance == 0])
    counts, _ = np.histogram(starts, bins=9, range=(0, 9))
    assert counts.sum() == len(starts) and np.abs(counts / len(starts) - 1 / 9).max() < 0.02


def test_plain_places_do_not_depend_on_what_was_asked_before():
    lengths = [2.0, 5.0, 0.5, 8.0]
    straight = [PlainSampler(lengths, 1.0, 7).place(position) for position in range(60)]
    mixed = PlainSampler(lengths, 1.0, 7)
    order = np.random.default_rng(0).permutation(60).tolist()
    assert {position: mixed.place(position) for position in order} == dict(enumerate(straight))
    assert straight != [PlainSampler(lengths, 1.0, 8).place(position) for position in range(60)]
    assert straight[:15] != straight[15:30], "passes differ"


def test_a_corpus_shorter_than_a_crop_still_gives_crops():
    sampler = PlainSampler([0.2, 0.3], 2.0, 0)
    assert sampler.crops == 1 and {sampler.place(i) for i in range(20)} <= {Place(0, 0.0), Place(1, 0.0)}


def test_groups_are_a_word_its_positive_and_its_near_homophone():
    # words 0-1 are synonyms, 2 sounds like 0, 3 like 1, 4 stands alone; 1 is said by one speaker only
    rng = np.random.default_rng(0)
    rows = [(word, speaker, 2.0, 2.4) for word in (0, 2, 3, 4) for speaker in range(5) for _ in range(3)] + [(1, 2, 2.0, 2.4)] * 2
    rows = [rows[index] for index in rng.permutation(len(rows))]
    words = ["aa", "bb", "cc", "dd", "ee"]
    known = relations(words, [("aa", "bb")], [("aa", "cc"), ("bb", "dd")])
    sampler = PairSampler(one_each(rows), known, [5.0] * len(rows), 1.0, synonyms=0.5, seed=0)
    seen, contrasts = [], []
    for step in range(400):
        (group,) = sampler.places(step, 1, 3)
        (a, s, _, _), (b, t, _, _), (c, _, _, _) = (rows[place.utterance] for place in group)
        assert s != t and (a == b or {a, b} == {0, 1}), "a positive is by another speaker"
        near = {0: {2}, 1: {3}, 2: {0}, 3: {1}, 4: set()}
        wanted = near[a] or near[b]
        assert c in wanted if wanted else True
        seen.append((a, b))
        contrasts.append(c)
        assert len({place.utterance for place in group}) == 3
    share = np.mean([a != b for a, b in seen])
    assert 0.42 < share < 0.58, "half of the positives are synonyms"
    same = [a for a, b in seen if a == b]
    assert set(same) == {0, 2, 3, 4}, "a word of one speaker is no positive of itself"
    assert {(0, 1), (1, 0)} <= set(seen), "either word comes first"
    assert set(contrasts) == {0, 1, 2, 3, 4}


def test_words_lie_anywhere_in_their_crop_and_wholly_inside():
    rows = [(0, speaker, 4.0, 4.5) for speaker in range(20)] + [(1, 0, 0.1, 0.3), (1, 1, 9.7, 9.9), (1, 2, 0.0, 2.5)]
    sampler = PairSampler(one_each(rows), relations(["aa", "bb"]), [10.0] * len(rows), 2.0, 0.0, 0)
    offsets = []
    for step in range(500):
        for place in sampler.places(step, 1, 2)[0]:
            word, _, start, end = rows[place.utterance]
            assert end - start <= 2.0, "a word longer than the crop is never its anchor"
            assert 0 <= place.start <= 8.0 and place.start <= start and end <= place.start + 2.0 + 1e-9
            if word == 0:
                offsets.append(start - place.start)
    counts, _ = np.histogram(offsets, bins=5, range=(0, 1.5))
    assert counts.min() > 0.7 * len(offsets) / 5


def test_a_short_utterance_begins_at_zero():
    rows = [(0, 0, 0.2, 0.5), (0, 1, 0.3, 0.4)]
    sampler = PairSampler(one_each(rows), relations(["aa"]), [0.7, 0.9], 2.0, 0.5, 0)
    assert all(place.start == 0 for step in range(20) for place in sampler.places(step, 1, 2)[0])


def test_ranks_share_one_draw_without_a_common_token():
    rows = [(word, speaker, 1.0, 1.2) for word in range(10) for speaker in range(12)]
    words = [letter * 2 for letter in "abcdefghij"]
    sampler = PairSampler(one_each(rows), relations(words, [("aa", "bb")], [("cc", "dd")]), [3.0] * len(rows), 1.0, 0.3, 0)
    for step in (0, 1, 50):
        ranks = sampler.places(step, 4, 8)
        assert [len(places) for places in ranks] == [8] * 4
        used = [place.utterance for places in ranks for place in places]
        assert len(set(used)) == 32, "no token twice in a step, over all ranks"
        assert ranks == sampler.places(step, 4, 8), "asking again changes nothing"
    assert sampler.places(0, 1, 8) != sampler.places(1, 1, 8)


def test_a_corpus_without_a_positive_is_refused():
    rows = [(0, 0, 1.0, 1.2), (0, 0, 1.0, 1.2), (1, 0, 1.0, 1.2)]
    with pytest.raises(RequestError, match="data.pairs=0"):
        PairSampler(one_each(rows), relations(["aa", "bb"], [("aa", "bb")]), [3.0] * 3, 1.0, 0.5, 0)


@pytest.mark.parametrize("slots", [0, *range(2, 40)])
def test_slots_are_cut_into_threes_and_twos(slots):
    sizes = _sizes(slots)
    assert sum(sizes) == slots and set(sizes) <= {2, 3} and sizes.count(2) <= 2


def test_one_slot_makes_no_pair():
    with pytest.raises(RequestError, match="data.pairs"):
        _sizes(1)
