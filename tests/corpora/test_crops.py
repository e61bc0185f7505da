"""Batches: the same whatever happens around them, true to the files, free of what is held out, related as the dictionaries say."""

import dataclasses
import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch

import oracle_crops as oracle
from laminal.corpora.base import Corpus
from laminal.corpora.crops import Batch, Crops, evaluation_crops, loader
from laminal.corpora.librispeech import librispeech
from laminal.corpora.split import Split, make_split
from laminal.corpora.waveforms import Waveforms
from laminal.errors import DataError, RequestError

RATE = 16000
GIVEN = {"sample_rate": RATE, "seconds": 1.0, "batch": 6, "pairs": 0.5, "synonyms": 0.5, "seed": 3, "cache_bytes": 2**24}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return oracle.noise_corpus(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def split(corpus) -> Split:
    return make_split(corpus, 0)


@pytest.fixture(scope="module")
def crops(corpus, split) -> Crops:
    return Crops(corpus, split, **GIVEN)


TENSORS = [part.name for part in dataclasses.fields(Batch) if part.name != "heard"]


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in TENSORS) and not a.heard and not b.heard


def global_states() -> tuple:  # not Python's own: beartype draws from it in tests
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()


def test_batches_do_not_depend_on_what_was_asked_before(corpus, split, crops):
    straight = [crops[step] for step in range(12)]
    fresh = Crops(corpus, split, **GIVEN)
    assert all(same(fresh[step], straight[step]) for step in (11, 3, 7, 0, 5))
    assert not any(same(a, b) for a, b in pairwise(straight))
    other = Crops(corpus, split, **GIVEN | {"seed": 4})
    assert not same(other[0], straight[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_batches_of_a_straight_one(crops, workers):
    straight = [crops[step] for step in range(10)]
    before = list(loader(crops, 0, 4, workers))
    after = list(loader(crops, 4, 10, workers))
    assert len(before) == 4 and len(after) == 6
    assert all(same(a, b) for a, b in zip(straight, before + after, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_draws_from_no_global_generator(crops, workers):
    torch.manual_seed(5)
    states = global_states()
    assert sum(1 for _ in loader(crops, 0, 3, workers)) == 3
    assert global_states() == states
    iter(torch.utils.data.DataLoader([1, 2]))
    assert global_states() != states, "the test must see torch's own draw"


def test_a_spawned_process_gets_the_same_batches(crops):
    assert same(pickle.loads(pickle.dumps(crops))[4], crops[4])


@pytest.mark.parametrize("pairs", [0.0, 0.5, 1.0])
def test_crops_are_the_samples_of_their_files(corpus, split, pairs):
    crops = Crops(corpus, split, **GIVEN | {"pairs": pairs, "seconds": 1.3})
    train = [utterance for utterance in corpus if utterance.speaker in split.train_speakers]
    short = 0
    for step in range(20):
        batch = crops[step]
        assert batch.wav.shape == batch.mask.shape == (6, 20800)
        for row, place in enumerate(crops.places(step)):
            utterance = train[place.utterance]
            start = int(place.start * RATE)
            expected, _ = soundfile.read(utterance.path, start=start, frames=20800, dtype="float32")
            assert np.array_equal(batch.wav[row, : len(expected)].numpy(), expected)
            assert not batch.wav[row, len(expected) :].any()
            assert batch.mask[row].sum() == len(expected) == min(20800, round(utterance.seconds * RATE))
            assert batch.mask[row, : len(expected)].all()
            assert crops.speakers[batch.speaker[row]] == utterance.speaker
            short += len(expected) < 20800
    assert short > 0, "some utterance must be shorter than a crop"


@pytest.mark.parametrize("pairs", [0.0, 1.0])
def test_spans_are_the_training_words_wholly_inside(corpus, split, pairs):
    crops = Crops(corpus, split, **GIVEN | {"pairs": pairs})
    train = [utterance for utterance in corpus if utterance.speaker in split.train_speakers]
    heard = 0
    for step in range(40):
        batch = crops[step]
        expected = []
        for row, place in enumerate(crops.places(step)):
            start = int(place.start * RATE) / RATE
            for word in train[place.utterance].words:
                if not oracle.counts_as_token(word) or word.label in split.held_types:
                    heard += word.label in split.held_types
                    continue
                if word.start >= start - 1e-3 and word.end <= start + 1 + 1e-3:
                    expected.append((row, word.label, train[place.utterance].speaker, word.start - start, word.end - start))
        found = [
            (row, crops.words[word], crops.speakers[speaker])
            for row, word, speaker in zip(batch.span_row.tolist(), batch.span_word.tolist(), batch.span_speaker.tolist(), strict=True)
        ]
        assert found == [row[:3] for row in expected]
        times = torch.stack((batch.span_start, batch.span_end), dim=1)
        assert torch.allclose(times, torch.tensor([row[3:] for row in expected]).reshape(-1, 2), atol=1.1e-3)
        assert not len(times) or (times.min() >= 0 and times.max() <= 1)
    assert heard > 0, "held-out words are heard, only not named"
    assert split.held_types.isdisjoint(crops.words)


def test_no_test_speaker_and_no_held_type_is_in_any_batch(corpus, split, crops):
    assert set(crops.speakers) == split.train_speakers
    for step in range(100):
        batch = crops[step]
        assert {crops.words[word] for word in batch.span_word.tolist()} <= split.train_types
        assert (batch.span_speaker == batch.speaker[batch.span_row]).all()


def test_relations_are_those_of_the_dictionaries(crops, split):
    totals = np.zeros(3)
    kinds = set()
    for step in range(60):
        batch = crops[step]
        words = [crops.words[word] for word in batch.span_word.tolist()]
        expected = oracle.matrices(split, words, batch.span_speaker.tolist())
        for name, wanted in zip(("positive", "excluded", "hard"), expected, strict=True):
            assert np.array_equal(getattr(batch, name).numpy(), wanted), (name, words)
        assert not (batch.positive & batch.excluded).any() and not (batch.hard & (batch.positive | batch.excluded)).any()
        assert batch.excluded.diagonal().all()
        totals += [matrix.sum() for matrix in expected]
        rows, columns = np.nonzero(expected[0])
        kinds |= {words[i] == words[j] for i, j in zip(rows, columns)}
        pairs = {(min(words[i], words[j]), max(words[i], words[j])) for i, j in zip(*np.nonzero(expected[1]))}
        kinds |= {"held" for pair in pairs if pair in split.held_pairs}
    assert totals.min() > 0 and kinds == {True, False, "held"}, "the batches must show every kind"


def test_pair_drawn_batches_always_hold_a_positive(corpus, split):
    crops = Crops(corpus, split, **GIVEN | {"batch": 4, "pairs": 0.75})
    assert all(crops[step].positive.any() for step in range(100))
    plain = Crops(corpus, split, **GIVEN | {"batch": 4, "pairs": 0.0})
    assert not all(plain[step].positive.any() for step in range(100)), "which crops drawn at random do not"


def test_ranks_take_different_crops_of_one_stream(tmp_path):
    corpus = oracle.noise_corpus(tmp_path, each=12)
    split = make_split(corpus, 0)
    whole = Crops(corpus, split, **GIVEN | {"batch": 12, "pairs": 0.0})
    ranks = [Crops(corpus, split, **GIVEN, rank=rank, ranks=4) for rank in range(4)]
    plain = [Crops(corpus, split, **GIVEN | {"batch": 3, "pairs": 0.0}, rank=rank, ranks=4) for rank in range(4)]
    for step in range(20):
        assert [place for one in plain for place in one.places(step)] == whole.places(step)
        paired = [place.utterance for one in ranks for place in one.places(step)[:3]]
        assert len(set(paired)) == 12, "no utterance twice among the paired crops of a step"
    steps = whole.steps_per_pass
    taken = [place for one in plain for step in range(steps) for place in one.places(step)]
    assert len(set(taken)) == len(taken) == 12 * steps, "no crop comes twice in a pass, on whatever rank"
    assert not any(same(ranks[0][step], ranks[1][step]) for step in range(5))


@pytest.mark.parametrize("cache_bytes", [0, 200_000, 2**30])
def test_the_cache_changes_no_sample(corpus, split, crops, cache_bytes):
    other = Crops(corpus, split, **GIVEN | {"cache_bytes": cache_bytes})
    assert all(same(other[step], crops[step]) for step in range(20))


def test_the_cache_keeps_to_its_budget(corpus):
    lengths = [utterance.seconds for utterance in corpus]
    held = []
    for budget in (0, 100_000, 300_000, 2**30):
        waveforms = Waveforms(corpus, lengths, RATE, budget)
        assert 2 * waveforms._offset[-1] <= budget
        held.append(waveforms._kept)
        for index in range(len(corpus)):
            waveforms.crop(index, 0, 100)
        assert np.count_nonzero(waveforms._held) == waveforms._kept
    assert held[0] == 0 < held[1] < held[2] < held[3] == len(corpus)


def test_another_rate_is_resampled_whether_kept_or_not(tmp_path):
    corpus = oracle.noise_corpus(tmp_path)
    for number, utterance in enumerate(corpus):
        time = np.arange(round(utterance.seconds * RATE)) / RATE
        soundfile.write(utterance.path, 0.5 * np.sin(2 * np.pi * (100 + 5 * number) * time), RATE, subtype="PCM_16")
    split = make_split(corpus, 0)
    kept, cut = (Crops(corpus, split, **GIVEN | {"sample_rate": 24000, "cache_bytes": size}) for size in (2**24, 0))
    for step in range(5):
        a, b = kept[step], cut[step]
        assert a.wav.shape == (6, 24000) and torch.equal(a.span_word, b.span_word)
        inner = slice(1000, 10000)  # cut before resampling, a crop differs at its edges
        assert torch.allclose(a.wav[:, inner], b.wav[:, inner], atol=0.03)  # and by half a sample of the file
        for row, place in enumerate(kept.places(step)):
            number = int(corpus.subset(split.train_speakers)[place.utterance].id[1:])
            time = int(place.start * 24000) / 24000 + np.arange(24000)[inner] / 24000
            assert np.allclose(a.wav[row, inner], 0.5 * np.sin(2 * np.pi * (100 + 5 * number) * time), atol=0.01) or not a.mask[row].all()


def test_a_leaking_split_is_refused(corpus, split):
    held = sorted(split.held_types)[0]
    bad = dataclasses.replace(split, positives=split.positives | {tuple(sorted((held, "begin")))})
    with pytest.raises(RequestError, match=held):
        Crops(corpus, bad, **GIVEN)
    shared = dataclasses.replace(split, test_speakers=split.test_speakers | {"s00", "s01"})
    with pytest.raises(RequestError, match="s0[01]"):
        Crops(corpus, shared, **GIVEN)


WRONG = [{"seconds": 0.0}, {"batch": 0}, {"pairs": 1.5}, {"synonyms": -0.1}, {"rank": 2, "ranks": 2}, {"pairs": 0.2}]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_numbers_are_refused(corpus, split, wrong):
    with pytest.raises(RequestError, match="data"):
        Crops(corpus, split, **GIVEN | wrong)[0]


def test_a_foreign_split_is_refused(corpus, split):
    with pytest.raises(RequestError, match="training speaker"):
        Crops(corpus, dataclasses.replace(split, train_speakers=frozenset({"nobody"})), **GIVEN)


@pytest.mark.parametrize("damage", ["empty", "missing", "truncated"])
def test_an_unreadable_file_is_replaced_and_told(tmp_path, damage):
    corpus = oracle.noise_corpus(tmp_path)
    split = make_split(corpus, 0)
    train = corpus.subset(split.train_speakers)
    bad = max(train, key=lambda utterance: utterance.seconds)
    if damage == "missing":
        bad.path.unlink()
    else:
        bad.path.write_bytes(bad.path.read_bytes()[: 0 if damage == "empty" else 20000])
    crops = Crops(corpus, split, **GIVEN)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        batches = [crops[step] for step in range(40)]
    assert any(bad.path.name in str(warning.message) for warning in told)
    assert all(batch.mask.any(dim=1).all() for batch in batches)
    again = Crops(corpus, split, **GIVEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(same(again[step], batches[step]) for step in range(40))


def test_a_corpus_without_a_readable_file_stops(tmp_path):
    corpus = oracle.noise_corpus(tmp_path)
    split = make_split(corpus, 0)
    for utterance in corpus:
        utterance.path.unlink()
    with pytest.raises(DataError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Crops(corpus, split, **GIVEN)[0]


def test_a_batch_moves_whole(crops):
    moved = crops[0].to("meta")
    for name in TENSORS:
        there, here = getattr(moved, name), getattr(crops[0], name)
        assert there.device.type == "meta" and there.shape == here.shape and there.dtype == here.dtype


def test_evaluation_crops_are_fixed_and_of_held_out_speakers(corpus, split):
    batches = evaluation_crops(corpus, split.test_speakers, count=11, seconds=0.8, sample_rate=RATE, seed=0, batch=4)
    assert [len(batch.wav) for batch in batches] == [4, 4, 3]
    assert all(batch.wav.shape[1] == 12800 and not len(batch.span_row) and batch.positive.shape == (0, 0) for batch in batches)
    again = evaluation_crops(corpus, split.test_speakers, 11, 0.8, RATE, 0, 4)
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))
    files = {utterance.speaker: [] for utterance in corpus}
    for utterance in corpus:
        files[utterance.speaker].append(soundfile.read(utterance.path, dtype="float32")[0])
    names = sorted(split.test_speakers)
    for batch in batches:
        for row in range(len(batch.wav)):
            said = batch.wav[row][batch.mask[row]].numpy()
            views = map(np.lib.stride_tricks.sliding_window_view, files[names[batch.speaker[row]]], [64] * 9)
            assert any((view == said[:64]).all(1).any() for view in views)


@pytest.mark.parametrize("speakers", [frozenset(), frozenset({"nobody"})])
def test_evaluation_crops_of_nobody_are_refused(corpus, speakers):
    with pytest.raises(RequestError, match="held-out speakers"):
        evaluation_crops(corpus, speakers, 4, 1.0, RATE, 0)


@pytest.mark.data
def test_real_speech(librispeech_mini):
    corpus = librispeech(librispeech_mini)
    split = make_split(corpus, 0)
    crops = Crops(corpus, split, **GIVEN | {"batch": 8, "pairs": 0.75})
    positives = 0
    for step in range(40):
        batch = crops[step]
        words = [crops.words[word] for word in batch.span_word.tolist()]
        assert set(words) <= split.train_types and split.held_types.isdisjoint(words)
        for name, wanted in zip(("positive", "excluded", "hard"), oracle.matrices(split, words, batch.span_speaker.tolist()), strict=True):
            assert np.array_equal(getattr(batch, name).numpy(), wanted)
        positives += bool(batch.positive.any())
        assert batch.wav.isfinite().all() and batch.wav.std() > 1e-3
    assert positives == 40 and set(crops.speakers) == split.train_speakers
