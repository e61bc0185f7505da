"""Vocal-tract distance (VTD): how far apart the walls of the vocal tract are along gridlines across it, from lips to larynx.

After Kim et al. 2014 and the seed study (arXiv 2603.10371, section 2.4). Contours are polylines (n, 2) in any unit of length, ordered from
the lips to the larynx or the other way; "lower" is the tongue's side, "upper" that of the palate and the rear wall.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from laminal.errors import DataError, RequestError

LINES = 120
GAP = 3  # frames without a value that are bridged
MOST_MISSING = 0.2  # of a line's frames; beyond, the line is masked for the speaker
MOST_FRAMES = 1_000_000  # of one recording, three hours at 83 Hz: more is a broken frame number, and memory for nothing
MIDLINE_POINTS = 240
SMOOTHED = 0.1  # of the midline: width of the moving average
TOUCH = 1e-9  # of a gridline: closer walls touch

Contour = Float[np.ndarray, "_ 2"]
Grid = Float[np.ndarray, "g 2 2"]  # from the lower end (first) to the upper end of each line


@dataclass(frozen=True, slots=True)
class Outline:
    """One frame: the polylines that make up each side (several may overlap, as tongue and jaw)."""

    lower: tuple[Contour, ...]
    upper: tuple[Contour, ...]


def gridlines(lower: Contour, upper: Contour, reach: float, lines: int = LINES) -> Grid:
    """Lay the grid of a speaker through the mean contours, both from lips to larynx: lines across the midline, `reach` to each side.

    The midline is the mean of both contours at equal shares of their lengths, smoothed, at `lines` equal steps of arc; the tangent at i is
    the chord from i - round(lines / 5) to i + round(lines / 5), the midline being continued beyond its ends by reflection in them.
    """
    if lines < 2 or reach <= 0:
        raise RequestError(f"lines={lines}, reach={reach}: a grid has 2 lines or more, of a length above 0")
    middle = (resampled(lower, MIDLINE_POINTS) + resampled(upper, MIDLINE_POINTS)) / 2
    middle = resampled(_smoothed(middle, round(SMOOTHED * MIDLINE_POINTS) | 1), lines)
    step = min(max(1, round(lines / 5)), lines - 1)
    longer = _reflected(middle, step)
    tangent = longer[2 * step :] - longer[: -2 * step]
    length = np.linalg.norm(tangent, axis=1, keepdims=True)
    if not (length > 0).all():
        raise DataError("the midline turns back on itself: these contours are no vocal tract from lips to larynx; check their order")
    across = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / length
    side = np.einsum("gd,gd->g", across, resampled(upper, lines) - resampled(lower, lines)).sum()
    across = across if side > 0 else -across  # towards the upper side
    return np.stack([middle - reach * across, middle + reach * across], 1)


def vocal_tract_distance(outline: Outline, grid: Grid) -> Float[np.ndarray, " g"]:
    """Distance between both sides along each gridline, in the contours' unit: NaN where a line misses a side, 0 where they touch or cross.

    Of several crossings that on the airway side counts: of the lower side the one nearest the line's upper end, of the upper side the one
    nearest its lower end.
    """
    hits = [np.concatenate([crossings(contour, grid) for contour in side], 1) for side in (outline.lower, outline.upper)]
    low = np.where(np.isnan(hits[0]), -np.inf, hits[0]).max(1)
    high = np.where(np.isnan(hits[1]), np.inf, hits[1]).min(1)
    gap = np.where(np.isinf(high - low), np.nan, high - low)
    return np.where(gap < TOUCH, 0.0, gap) * np.linalg.norm(grid[:, 1] - grid[:, 0], axis=1)


def crossings(contour: Contour, grid: Grid) -> Float[np.ndarray, "g s"]:
    """Where each segment of a contour crosses each gridline, as a share of the line from its lower end; NaN where it does not."""
    if len(contour) < 2:
        return np.full((len(grid), 1), np.nan)
    start, along = contour[:-1], np.diff(contour, axis=0)  # (s, 2)
    origin, line = grid[:, 0], grid[:, 1] - grid[:, 0]  # (g, 2)
    offset = start[None] - origin[:, None]  # (g, s, 2)
    cross = line[:, None, 0] * along[None, :, 1] - line[:, None, 1] * along[None, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        at_line = (offset[..., 0] * along[None, :, 1] - offset[..., 1] * along[None, :, 0]) / cross
        at_segment = (offset[..., 0] * line[:, None, 1] - offset[..., 1] * line[:, None, 0]) / cross
    edge = 1e-12
    hit = (cross != 0) & (at_line >= -edge) & (at_line <= 1 + edge) & (at_segment >= -edge) & (at_segment <= 1 + edge)
    return np.where(hit, at_line, np.nan)


def resampled(contour: Contour, points: int) -> Float[np.ndarray, "points 2"]:
    """Take `points` points at equal steps of arc; raises DataError where the contour has no length."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(contour, axis=0), axis=1))])
    if len(contour) < 2 or not length[-1] > 0:
        raise DataError(f"a contour of {len(contour)} points has no length; leave that frame out")
    at = np.linspace(0, length[-1], points)
    return np.stack([np.interp(at, length, contour[:, axis]) for axis in (0, 1)], 1)


