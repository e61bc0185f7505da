import dataclasses

import numpy as np
import pytest

from laminal.measures.cca import fold_of_groups, heldout_pwcca
from laminal.measures.cca import pwcca as in_sample
from laminal.measures.heldout import HeldOut, Track

LENGTHS = [60, 75, 80, 66, 71, 90, 64, 77, 83, 69]
FOLDS, RANK, SHIFTS = 5, 4, 20
LAGS = (-0.04, 0.0, 0.04)
CLUSTERS = (0, 0, 1, 1, 2, 2, 3, 3, 3, 4)
pytestmark = pytest.mark.filterwarnings("ignore:PWCCA of n=")


def moving(rng, rows, columns):
    """Signals that change slowly, as a tract does."""
    return np.stack([np.convolve(rng.standard_normal(rows + 6), np.ones(7) / 7, mode="valid") for _ in range(columns)], 1)


def material(seed=0):
    """Tracks of 6 lines; features that follow them, that follow one, that know nothing, that do not vary."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((4, 6))
    turn = rng.standard_normal((6, 9))
    fold = fold_of_groups(list(range(len(LENGTHS))), LENGTHS, FOLDS)
    tracks, features = [], []
    for number, rows in enumerate(LENGTHS):
        x = moving(rng, rows, 4) @ mix + 0.05 * moving(rng, rows, 6) + 3
        lagged = {lag: np.roll(x, -round(lag * 50), 0) for lag in LAGS}
        for lag in LAGS[::2]:
            lagged[lag][[0, 1, -1, -2]] = np.nan
        shifts = rng.integers(20, rows - 20, SHIFTS)
        tracks.append(Track(x, lagged, int(fold[number]), shifts, CLUSTERS[number]))
        features.append({
            "copy": x @ turn - 7, "noisy": x @ turn + 2 * moving(rng, rows, 9), "one": x[:, :1] + 0.1 * moving(rng, rows, 1),
            "nothing": moving(rng, rows, 5), "still": np.full((rows, 3), 2.5),
        })  # fmt: skip
    return tracks, features


def measured(tracks, features, **sizes):
    names = list(features[0])
    engine = HeldOut(names, FOLDS, sizes.get("rank", (RANK, RANK)), SHIFTS, 3, LAGS, names)
    for number, (track, own) in enumerate(zip(tracks, features)):
        engine.learn(track, own, f"track {number}")
    engine.ready()
    for track, own in zip(tracks, features):
        engine.weigh(track, own)
    return engine, engine.finish()


@pytest.mark.parametrize("rank", [(2, 2), (4, 4), (9, 9), (3, 7)])
def test_same_values_as_with_all_frames_at_once(rank):
    tracks, features = material()
    engine, held = measured(tracks, features, rank=rank)
    assert list(engine.failed) == ["still"] and "does not vary" in engine.failed["still"]
    x = np.concatenate([track.x for track in tracks])
    groups = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    for place, name in enumerate(held.names):
        y = np.concatenate([each[name] for each in features])
        expected = heldout_pwcca(x, y, groups, FOLDS, rank)
        assert held.values[place] == pytest.approx(expected.pwcca, abs=1e-8), name
        for shift in (0, 7):  # the null is the same on shifted tracks, in float32
            moved = np.concatenate([np.roll(track.x, -int(track.shifts[shift]), 0) for track in tracks])
            assert held.null[shift, place] == pytest.approx(heldout_pwcca(moved, y, groups, FOLDS, rank).pwcca, abs=1e-5), name
    by = dict(zip(held.names, held.values))
    assert by["copy"] > (0.99 if rank != (2, 2) else 0.9) and 0.3 < by["noisy"] < by["copy"] and abs(by["nothing"]) < 0.35
    assert abs(held.null.mean(0)).max() < 0.2


def test_lags_are_those_of_shifted_tracks_on_the_frames_that_all_of_them_have():
    tracks, features = material(1)
    _, held = measured(tracks, features)
    inside = [slice(2, -2)] * len(tracks)  # two frames at either end have no tract at one lag or the other
    groups = np.repeat(np.arange(len(LENGTHS)), np.array(LENGTHS) - 4)
    assert held.late_frames == sum(LENGTHS) - 4 * len(LENGTHS)
    by_lag = {name: held.at_lags(name, np.ones((1, 5)))[0] for name in held.names}
    for place, lag in enumerate(LAGS):
        x = np.concatenate([track.lagged[lag][rows] for track, rows in zip(tracks, inside)])
        for name in ("noisy", "one"):
            y = np.concatenate([each[name][rows] for each, rows in zip(features, inside)])
            expected = heldout_pwcca(x, y, groups, FOLDS, RANK).pwcca  # its axes are chosen on these frames alone
            assert by_lag[name][place] == pytest.approx(expected, abs=0.02), (name, lag)
    for name in ("copy", "noisy", "one"):
        assert by_lag[name][1] == pytest.approx(held.values[held.names.index(name)], abs=0.03)
    assert (by_lag["copy"][[0, 2]] < by_lag["copy"][1]).all()
    late = [each | {"copy": np.roll(each["copy"], 2, 0)} for each in features]  # features answer 40 ms late
    _, delayed = measured(tracks, late)
    assert delayed.at_lags("copy", np.ones((1, 5)))[0].argmax() == 0


def test_without_a_frame_that_has_a_tract_at_every_lag_there_is_no_sweep():
    tracks, features = material(5)
    lost = [dataclasses.replace(track, lagged=track.lagged | {0.04: np.full_like(track.x, np.nan)}) for track in tracks]
    _, held = measured(lost, features)
    assert held.late_frames == 0 and np.isnan(held.at_lags("copy", np.ones((1, 5)))).all()
    assert held.values[held.names.index("copy")] > 0.99


def test_weights_of_clusters():
    tracks, features = material(2)
    _, held = measured(tracks, features)
    np.testing.assert_allclose(held.weighted(np.ones((1, 5)))[0], held.values, atol=1e-9)
    np.testing.assert_allclose(held.weighted(2 * np.ones((1, 5)))[0], held.values, atol=1e-9)
    alone = held.weighted(np.eye(5))  # each cluster's tracks, along directions fitted on the other folds
    assert np.isfinite(alone).all() and (alone[:, held.names.index("copy")] > 0.97).all()
    apart = [dataclasses.replace(track, cluster=number) for number, track in enumerate(tracks)]
    _, by_track = measured(apart, features)
    weights = np.random.default_rng(0).integers(0, 3, (20, 5)) + 1.0
    of_tracks = by_track.weighted(weights[:, list(CLUSTERS)])
    np.testing.assert_allclose(held.weighted(weights), of_tracks, atol=1e-9)  # a cluster's sums are those of its tracks
    np.testing.assert_allclose(held.at_lags("noisy", weights), by_track.at_lags("noisy", weights[:, list(CLUSTERS)]), atol=1e-9)


def test_says_how_many_axes_it_used():
    tracks, features = material(6)
    engine, _ = measured(tracks, features, rank=(3, 7))
    used = dict(zip(engine.names, engine.axes))
    assert used == {"copy": 6, "noisy": 7, "one": 1, "nothing": 5}
    kept, share = engine.own
    x = np.concatenate([track.x for track in tracks])
    wide = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    assert kept == 3 and share == pytest.approx(wide[:3].sum() / wide.sum(), abs=0.03)


def test_a_fold_of_two_frames_is_refused():
    tracks, features = material(7)
    short = [dataclasses.replace(t, x=t.x[:2], lagged={lag: x[:2] for lag, x in t.lagged.items()}, shifts=t.shifts % 2) for t in tracks[:5]]
    few = [{name: y[:2] for name, y in own.items()} for own in features[:5]]
    engine = HeldOut(["copy"], FOLDS, (RANK, RANK), SHIFTS, 3, LAGS, ["copy"])
    for number, (track, own) in enumerate(zip(short, few)):
        engine.learn(dataclasses.replace(track, fold=number), own, "")
    engine.ready()
    assert engine.failed == {"copy": "a fold has 2 frames, and a correlation needs 3; give longer tracks"}


def test_in_sample_is_pwcca_of_all_frames_with_a_null():
    tracks, features = material(3)
    engine, _ = measured(tracks, features)
    x = np.concatenate([track.x for track in tracks])
    for name in ("noisy", "one", "nothing"):
        found = engine.in_sample(name)
        y = np.concatenate([each[name] for each in features])
        assert found.value == pytest.approx(in_sample(x, y).pwcca, abs=1e-8)
        shifted = [in_sample(np.concatenate([np.roll(t.x, -int(t.shifts[s]), 0) for t in tracks]), y).pwcca for s in range(3)]
        assert found.null == pytest.approx(np.mean(shifted), abs=1e-8)
        assert found.low < found.value < found.high and not found.few


def test_what_is_not_finite_is_left_out_with_its_place_and_the_others_stay():
    tracks, features = material(4)
    _, before = measured(tracks, features)
    features[3]["noisy"][5, 1] = np.nan
    features[4]["noisy"][:] = np.inf
    engine, held = measured(tracks, features)
    assert engine.failed["noisy"].startswith("1 of 66 frames are not finite on track 3")
    kept = [before.values[before.names.index(name)] for name in held.names]
    np.testing.assert_allclose(held.values, kept, atol=1e-12)


def test_intervals_in_sample_end_at_0_and_1():
    tracks, features = material(3)
    rng = np.random.default_rng(5)
    own = [{"nearly": x.x + (0.5 if x.fold == 0 else 0.0) * rng.standard_normal(x.x.shape)} for x in tracks]
    engine, _ = measured(tracks, own)
    found = engine.in_sample("nearly")
    assert 0.7 < found.value < found.high == 1.0 and found.low > 0  # the jackknife alone goes beyond 1
