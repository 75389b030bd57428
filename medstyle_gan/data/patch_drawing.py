"""Which 3-D patches a sample is made of: where they lie in the body, and the place to match."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medstyle_gan.config.data_section import SamplerConfig
from medstyle_gan.data.body import block_edges
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.drawing import draw_volume
from medstyle_gan.data.matching import PositionMatch

Start = tuple[int, ...]
"""A patch's first voxel along R, A, S; negative where it begins outside the volume."""

# Parts of the body, along each axis, that patches' starts are told apart by.
_CELLS = 8


def patch_region(bounds: tuple[int, int], size: int) -> tuple[int, int]:
    """Where patches may lie along an axis: in the body's box, or around it if they are larger.

    Not in the volume: how much air there is around a body differs between collections, and a
    generator would learn that difference.

    Args:
        bounds: first and last voxel of the body.
        size: of a patch (voxels).

    Returns:
        The first voxel and the one after the last, at least `size` apart; they may lie outside
        the volume.
    """
    first, last = bounds
    if last + 1 - first >= size:
        return first, last + 1
    begin = (first + last + 1 - size) // 2
    return begin, begin + size


def draw_patch(
    volume: CachedVolume, size: Sequence[int], config: SamplerConfig, rng: np.random.Generator
) -> Start:
    """A patch: anywhere with probability 1 - `foreground`, else in proportion to its body.

    Args:
        volume: where from.
        size: of the patch along R, A, S (voxels).
        config: its `foreground` is used.
        rng: six numbers are drawn, whatever comes of them.
    """
    even = rng.random() >= config.foreground
    which, within = rng.random(), rng.random(3)
    spans = [_starts(bounds, n) for bounds, n in zip(volume.box, size, strict=True)]
    if not even:
        spans = _cell(volume, size, spans, which)
    return tuple(
        math.floor(low + share * (beyond - low))
        for share, (low, beyond) in zip(within, spans, strict=True)
    )


def draw_patch_pair(
    scan: CachedCollection,
    style: CachedCollection,
    size: Sequence[int],
    config: SamplerConfig,
    rng: np.random.Generator,
    match: PositionMatch,
) -> tuple[tuple[CachedVolume, Start], tuple[CachedVolume, Start]]:
    """A scan patch and a style patch to match, see `draw_style_patch`."""
    scan_volume = draw_volume(scan, config, rng)
    scan_start = draw_patch(scan_volume, size, config, rng)
    drawn = draw_style_patch((scan_volume, scan_start), style, size, config, rng, match)
    return (scan_volume, scan_start), drawn


def draw_style_patch(
    scan: tuple[CachedVolume, Start],
    style: CachedCollection,
    size: Sequence[int],
    config: SamplerConfig,
    rng: np.random.Generator,
    match: PositionMatch,
) -> tuple[CachedVolume, Start]:
    """A style patch for a scan's, from a volume drawn independently of it.

    With `match: position` the style patch's centre is at the scan patch's height of the body, and
    along R and A at its relative place in the box around it, as far as patches may lie there.
    """
    scan_volume, scan_start = scan
    volume = draw_volume(style, config, rng)
    if config.match == "none":
        return volume, draw_patch(volume, size, config, rng)
    # Within the voxel, not at its middle: a larger body would have places left out.
    centre = np.add(scan_start, np.subtract(size, 1) / 2) + rng.uniform(-0.5, 0.5, 3)
    place = _relative(scan_volume, centre)
    height = match.position(scan_volume, volume, float(centre[2]))
    place[2] = _relative(volume, np.array([0, 0, height]))[2]
    return volume, start_at(volume, size, place)


def start_at(volume: CachedVolume, size: Sequence[int], place: Sequence[float]) -> Start:
    """The patch whose centre is nearest to a relative place in the body's box.

    Args:
        volume: where from.
        size: of the patch along R, A, S (voxels).
        place: along R, A, S; 0 at the body's first voxel, 1 at its last.
    """
    starts = []
    for (first, last), length, share in zip(volume.box, size, place, strict=True):
        low, beyond = _starts((first, last), length)
        start = math.floor(first + share * (last - first) - (length - 1) / 2 + 0.5)
        starts.append(min(max(start, low), beyond - 1))
    return tuple(starts)


def _starts(bounds: tuple[int, int], size: int) -> tuple[int, int]:
    """The first place where a patch may begin along an axis, and the one after the last."""
    begin, end = patch_region(bounds, size)
    return begin, end - size + 1


def _relative(volume: CachedVolume, centre: np.ndarray) -> list[float]:
    return [
        0.5 if first == last else (c - first) / (last - first)
        for c, (first, last) in zip(centre, volume.box, strict=True)
    ]


def _cell(
    volume: CachedVolume, size: Sequence[int], spans: list[tuple[int, int]], which: float
) -> list[tuple[int, int]]:
    """One of up to 8 x 8 x 8 cells of starts, drawn in proportion to the body in its patches."""
    weight = volume.occupancy
    cells = []
    for axis, ((low, beyond), length) in enumerate(zip(spans, size, strict=True)):
        edges = block_edges((low, beyond - 1), min(_CELLS, beyond - low))
        cells.append(edges)
        starts = (edges[:-1] + edges[1:] - 1) / 2
        blocks = block_edges(volume.box[axis], volume.occupancy.shape[axis])
        begin = np.maximum(starts[:, None], blocks[:-1])
        end = np.minimum(starts[:, None] + length, blocks[1:])
        # Voxels of each block in a cell's middle patch, for as many patches as the cell has.
        covered = np.maximum(end - begin, 0) * np.diff(edges)[:, None]
        weight = np.moveaxis(np.tensordot(covered, weight, axes=(1, axis)), 0, axis)
    total = np.cumsum(weight, dtype=np.float64)
    drawn = int(np.searchsorted(total, which * total[-1], side="right"))
    index = np.unravel_index(min(drawn, weight.size - 1), weight.shape)
    return [(int(edges[i]), int(edges[i + 1])) for i, edges in zip(index, cells, strict=True)]
