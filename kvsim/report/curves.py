"""A record's slices as curves: all replicas on common slices of time, and no more points than a plot can show."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvsim.report.record import PEAKS, Record

POINTS = 512  # of one curve: what its width in pixels can show


class Curves:
    """One figure of all replicas over time [replicas, points]: means of sums, or peaks, on common slices of time.

    `times` are in `unit`; `whose` completes a label.
    """

    def __init__(self, record: Record, field: str) -> None:
        tracks = [track for _, track in sorted(record.tracks.items())]
        widest_s, peaks = max(track.slice_s for track in tracks), field in PEAKS
        count = max(-(-len(track.home) // round(widest_s / track.slice_s)) for track in tracks)
        group = -(-count // POINTS)
        points = -(-count // group)
        self.values: NDArray[np.float64] = np.zeros((len(tracks), points))
        for row, track in zip(self.values, tracks, strict=True):
            each = round(widest_s / track.slice_s) * group
            row[:] = _grouped(getattr(track, field), points, each, peaks) / (1 if peaks else each * track.slice_s)
        length_s = points * group * widest_s
        factor, self.unit = (1.0, "s") if length_s < 600 else (60.0, "min") if length_s < 4 * 3600 else (3600.0, "h")
        self.times: NDArray[np.float64] = group * widest_s / factor * np.arange(points, dtype=np.float64)
        self.whose = "" if len(tracks) == 1 else f"\nmean and range of {len(tracks)} replicas"


def _grouped(values: Sequence[float], points: int, each: int, peaks: bool) -> NDArray[np.float64]:
    padded = np.zeros(points * each)
    padded[: len(values)] = values
    parts = padded.reshape(points, each)
    found: NDArray[np.float64] = parts.max(axis=1) if peaks else parts.sum(axis=1)
    return found
