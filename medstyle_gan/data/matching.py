"""Where one volume shows what another shows at a place, from how wide the body is at each slice.

Fields of view differ: the same share of two volumes' heights, or the same distance from their ends,
is not the same anatomy where an end is cut off. The areas of the body's sections, known from the
masks since caching, tell how far one volume is shifted against the other (mm).

Measured on openms, 14 pairs of T1 and T2 of different subjects, against their deformable
registrations (as a warm start makes them): slices lay 3.7 mm from their counterparts on average.
At the same relative height it was 5.0 mm, at the same distance from the upper end 5.9, from the
middle 5.1, from the lower end 9.0. For 19 pairs of T1 and FLAIR, whose registrations share less
information, 5.8 mm; 6.9, 6.9, 6.6 and 8.8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.data.cached_volume import CachedVolume

# A body ends where its outermost slices have this share of the fullest one's area, or less; with
# more it was cut off there.
_TAPERED = 0.3
# Of the shorter volume's height: what both must show for a shift to be thought of.
_LEAST_OVERLAP = 0.5
# Of that height: no finer shift is looked for.
_FINEST = 1 / 400
# How much less their middles' distance says than the areas: enough to decide where all sections
# are alike, as in a thigh.
_MIDDLES = 0.02


class PositionMatch:
    """Finds the slice of a style volume that shows the height of a scan's.

    Where both bodies are seen from end to end, in proportion: a child's head and an adult's. Else
    in mm, at the shift where the areas of both bodies' sections agree best.

    Args:
        axis: that slices are stacked along, of R, A, S.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._shifts: dict[tuple[CachedVolume, CachedVolume], float] = {}

    def position(self, scan: CachedVolume, style: CachedVolume, position: float) -> float:
        """The (fractional) slice of a style volume at the height of a scan's slice.

        Args:
            scan: where the slice is.
            style: where it is looked for.
            position: the scan's (fractional) slice.

        Returns:
            A place that may lie outside the style volume.
        """
        if _whole(scan) and _whole(style):
            return style.position_of(scan.height_of(position))
        key = (scan, style)
        if key not in self._shifts:
            self._shifts[key] = _shift(
                _areas(scan), _areas(style), self._thickness(scan), self._thickness(style)
            )
        at = position * self._thickness(scan) + self._shifts[key]
        return at / self._thickness(style)

    def _thickness(self, volume: CachedVolume) -> float:
        return volume.spacing[self._axis]


def _whole(volume: CachedVolume) -> bool:
    """Whether the body ends inside the volume, on both sides."""
    first, last = volume.body
    areas = _areas(volume)
    inside = first > 0 and last < len(volume) - 1
    return inside and max(areas[first], areas[last]) <= _TAPERED


def _areas(volume: CachedVolume) -> NDArray[np.float64]:
    """Area of the body in each slice, relative to the fullest one's."""
    share = volume.foreground_share.astype(np.float64)
    return share / max(float(share.max()), 1e-12)


def _shift(
    scan: NDArray[np.float64], style: NDArray[np.float64], thickness: float, other: float
) -> float:
    """How far (mm) behind the scan's first slice a place's counterpart is behind the style's.

    Args:
        scan: areas of its sections.
        style: likewise.
        thickness: of the scan's slices (mm).
        other: of the style's.
    """
    own, ends = np.arange(len(scan)) * thickness, (len(style) - 1) * other
    shorter = min(own[-1], ends)
    step = max(min(thickness, other) / 4, _FINEST * shorter)
    shifts = np.arange(-own[-1], ends + step / 2, step)
    places = own + shifts[:, None]
    seen = (places >= 0) & (places <= ends)
    areas = np.interp(places, np.arange(len(style)) * other, style)
    errors = (np.square(scan - areas) * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    middles = shifts - (ends - own[-1]) / 2
    errors += _MIDDLES * np.square(middles / max(shorter, thickness))
    enough = seen.sum(axis=1) * thickness >= _LEAST_OVERLAP * shorter
    return float(shifts[np.where(enough, errors, np.inf).argmin()])
