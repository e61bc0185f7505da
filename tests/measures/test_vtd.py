import json
from pathlib import Path

import numpy as np
import pytest

from laminal.errors import DataError, RequestError
from laminal.measures.clock import MRI_RATE, frame_times, on_codec_frames
from laminal.measures.vtd import Outline, bridged, gridlines, normalised, regular, usable_lines, vocal_tract_distance

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "misc.json").read_text())
CENTRE = np.array([42.0, 60.0])


def arc(radius, start=np.pi, end=0.0, points=721):
    """Arc from the lips (angle pi) to the larynx (0)."""
    angle = np.linspace(start, end, points)
    radius = np.broadcast_to(radius, points)
    return CENTRE + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def radial(lines=120):
    """The fixture's grid: from angle pi to 0, radius 5 to 45."""
    angle = np.linspace(np.pi, 0, lines)
    way = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.stack([CENTRE + 5 * way, CENTRE + 45 * way], 1)


def distances(lower, upper, grid=None):
    return vocal_tract_distance(Outline((lower,), (upper,)), radial() if grid is None else grid)


def test_concentric_arcs_are_as_far_apart_as_their_radii():
    assert "VTD = 10 px on every line" in FIXTURE["vtd_analytic"]["a_concentric"]
    found = distances(arc(20), arc(30))
    np.testing.assert_allclose(found, 10, atol=1e-3)
    np.testing.assert_allclose(2.4 * found, 24, atol=2.4e-3)  # mm at 2.4 mm a pixel
    np.testing.assert_allclose(distances(arc(20)[::-1], arc(30)[::-1]), found)  # the order of the points does not matter


def test_walls_that_touch_or_cross_are_at_0():
    angle = np.linspace(np.pi, 0, 721)
    line = (np.pi - angle) / np.pi * 119
    touching = arc(np.where((line > 49.5) & (line < 59.5), 20, 30))
    found = distances(arc(20), touching)
    assert (found[50:60] == 0).all() and (found[:49] > 9.9).all() and (found[61:] > 9.9).all()
    through = arc(np.where((line > 49.5) & (line < 59.5), 18, 30))  # contours of two annotators overlap
    assert (distances(arc(20), through)[50:60] == 0).all()


def test_a_missing_wall_is_missing_and_not_0():
    grid = radial()
    cut = np.pi * (1 - 99.5 / 119)
    found = distances(arc(20), arc(30, end=cut))
    assert np.isnan(found[100:]).all() and np.isfinite(found[:100]).all()
    assert np.isnan(vocal_tract_distance(Outline((arc(20),), (arc(30)[:1],)), grid)).all()  # one point is no wall


def test_of_several_crossings_the_one_on_the_airway_side_counts():
    wavy = arc(np.concatenate([np.full(360, 20.0), np.full(361, 23.0)]))
    back = np.concatenate([wavy, arc(12)[::-1]])  # the tongue, and its underside on the way back
    found = distances(back, np.concatenate([arc(30), arc(36)[::-1]]))
    np.testing.assert_allclose(found[:58], 10, atol=1e-3)
    np.testing.assert_allclose(found[62:], 7, atol=1e-3)
    pieces = vocal_tract_distance(Outline((arc(12), wavy), (arc(36), arc(30))), radial())
    np.testing.assert_allclose(pieces, found, atol=1e-9)


def test_our_own_grid_crosses_the_midline_at_right_angles():
    for lower, upper in ((arc(20), arc(30)), (arc(20)[::7], arc(30)[::3])):
        grid = gridlines(lower, upper, reach=15.0)
        assert grid.shape == (120, 2, 2)
        found = distances(lower, upper, grid)
        np.testing.assert_allclose(found[24:-24], 10, atol=0.05)
        # near the ends chords are mirrored, so lines lean outwards by up to 18 degrees: longer, and the last ones miss the walls' ends
        np.testing.assert_allclose(found[4:-4], 10, atol=0.6)
        assert np.isfinite(found[3:-3]).all()
        middle = grid.mean(1)
        steps = np.linalg.norm(np.diff(middle, axis=0), axis=1)
        np.testing.assert_allclose(steps, steps.mean(), rtol=0.01)
        np.testing.assert_allclose(np.linalg.norm(middle - CENTRE, axis=1)[24:-24], 25, atol=0.3)
        radius = np.linalg.norm(grid - CENTRE, axis=2)
        assert (radius[:, 0] < radius[:, 1]).all()  # from the lower side to the upper
    mirrored = gridlines(arc(20) * [1, -1], arc(30) * [1, -1], reach=15.0)
    np.testing.assert_allclose(mirrored, gridlines(arc(20), arc(30), reach=15.0) * [1, -1], atol=1e-9)


