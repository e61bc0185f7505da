"""The small CTC network: it learns what can be learnt, the same from the same seed, and leaves no trace."""

import numpy as np
import pytest
import torch
from rapidfuzz.distance import Levenshtein

from laminal.probes.ctc import RATES, CtcSize, Reader, read, symbol_rate, train

SIZE = CtcSize(width=24, steps=120, rate=25.0)


def speech(count, seed, symbols=4, dim=8):
    """Frames at 50 Hz that say their symbols, six frames each, in noise."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(0).standard_normal((symbols + 1, dim))
    items = []
    for _ in range(count):
        said = [int(each) for each in rng.integers(1, symbols + 1, size=int(rng.integers(6, 12)))]
        frames = shape[np.repeat([0, *(part for each in said for part in (each, 0))], 5)]
        items.append(((frames + 0.3 * rng.standard_normal(frames.shape)).astype(np.float32), said))
    return items


@pytest.fixture(scope="module")
def reader():
    return train(speech(60, 1), 4, 50.0, SIZE, 0)


def test_it_reads_what_it_has_not_seen(reader):
    items = speech(20, 2)
    written = read(reader, [frames for frames, _ in items])
    errors = sum(Levenshtein.distance(a, b) for a, (_, b) in zip(written, items, strict=True))
    assert errors < 0.15 * sum(len(said) for _, said in items)


def test_the_same_seed_gives_the_same_weights_and_no_generator_moves(reader):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    with torch.no_grad():  # as the callback calls probes
        again = train(speech(60, 1), 4, 50.0, SIZE, 0)
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before
    assert all(torch.equal(a, b) for a, b in zip(reader.state_dict().values(), again.state_dict().values(), strict=True))
    short = CtcSize(24, 1, 25.0)
    others = train(speech(60, 1), 4, 50.0, short, 0), train(speech(60, 1), 4, 50.0, short, 1)
    assert not torch.equal(others[0].enter.weight, others[1].enter.weight)


@pytest.mark.parametrize("frame_rate", [12.5, 50.0, 75.0, 100.0])
@pytest.mark.parametrize("rate", RATES)
def test_padding_changes_nothing_and_lengths_are_true(frame_rate, rate):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reader = Reader(6, 5, frame_rate, 16, rate).eval()
        frames = torch.randn(2, 41, 6)
    count = torch.tensor([41, 23])
    with torch.no_grad():
        both = reader(frames, count)
        alone = reader(frames[1:, :23], count[1:])
    said = reader.lengths(count).tolist()
    assert both.shape[1] == said[0] and alone.shape[1] == said[1]
    torch.testing.assert_close(both[1, : said[1]], alone[0], atol=1e-5, rtol=1e-5)
    assert rate <= said[0] / (41 / frame_rate) < 2.1 * rate  # enough, and not many more
    assert both.shape[2] == 6


def test_fast_speech_gets_the_faster_rate():
    slow, fast = ("abab" * 5, 1.0), ("ab" * 14, 1.0)  # 28 letters a second
    assert symbol_rate([slow] * 9) == RATES[0] and symbol_rate([slow] * 9 + [fast]) == RATES[1]
    assert symbol_rate([("a" * 13, 1.0)]) == RATES[0] and symbol_rate([("a" * 14, 1.0)]) == RATES[1]  # equal ones need a gap