def mean_contour(contours: Sequence[Contour], points: int = MIDLINE_POINTS) -> Float[np.ndarray, "points 2"]:
    """Mean of contours at equal shares of their lengths."""
    return np.mean([resampled(each, points) for each in contours], axis=0)


def regular(
    values: Float[np.ndarray, "m g"], frames: Sequence[int] | np.ndarray, count: int | None = None
) -> tuple[Float[np.ndarray, "n g"], int]:
    """Put rows with rising frame numbers on the whole clock, NaN where a frame is missing, and say which frame is the first.

    Raises DataError where the last is more than MOST_FRAMES after the first.
    """
    first = int(frames[0])
    within_reach(first, int(frames[-1]))
    whole = np.full((int(frames[-1]) - first + 1 if count is None else count, values.shape[1]), np.nan)
    whole[np.asarray(frames) - first] = values
    return whole, first


def within_reach(first: int, last: int) -> None:
    """Raise DataError where frame numbers run over more than MOST_FRAMES."""
    if last - first >= MOST_FRAMES:
        raise DataError(f"frame number {last} is {last - first} after the first, {first}: over {MOST_FRAMES:,d}; mend the numbers")


def bridged(values: Float[np.ndarray, "n g"], gap: int = GAP) -> Float[np.ndarray, "n g"]:
    """Interpolate each line over at most `gap` frames in a row without a value; longer gaps, and those at the ends, stay NaN."""
    found = values.copy()
    for line in np.flatnonzero(np.isnan(values).any(0)):
        known = np.flatnonzero(~np.isnan(values[:, line]))
        holes = np.flatnonzero((np.diff(known) > 1) & (np.diff(known) <= gap + 1))
        for hole in holes:
            left, right = known[hole], known[hole + 1]
            found[left : right + 1, line] = np.linspace(values[left, line], values[right, line], right - left + 1)
    return found


def usable_lines(tracks: Sequence[Float[np.ndarray, "_ g"]]) -> Bool[np.ndarray, " g"]:
    """Lines of one speaker that vary and have a value in at least 80 % of the frames that have any; the others are masked.

    Raises DataError where no frame has a value.
    """
    frames = np.concatenate(list(tracks))
    frames = frames[np.isfinite(frames).any(1)]
    if not len(frames):
        raise DataError("no frame has a distance; leave the speaker out, or measure him anew")
    seen = np.isfinite(frames)
    varies = np.where(seen, frames, -np.inf).max(0) > np.where(seen, frames, np.inf).min(0)
    return (seen.mean(0) >= 1 - MOST_MISSING) & varies


def normalised(tracks: Sequence[Float[np.ndarray, "_ g"]]) -> list[Float[np.ndarray, "_ g"]]:
    """z-score each line over all tracks of one speaker; masked lines are NaN throughout. Raises DataError where all would be."""
    usable = usable_lines(tracks)
    if not usable.any():
        raise DataError(
            f"none of {len(usable)} lines varies and has a value in {1 - MOST_MISSING:.0%} of the frames; leave the speaker out, or "
            "measure him anew"
        )
    frames = np.concatenate(list(tracks))[:, usable]
    mean, spread = np.nanmean(frames, 0), np.nanstd(frames, 0)
    found = []
    for track in tracks:
        scaled = np.full(track.shape, np.nan)
        scaled[:, usable] = (track[:, usable] - mean) / spread
        found.append(scaled)
    return found


def _smoothed(points: Contour, width: int) -> Contour:
    """Average over an odd width of points, the curve being continued beyond its ends by reflection in them."""
    half = width // 2
    longer = _reflected(points, half)
    return np.stack([np.convolve(longer[:, axis], np.ones(width) / width, mode="valid") for axis in (0, 1)], 1)


def _reflected(points: Contour, count: int) -> Contour:
    before, after = 2 * points[0] - points[count:0:-1], 2 * points[-1] - points[-2 : -count - 2 : -1]
    return np.concatenate([before, points, after])
