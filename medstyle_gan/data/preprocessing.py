"""From a volume or picture to what a network sees, and back; used by the cache and by inference.

Deterministic: orientation, spacing and intensity, in this order. Nothing is cropped, so that
whole slices can be translated and put back on the volume's own grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from nibabel.affines import voxel_sizes

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.foreground import array_range, foreground_mask
from medstyle_gan.data.intensity import FittedScale, fit_scale
from medstyle_gan.data.order_statistics import percentiles
from medstyle_gan.data.resampling import (
    Grid,
    from_ras,
    ras_grid,
    resample,
    to_ras,
    working_grid,
)
from medstyle_gan.data.slices import (
    display_image,
    from_slices,
    slice_aspect,
    stacked_axis,
    to_slices,
)
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, Picture, Volume
from medstyle_gan.volumes.workspace import Workspace, release, slabs, slow_axis

__all__ = [
    "Prepared",
    "display_image",
    "from_slices",
    "prepare_picture",
    "prepare_volume",
    "ras_array",
    "restore_array",
    "slice_aspect",
    "to_slices",
]


@dataclass(frozen=True)
class Prepared:
    """A volume as networks see it, and what it takes to come back.

    Attributes:
        array: (C, X, Y, Z) float32 in [-1, 1] (beyond it when the scale does not clip), axes
            pointing R, A, S, at the working spacing, not cropped.
        affine: (4, 4) float64, the array's voxel → mm.
        foreground: bool (X, Y, Z), the body.
        scale: the fitted map between native units and [-1, 1].
        integer: whether native values are integers.
        background: native median outside the foreground.
        workspace: where further arrays of the volume's size are made.
    """

    array: np.ndarray
    affine: np.ndarray
    foreground: np.ndarray
    scale: FittedScale
    integer: bool
    background: float
    workspace: Workspace = field(default_factory=Workspace)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Working voxel size along R, A, S (mm)."""
        x, y, z = (float(s) for s in voxel_sizes(self.affine))
        return x, y, z

    def zeros(self, channels: int) -> np.ndarray:
        """`(channels, X, Y, Z)` float32 zeros in the workspace, laid out as `array` is."""
        shape = (channels, *self.array.shape[1:])
        slowest = 1 + slow_axis(self.array[0])
        return self.workspace.full(shape, np.float32, 0.0, slowest)

    @property
    def unit_background(self) -> float:
        """The background in [-1, 1]."""
        return float(self.scale.to_unit(np.array([self.background], dtype=np.float32))[0])

    @property
    def grid(self) -> Grid:
        """The array's voxels in space."""
        x, y, z = self.array.shape[1:]
        return Grid((x, y, z), self.affine)


def prepare_volume(
    volume: Volume, config: DataConfig, domain: Domain, workspace: Workspace | None = None
) -> Prepared:
    """Reorient to RAS, resample to the working spacing, scale to [-1, 1].

    Everything is done slab by slab, in passes: nothing of the volume's size is in memory but
    what the workspace keeps there.

    Args:
        volume: (X, Y, Z) grey or (X, Y, Z, 3) colour, any orientation.
        config: its `spacing`, `plane` and the domain's intensity scale are used.
        domain: `scan` or `style`.
        workspace: where the arrays are made; in memory by default.

    Raises:
        UserError: the intensity scale cannot be fitted to this volume.
    """
    workspace = workspace or Workspace()
    affine = np.asarray(volume.geometry.affine, dtype=np.float64)
    own = ras_grid(volume.geometry.spatial_shape, affine)
    working = working_grid(own, config.spacing)
    # Slices are translated along this axis; each is to lie in one piece.
    slowest = stacked_axis(config.plane)
    array = resample(ras_array(volume), own, working, workspace, slowest)
    grey = array.mean(axis=0) if len(array) > 1 else array[0]
    foreground = foreground_mask(grey, workspace)
    background = _outside(array, foreground)
    try:
        scale = fit_scale(getattr(config.intensity, domain), array, foreground)
    except UserError as error:
        where = f"{volume.path}: " if volume.path else ""
        raise UserError(f"{where}{error}") from error
    for slab in slabs(array.shape, 1 + slowest):
        array[slab] = scale.to_unit(array[slab])
        release(array)
    return Prepared(
        array=array,
        affine=working.affine,
        foreground=foreground,
        scale=scale,
        integer=volume.integer,
        background=background,
        workspace=workspace,
    )