def test_grid_refuses_what_is_no_tract():
    with pytest.raises(DataError, match="has no length"):
        gridlines(arc(20)[:1], arc(30), reach=15.0)
    with pytest.raises(RequestError, match="lines=1"):
        gridlines(arc(20), arc(30), reach=15.0, lines=1)


@pytest.mark.parametrize("case", [*FIXTURE["time_grid"]["cases"], {"codec_hz": 50}, {"codec_hz": 86.1328125}, {"codec_hz": 200}])
def test_a_ramp_lands_at_the_centres_of_codec_frames(case):
    assert pytest.approx(FIXTURE["time_grid"]["fps"]) == MRI_RATE
    times = frame_times(833, MRI_RATE)
    rate = float(case["codec_hz"])
    frames = int(10 * rate)
    found = on_codec_frames(times[:, None], times, rate, frames)[:, 0]
    centres = (np.arange(frames) + 0.5) / rate
    inside = (centres > times[0]) & (centres < times[-1] - 0.5 / rate)
    assert np.abs(found - centres)[inside].max() < 0.5 / MRI_RATE + 1e-9 and np.isfinite(found[inside]).all()
    moved = on_codec_frames(times[:, None], times, rate, frames, lag=0.04)[:, 0]
    near = inside & (centres + 0.04 < times[-1] - 0.5 / rate)
    assert np.abs(moved - centres - 0.04)[near].max() < 0.5 / MRI_RATE + 1e-9


def test_a_hop_is_the_mean_of_its_frames_and_an_empty_one_is_interpolated_or_missing():
    times = frame_times(100, 100.0)
    values = np.arange(100.0)[:, None]
    np.testing.assert_allclose(on_codec_frames(values, times, 25.0, 25)[:, 0], 1.5 + 4 * np.arange(25))
    holed = values.copy()
    holed[5] = np.nan
    assert on_codec_frames(holed, times, 25.0, 25)[1, 0] == pytest.approx(np.mean([4, 6, 7]))  # what is missing is left out
    fast = on_codec_frames(values, times, 400.0, 400)[:, 0]
    np.testing.assert_allclose(fast[4:9], [0.5, 1, 1, 1, 1.5], atol=0.63)
    assert np.isfinite(fast[2:-2]).all() and np.isnan(fast[0])  # before the first centre there is nothing
    holed[20:40] = np.nan
    assert np.isnan(on_codec_frames(holed, times, 200.0, 200)[45:75]).all()  # a long gap is not filled
    offset = frame_times(100, 100.0, first=200, offset=-0.5)
    assert offset[0] == pytest.approx(1.505)


def test_short_gaps_are_bridged_and_long_ones_are_not():
    whole, first = regular(np.array([[0.0], [1.0], [5.0], [10.0]]), [4, 5, 9, 14])
    assert first == 4 and whole.shape == (11, 1) and np.isnan(whole[2:5]).all()
    found = bridged(whole)[:, 0]
    np.testing.assert_allclose(found[:6], [0, 1, 2, 3, 4, 5])
    assert np.isnan(found[6:10]).all() and found[10] == 10  # four frames in a row
    edges = bridged(np.array([[np.nan], [1.0], [np.nan]]))
    assert np.isnan(edges[[0, 2]]).all()


def test_lines_are_scaled_over_a_speaker_and_bad_ones_masked():
    rng = np.random.default_rng(0)
    tracks = [3 + 2 * rng.standard_normal((n, 4)) for n in (40, 60)]
    tracks[0][:15, 1] = np.nan  # 15 %
    tracks[0][:21, 2] = np.nan  # 21 %
    for track in tracks:
        track[:, 3] = 7.0
    np.testing.assert_array_equal(usable_lines(tracks), [True, True, False, False])
    found = np.concatenate(normalised(tracks))
    assert np.isnan(found[:, 2:]).all() and np.isnan(found[:15, 1]).all()
    np.testing.assert_allclose(np.nanmean(found[:, :2], 0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(found[:, :2], 0), 1)
    assert abs(np.nanmean(normalised(tracks)[0][:, 0])) > 1e-3  # over the speaker, not the clip


def test_speakers_without_a_usable_line_are_refused():
    with pytest.raises(DataError, match="no frame has a distance"):
        normalised([np.full((20, 3), np.nan)])
    with pytest.raises(DataError, match="none of 3 lines varies and has a value in 80% of the frames"):
        normalised([np.full((20, 3), 7.0)])


def test_broken_frame_numbers_take_no_memory():
    with pytest.raises(DataError, match="frame number 5000000000 is 4999999999 after the first, 1: over 1,000,000"):
        regular(np.zeros((2, 1)), [1, 5_000_000_000])
