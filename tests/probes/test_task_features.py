"""Frames for the tasks: stretches that meet share none, whole utterances lose none, and half precision is taken where it is enough."""

import numpy as np
import pytest

from laminal.probes.task_features import halved, pooled


@pytest.mark.parametrize("rate", [6.25, 12.5, 18.75, 25.0, 50.0, 75.0, 86.1328125, 100.0])
def test_stretches_that_meet_share_no_frame(rate):
    count = int(8 * rate)
    marks = np.eye(count)  # frame k is the k-th unit vector: the mean shows which frames were taken
    taken = [np.flatnonzero(pooled(marks, rate, start, start + 2.0)[:count]).tolist() for start in (0.0, 2.0, 4.0, 6.0)]
    every = [frame for part in taken for frame in part]
    assert every == sorted(set(every)) == list(range(count))[: len(every)] and len(every) >= count - 1
    for start, part in zip((0.0, 2.0, 4.0, 6.0), taken):
        assert all(start <= (frame + 0.5) / rate < start + 2.0 for frame in part)


def test_mean_then_deviation():
    frames = np.array([[1.0, 4.0], [3.0, 4.0], [100.0, 0.0]])
    assert pooled(frames, 10.0, 0.0, 0.2).tolist() == [2.0, 4.0, 1.0, 0.0]


def test_half_precision_where_it_is_enough():
    plain = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert halved(plain).dtype == np.float16 and np.abs(halved(plain) - plain).max() < 1e-2
    for values in (1e6 * plain, 1e-8 * plain, plain + 1000):  # past its end, below its beginning, coarser than the deviation
        assert halved(values).dtype == np.float32 and (halved(values) == values).all()
    assert halved(np.ones((3, 2), np.float32)).dtype == np.float16 and not np.isfinite(halved(np.full((2, 2), np.nan, np.float32))).any()
