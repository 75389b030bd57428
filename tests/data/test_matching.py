"""Places of one volume found in another, against bodies whose places are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medstyle_gan.config.data_section import SamplerConfig
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume, VolumeFacts
from medstyle_gan.data.collection import Item
from medstyle_gan.data.drawing import draw_pair, keyed_bits
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.matching import PositionMatch


def skull(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ball between 70 and 230 mm."""
    return np.clip(1 - ((heights - 150) / 80) ** 2, 0, None)


def head_areas(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """A neck from the shoulders (0 mm) up, and a skull that closes at the vertex (230 mm)."""
    return np.maximum(skull(heights), 0.42 * (heights < 110) * (heights > 0))


def seen(
    low: float,
    high: float,
    thickness: float,
    size: float = 1.0,
    axis: int = 2,
    areas: Callable[[NDArray[np.float64]], NDArray[np.float64]] = head_areas,
) -> CachedVolume:
    """A volume of slices between two heights of a head (mm) of a relative size."""
    places = np.arange(low, high, thickness)
    share = 0.4 * areas(places / size)
    inside = np.flatnonzero(share >= 0.05 * share.max())
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = thickness
    return CachedVolume(
        item=Item(Path(f"{low}-{high}.nii"), f"{low}"),
        path=Path("none.npy"),
        shape=(len(share), 1, 8, 8),
        channels=1,
        foreground_share=share.astype(np.float32),
        body=(int(inside[0]), int(inside[-1])),
        center=(3.5, 3.5),
        box=((0, 7), (0, 7), (int(inside[0]), int(inside[-1]))),
        occupancy=np.ones((1, 1, 1), dtype=np.float32),
        scale=FittedScale(0.0, 1.0, True),
        spacing=(spacing[0], spacing[1], spacing[2]),
        integer=True,
        background=0.0,
        is_picture=False,
        facts=VolumeFacts((8, 8, len(share)), (1.0, 1.0, 1.0), "RAS", "int16", (0.0,) * 7),
    )


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize(
    ("scan", "style"),
    [
        ((60, 215, 3.0), (60, 215, 3.0)),  # both cut at both ends
        ((40, 190, 3.0), (80, 222, 4.0)),
        ((90, 240, 5.0), (-20, 210, 1.0)),  # one ends at the vertex, one begins at the shoulders
        ((70, 225, 0.9), (30, 180, 6.0)),
    ],
)
def test_a_place_is_found_where_the_body_is_as_wide(
    scan: tuple[float, float, float], style: tuple[float, float, float], axis: int
) -> None:
    a, b = seen(*scan, axis=axis), seen(*style, axis=axis)
    match = PositionMatch(axis)
    for index in range(0, len(a), 3):
        found = style[0] + match.position(a, b, index) * style[2]
        assert found == pytest.approx(scan[0] + index * scan[2], abs=max(scan[2], style[2]) / 4)
    # Relative heights are elsewhere by centimetres, which is what this is for.
    if scan != style:
        relative = style[0] + b.position_of(a.height_of(len(a) // 2)) * style[2]
        assert abs(relative - scan[0] - len(a) // 2 * scan[2]) > 10


def test_bodies_seen_from_end_to_end_are_matched_in_proportion() -> None:
    """Skulls alone: a child's is 0.8 of an adult's."""
    adult, child = seen(60, 240, 2.0, areas=skull), seen(48, 190, 1.5, size=0.8, areas=skull)
    match = PositionMatch(2)
    for index in (10, 40, 80):
        found = 48 + 1.5 * match.position(adult, child, index)
        assert found == pytest.approx(0.8 * (60 + 2 * index), abs=1.5)


def test_where_all_sections_are_alike_middles_lie_on_middles() -> None:
    thigh, other = seen(10, 82, 3.0), seen(10, 60, 2.0)
    found = PositionMatch(2).position(thigh, other, (len(thigh) - 1) / 2)
    assert found == pytest.approx((len(other) - 1) / 2, abs=0.5)


def _pair(scan: CachedVolume, style: CachedVolume) -> tuple[CachedCollection, CachedCollection]:
    return CachedCollection([scan], "scan"), CachedCollection([style], "style")


def test_slices_that_the_style_volume_has_not_are_matched_with_any_of_it() -> None:
    """Not with its last one alone."""
    scan, style = seen(20, 200, 3.0), seen(100, 225, 3.0)
    below: list[int] = []
    match = PositionMatch(2)
    for number in range(1500):
        rng: Any = np.random.Generator(keyed_bits(1, number))
        (_, i), (_, j) = draw_pair(*_pair(scan, style), SamplerConfig(), rng, match)
        if 20 + 3 * i < 95:
            below.append(j)
        elif 20 + 3 * i > 105:
            assert abs(100 + 3 * j - 20 - 3 * i) <= 3 + 1.5
    assert len(below) > 200
    assert np.bincount(below, minlength=len(style)).max() < 0.1 * len(below)


def test_a_pair_is_matched_alike_whatever_was_drawn_before() -> None:
    """Resume and workers: the shift belongs to both volumes alone."""
    scan, style, another = seen(40, 190, 3.0), seen(80, 222, 4.0), seen(10, 150, 2.0)
    used = PositionMatch(2)
    used.position(another, style, 3)
    used.position(style, scan, 3)
    assert used.position(scan, style, 7) == PositionMatch(2).position(scan, style, 7)