def ras_array(volume: Volume) -> np.ndarray:
    """(C, X, Y, Z) in native units and type, axes pointing R, A, S; a view."""
    turned = to_ras(np.asarray(volume.array), volume.geometry.affine)
    return np.moveaxis(turned, -1, 0) if turned.ndim == 4 else turned[None]


def _outside(array: np.ndarray, foreground: np.ndarray) -> float:
    """The median of the voxels outside the body, or the smallest where all is body."""

    def chunks() -> Iterator[np.ndarray]:
        for slab in slabs(array.shape, slow_axis(array)):
            yield array[slab][..., ~foreground[slab[-3:]]]
            release(array, foreground)

    try:
        (median,) = percentiles(chunks, [50.0])
    except ValueError:
        return array_range(array)[0]
    return median


def prepare_picture(picture: Picture, config: DataConfig) -> Prepared:
    """Stand a picture up as one axial slice that covers the sample, scaled to [-1, 1].

    The picture keeps its proportions: the shorter side, relative to the sample, is resized
    to fit it, antialiased. Its scale is fixed by its bit depth, and all of it is foreground.

    Args:
        picture: (H, W, 1|3), row 0 at the top.
        config: its `sample_size` is used.
    """
    upright = np.transpose(picture.array[::-1], (2, 1, 0)).astype(np.float32)  # (C, X, Y)
    ratio = max(
        want / have for want, have in zip(config.sample_size, upright.shape[1:], strict=True)
    )
    size = [
        max(want, round(have * ratio))
        for want, have in zip(config.sample_size, upright.shape[1:], strict=True)
    ]
    # Not MONAI's Resize: its antialiasing pads with zeros, which darkens the picture's edges.
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(upright))[None],
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0].numpy()
    half = float(picture.maximum) / 2
    scale = FittedScale(center=half, half_range=half, clip=True)
    array = scale.to_unit(resized)[..., None]
    return Prepared(
        array=array,
        affine=np.eye(4),
        foreground=np.ones(array.shape[1:], dtype=bool),
        scale=scale,
        integer=True,
        background=0.0,
    )


def restore_array(array: np.ndarray, prepared: Prepared, geometry: Geometry) -> np.ndarray:
    """Put an array that lies on a prepared volume's grid back on the volume's own grid.

    Exact where only axes were permuted or flipped; linear interpolation where the spacing
    changed. Values are not touched: apply `scale.from_unit` before or after.

    Args:
        array: (C, X, Y, Z) float32 on the grid of `prepared`, any units.
        prepared: what `prepare_volume` gave for the volume.
        geometry: the volume's own.

    Returns:
        (X0, Y0, Z0) float32 for one channel, (X0, Y0, Z0, C) otherwise, in the order and
        size of the first three axes of `geometry.shape`; a view of `array` where the spacing
        did not change.
    """
    if array.shape[1:] != prepared.array.shape[1:]:
        raise ValueError(
            f"array of shape {array.shape} is not on the prepared grid {prepared.array.shape[1:]}"
        )
    affine = np.asarray(geometry.affine, dtype=np.float64)
    own = ras_grid(geometry.spatial_shape, affine)
    moved = np.asarray(array, dtype=np.float32)
    if not prepared.grid.same_as(own):
        moved = resample(moved, prepared.grid, own, prepared.workspace, slow_axis(moved[0]))
    restored = from_ras(np.moveaxis(moved, 0, -1), affine)
    return restored[..., 0] if len(array) == 1 else restored
