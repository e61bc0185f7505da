"""Two clocks of one recording: frames of the vocal tract at one rate, put on the frames of a codec at another. Nothing is stretched."""

import numpy as np
from jaxtyping import Float

MRI_RATE = 1000 / 12.008  # Hz: 2 x 6.004 ms a frame, 83.278 of them a second
BRIDGE = 4  # frames of the tract between which a hop without any is filled in


def frame_times(count: int, rate: float, first: int = 0, offset: float = 0.0) -> Float[np.ndarray, " n"]:
    """Centres of frames `first`, `first` + 1, .. in seconds: frame f is at (f + 0.5) / rate + offset."""
    return (first + np.arange(count) + 0.5) / rate + offset


def on_codec_frames(
    values: Float[np.ndarray, "m g"], times: Float[np.ndarray, " m"], frame_rate: float, frames: int, lag: float = 0.0
) -> Float[np.ndarray, "frames g"]:
    """Mean of the values whose time lies in the hop [k, k + 1) / frame_rate + lag of each codec frame k, `times` rising in equal steps.

    Values that are NaN are left out. Where a hop holds none (codecs faster than the tract), the two around its middle are interpolated if
    they are at most BRIDGE frames apart, else it is NaN. So a ramp lands at (k + 0.5) / frame_rate within half a frame of the tract.
    """
    edges = np.arange(frames + 1) / frame_rate + lag
    place = np.searchsorted(times, edges - 1e-9)  # a centre on an edge belongs to the later hop, whatever its last bit
    known = np.isfinite(values)
    sums, counts = (np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(part, 0)]) for part in (np.where(known, values, 0.0), known))
    count = counts[place[1:]] - counts[place[:-1]]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (sums[place[1:]] - sums[place[:-1]]) / count
    step = times[1] - times[0] if len(times) > 1 else 0.0
    centres = edges[:-1] + 0.5 / frame_rate
    for line in np.flatnonzero((count == 0).any(0)):
        own = np.flatnonzero(known[:, line])
        if len(own) < 2:
            continue
        empty = np.flatnonzero(count[:, line] == 0)
        after = np.searchsorted(times[own], centres[empty])
        inside = (after > 0) & (after < len(own))
        empty, after = empty[inside], after[inside]
        left, right = own[after - 1], own[after]
        near = times[right] - times[left] <= (BRIDGE + 0.5) * step
        found[empty[near], line] = np.interp(centres[empty[near]], times[own], values[own, line])
    return found
