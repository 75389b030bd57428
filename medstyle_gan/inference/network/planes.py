"""A volume through a network of slices: along one plane, or along three whose answers are fused."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from medstyle_gan.config.data_section import Plane
from medstyle_gan.data.body import body_box
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.resampling import resample, working_grid
from medstyle_gan.data.slices import stacked_axis, to_slices
from medstyle_gan.inference.network.network import Network, OnProgress, part_of
from medstyle_gan.inference.network.stacks import translate_stack
from medstyle_gan.volumes.workspace import release, slabs, slow_axis

# Around the body (pixels): more than the generators' first layers look at.
_MARGIN = 16


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
    translate_stack(
        network,
        slices[..., rows, columns],
        prepared.unit_background,
        wanted,
        on_progress,
        out=translated[wanted, :, rows, columns],
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
    planes = get_args(Plane)
    cubes = _with_cubic_voxels(prepared, network.data.plane)
    units = []
    for index, plane in enumerate(planes):
        part = part_of(on_progress, index, len(planes))
        grid = prepared if plane == network.data.plane else cubes
        unit = translate_along(plane, network, grid, part)
        slowest = slow_axis(prepared.array[0])
        units.append(
            resample(unit, grid.grid, prepared.grid, prepared.workspace, slowest)
            if grid is not prepared
            else unit
        )
    return _fused(units, network.inference.fusion)


def _with_cubic_voxels(prepared: Prepared, plane: Plane) -> Prepared:
    """The volume with voxels of the same size along all axes, that of a plane's pixels."""
    across = stacked_axis(plane)
    side = float(np.mean([s for axis, s in enumerate(prepared.spacing) if axis != across]))
    grid = working_grid(prepared.grid, (side, side, side))
    if grid.same_as(prepared.grid):
        return prepared
    body = prepared.foreground[None].astype(np.float32)
    space, slowest = prepared.workspace, slow_axis(prepared.array[0])
    return replace(
        prepared,
        array=resample(prepared.array, prepared.grid, grid, space, slowest),
        affine=grid.affine,
        foreground=resample(body, prepared.grid, grid, space, slowest)[0] > 0,
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
