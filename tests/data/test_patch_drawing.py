from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare, spearmanr

from medstyle_gan.config.data_section import SamplerConfig
from medstyle_gan.data.body import body_box, body_occupancy
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume, VolumeFacts
from medstyle_gan.data.collection import Item
from medstyle_gan.data.drawing import keyed_bits
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.matching import PositionMatch
from medstyle_gan.data.patch_drawing import draw_patch, draw_patch_pair, patch_region, start_at

SIZE = (8, 8, 8)
MATCH = PositionMatch(axis=2)


def _volume(mask: np.ndarray, subject: str = "a") -> CachedVolume:
    box = body_box(mask)
    x, y, z = mask.shape
    return CachedVolume(
        item=Item(Path(f"{subject}.nii"), subject),
        path=Path("none.npy"),
        shape=(z, 1, x, y),
        channels=1,
        foreground_share=mask.mean(axis=(0, 1), dtype=np.float32),
        body=box[2],
        center=(x / 2, y / 2),
        box=box,
        occupancy=body_occupancy(mask, box),
        scale=FittedScale(0.0, 1.0, True),
        spacing=(1.0, 1.0, 1.0),
        integer=True,
        background=0.0,
        is_picture=False,
        facts=VolumeFacts(mask.shape, (1.0, 1.0, 1.0), "RAS", "int16", (0.0,) * 7),
    )


def _body(
    shape: tuple[int, int, int], before: tuple[int, int, int] = (0, 0, 0), after: int = 0
) -> np.ndarray:
    """An ellipsoid that fills `shape`, with air before and after it."""
    grids = np.meshgrid(*[np.linspace(-0.95, 0.95, n) for n in shape], indexing="ij")
    body = sum(g**2 for g in grids) <= 1
    return np.pad(body, [(b, after) for b in before])


def _rng(index: int) -> np.random.Generator:
    return np.random.Generator(keyed_bits(5, index))


def _collection(domain: Any, *masks: np.ndarray) -> CachedCollection:
    return CachedCollection([_volume(m, f"s{i}") for i, m in enumerate(masks)], domain)


@pytest.mark.parametrize(
    ("bounds", "size", "region"),
    [
        ((3, 20), 8, (3, 21)),
        ((3, 10), 8, (3, 11)),
        ((3, 9), 8, (2, 10)),
        ((0, 0), 4, (-2, 2)),
        ((5, 6), 20, (-4, 16)),
    ],
)
def test_patches_lie_in_the_body_or_around_its_middle(
    bounds: tuple[int, int], size: int, region: tuple[int, int]
) -> None:
    begin, end = patch_region(bounds, size)
    assert (begin, end) == region
    assert abs((begin + end - 1) / 2 - sum(bounds) / 2) <= 0.5


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_every_place_in_the_body_is_drawn_and_none_outside(foreground: float) -> None:
    volume = _volume(_body((16, 12, 8), before=(4, 2, 3), after=5))
    config = SamplerConfig(foreground=foreground)
    starts = np.array([draw_patch(volume, SIZE, config, _rng(i)) for i in range(600)])
    assert set(starts[:, 0]) == set(range(4, 13))
    assert set(starts[:, 1]) == set(range(2, 7))
    assert set(starts[:, 2]) == {3}


def test_a_body_smaller_than_a_patch_is_in_its_middle() -> None:
    volume = _volume(_body((5, 6, 3), before=(0, 1, 0)))
    assert draw_patch(volume, SIZE, SamplerConfig(), _rng(0)) == (-2, 0, -3)


def test_body_weighs_as_much_as_is_in_the_patch() -> None:
    """The mean share of body in drawn patches is Σ share² / Σ share, or the plain mean."""
    mask = np.zeros((32, 32, 16), dtype=bool)
    mask[:16, :16, :], mask[0, -1, 0], mask[-1] = True, True, True  # a corner and a far wall
    mask[:, 24:] = mask[:, 24:] & (np.arange(32) > 28)[:, None, None]
    volume = _volume(mask)
    sums = np.pad(mask.cumsum(0).cumsum(1).cumsum(2), ((1, 0),) * 3)
    corners = [(s, n) for s, n in zip(mask.shape, SIZE, strict=True)]
    grid = np.indices([s - n + 1 for s, n in corners]).reshape(3, -1)
    share = np.zeros(grid.shape[1])
    for corner in np.ndindex(2, 2, 2):
        at = tuple(g + c * n for g, c, n in zip(grid, corner, SIZE, strict=True))
        share += (-1) ** (3 - sum(corner)) * sums[at]
    share /= np.prod(SIZE)

    def drawn(foreground: float) -> np.ndarray:
        config = SamplerConfig(foreground=foreground)
        starts = [draw_patch(volume, SIZE, config, _rng(i)) for i in range(1500)]
        return np.array([mask[tuple(slice(s, s + 8) for s in start)].mean() for start in starts])

    even, weighted = drawn(0.0), drawn(1.0)
    expected = (share**2).sum() / share.sum()
    assert expected > 1.5 * share.mean()
    assert even.mean() == pytest.approx(share.mean(), abs=4 * share.std() / 1500**0.5)
    assert weighted.mean() == pytest.approx(expected, rel=0.05)


