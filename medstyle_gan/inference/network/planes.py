"""A volume through a network of slices: along one plane, or along three whose answers are fused."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from nibabel.affines import voxel_sizes

from medstyle_gan.config.data_section import Plane
from medstyle_gan.data.body import body_box
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.resampling import Grid, resample, working_grid
from medstyle_gan.data.slices import stacked_axis, to_slices
from medstyle_gan.inference.network.network import Network, OnProgress, part_of
from medstyle_gan.inference.network.stacks import translate_stack
from medstyle_gan.volumes.workspace import release, slabs, slow_axis

# Around the body (pixels): more than the generators' first layers look at.
_MARGIN = 16
_PLANES: tuple[Plane, ...] = get_args(Plane)


def translate_along(
    plane: Plane, network: Network, prepared: Prepared, on_progress: OnProgress | None = None
) -> np.ndarray:
    """Translate all slices of a plane that hold some of the body, and one more on each side.

    Of slices larger than a training sample the part around the body is used, as in training: an
    instance norm that sees more air than it did there gives the body another contrast, and air
    takes as long as tissue.

    Args:
        plane: which slices.
        network: a network of slices.
        prepared: the volume.
        on_progress: called with the share that is done, in [0, 1].

    Returns:
        `(C', X, Y, Z)` float32 in [-1, 1]; 0 away from the body.
    """
    unit = prepared.zeros(network.out_channels)
    box = list(body_box(prepared.foreground))
    first, last = box.pop(stacked_axis(plane))
    # Interpolation between grids looks beyond the body by one voxel.
    wanted = slice(max(first - 1, 0), last + 2)
    slices, translated = to_slices(prepared.array, plane), to_slices(unit, plane)
    rows, columns = (
        _part(bounds, size, length)
        for bounds, size, length in zip(
            box, network.data.sample_size, slices.shape[2:], strict=True
        )
    )
    part = slices[..., rows, columns]
    axes = [axis for axis in range(3) if axis != stacked_axis(plane)]
    translate_stack(
        network,
        part,
        prepared.unit_background,
        wanted,
        on_progress,
        out=translated[wanted, :, rows, columns],
        offsets=network.way.offsets(axes, part.shape[2:]),
    )
    return unit


def _part(bounds: tuple[int, int], size: int, length: int) -> slice:
    """The part of an axis that holds the body with a margin, and at least a sample's size."""
    first, last = bounds
    wanted = min(max(size, last + 1 - first + 2 * _MARGIN), length)
    begin = min(max((first + last + 1 - wanted) // 2, 0), length - wanted)
    return slice(begin, begin + wanted)


def translate_three_planes(
    network: Network, prepared: Prepared, on_progress: OnProgress | None = None
) -> np.ndarray:
    """Translate a volume along all three planes and fuse, voxel by voxel.

    Each plane's slices see what the others cannot: how their own neighbours go on. The network
    knows pixels of its training's size only, so that slices of the other planes are made with
    that size, where voxels are longer across the training's plane, and brought back.

    Args:
        network: a network of slices.
        prepared: the volume.
        on_progress: called with the share that is done, in [0, 1].

    Returns:
        `(C', X, Y, Z)` float32 in [-1, 1]: mean or median, as `inference.fusion` says.
    """
    own, slowest = network.data.plane, slow_axis(prepared.array[0])
    units = []
    for index, (plane, grid) in enumerate(grids_seen(network, prepared.grid).items()):
        part = part_of(on_progress, index, len(_PLANES))
        if plane == own:
            units.append(translate_along(plane, network, prepared, part))
            continue
        moved = _on_grid(prepared, grid, plane)
        unit = translate_along(plane, network, moved, part)
        units.append(resample(unit, grid, prepared.grid, prepared.workspace, slowest))
        del unit, moved  # before the next are made
    return _fused(units, network.inference.fusion)


def grids_seen(network: Network, grid: Grid) -> dict[Plane, Grid]:
    """The grids on which a network of slices sees a volume, by the planes of these slices.

    Args:
        network: a network of slices.
        grid: the working grid.
    """
    own = network.data.plane
    if network.inference.planes != 3:
        return {own: grid}
    cubic = _cubic_grid(grid, own)
    return {plane: grid if plane == own else cubic for plane in _PLANES}


def _cubic_grid(grid: Grid, plane: Plane) -> Grid:
    """The grid with voxels of the same size along all axes, that of a plane's pixels."""
    across = stacked_axis(plane)
    spacing = voxel_sizes(grid.affine)
    side = float(np.mean([s for axis, s in enumerate(spacing) if axis != across]))
    cubic = working_grid(grid, (side, side, side))
    return grid if cubic.same_as(grid) else cubic


def _on_grid(prepared: Prepared, grid: Grid, plane: Plane) -> Prepared:
    """The volume on another grid, each slice of a plane in one piece.

    In one piece also where the grid is the volume's own: a slice across those of a file has some
    of every page of it.
    """
    space, slowest = prepared.workspace, stacked_axis(plane)
    share = resample(prepared.foreground[None], prepared.grid, grid, space, slowest)[0]
    foreground = space.empty(grid.shape, bool, slowest)
    for slab in slabs(grid.shape, slowest):
        foreground[slab] = share[slab] > 0
        release(foreground, share)
    del share  # before the next is made
    return replace(
        prepared,
        array=resample(prepared.array, prepared.grid, grid, space, slowest),
        affine=grid.affine,
        foreground=foreground,
    )


def _fused(units: list[np.ndarray], fusion: Literal["mean", "median"]) -> np.ndarray:
    """The units' mean or median, in the memory of the first."""
    fused = units[0]
    for slab in slabs(fused.shape, slow_axis(fused)):
        first, second, third = (unit[slab] for unit in units)
        if fusion == "mean":
            fused[slab] = (first + second + third) * np.float32(1 / 3)
        else:
            low, high = np.minimum(first, second), np.maximum(first, second)
            fused[slab] = np.maximum(low, np.minimum(high, third))
        release(*units)
    return fused