def test_air_around_a_body_changes_nothing() -> None:
    body = (20, 16, 12)
    near, far = _volume(_body(body)), _volume(_body(body, before=(9, 4, 30), after=11))
    for index in range(50):
        one, other = (draw_patch(v, SIZE, SamplerConfig(), _rng(index)) for v in (near, far))
        assert tuple(b - a for a, b in zip(one, other, strict=True)) == (9, 4, 30)


@pytest.mark.parametrize("size", [SIZE, (8, 40, 8)])
def test_matched_patches_lie_at_the_same_relative_place(size: tuple[int, int, int]) -> None:
    scans = _collection("scan", _body((30, 24, 20), before=(3, 0, 5), after=1))
    style = _collection("style", _body((40, 32, 26), before=(0, 7, 1), after=2))
    for index in range(200):
        (scan, start), (other, match) = draw_patch_pair(
            scans, style, size, SamplerConfig(), _rng(index), MATCH
        )
        for axis in range(3):
            (first, last), (low, high) = scan.box[axis], other.box[axis]
            place = (start[axis] + (size[axis] - 1) / 2 - first) / (last - first)
            found = (match[axis] + (size[axis] - 1) / 2 - low) / (high - low)
            # A voxel's half of jitter, and half of rounding; or as near as patches may lie.
            step = 0.5 / (last - first) + 0.5 / (high - low) + 1e-9
            bounds = patch_region((low, high), size[axis])
            limits = [(b - low) / (high - low) for b in bounds]
            half = size[axis] / 2 / (high - low)
            nearest = min(max(place, limits[0] + half), max(limits[0] + half, limits[1] - half))
            assert abs(found - nearest) <= step + 0.5 / (high - low)
            assert bounds[0] <= match[axis] <= bounds[1] - size[axis]


def test_matching_leaves_no_place_of_a_larger_body_out() -> None:
    scans, style = (
        _collection(domain, _body((size,) * 3, before=(0, 0, 1), after=1))
        for domain, size in (("scan", 20), ("style", 36))
    )
    drawn = {
        draw_patch_pair(scans, style, SIZE, SamplerConfig(foreground=0), _rng(i), MATCH)[1][1][0]
        for i in range(1500)
    }
    # Scan patches' centres stay 3.5 voxels inside 20: of 36 the ends are out of their reach.
    reached = set(range(min(drawn), max(drawn) + 1))
    assert drawn == reached
    assert min(drawn) <= 4
    assert max(drawn) >= 24


def test_without_matching_places_are_independent_and_volumes_always() -> None:
    scans = _collection("scan", _body((30,) * 3), _body((30,) * 3))
    style = _collection("style", _body((30,) * 3), _body((30,) * 3))

    def pairs(match: str) -> list[Any]:
        config = SamplerConfig(match=match)
        return [draw_patch_pair(scans, style, SIZE, config, _rng(i), MATCH) for i in range(800)]

    for match in ("none", "position"):
        drawn = pairs(match)
        table = np.zeros((2, 2))
        for (scan, _), (other, _) in drawn:
            table[int(scan.item.subject[1]), int(other.item.subject[1])] += 1
        assert chi2_contingency(table).pvalue > 1e-3
        heights = np.array([(start[2], match_start[2]) for (_, start), (_, match_start) in drawn])
        correlation = spearmanr(*heights.T).statistic
        assert correlation > 0.95 if match == "position" else abs(correlation) < 0.12


def test_start_at_is_kept_where_patches_may_lie() -> None:
    volume = _volume(_body((20, 20, 20), before=(2, 2, 2)))
    assert start_at(volume, SIZE, (0.0, 0.5, 1.0)) == (2, 8, 14)


def test_where_all_is_body_every_start_is_as_frequent() -> None:
    volume = _volume(np.ones((19, 8, 8), dtype=bool))  # twelve starts in eight cells
    config = SamplerConfig(foreground=1.0)
    starts = [draw_patch(volume, SIZE, config, _rng(i))[0] for i in range(1200)]
    assert chisquare(np.bincount(starts, minlength=12)).pvalue > 1e-3
