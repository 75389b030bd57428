"""What reading gives: volumes, their headers alone, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medstyle_gan.volumes.geometry import Geometry


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """A volume without its voxels.

    Attributes:
        geometry: Shape and position.
        dtype: On-disk type, in this machine's byte order.
        integer: Whether native values are whole numbers (integer type, whole slope and
            intercept).
        path: The file.
    """

    geometry: Geometry
    dtype: np.dtype
    integer: bool
    path: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """On-disk shape."""
        return self.geometry.shape

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), voxel index to millimetres, RAS+."""
        return self.geometry.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres along X, Y, Z."""
        return self.geometry.spacing

    @property
    def orientation(self) -> str:
        """For example "LPS"."""
        return self.geometry.orientation


@dataclass(frozen=True, eq=False)
class Volume:
    """An array with its geometry.

    Attributes:
        array: (X, Y, Z) grey, or (X, Y, Z, 3) uint8 colour (made by a translation to colour,
            never read). Native units: slope and intercept are applied. Unscaled values keep
            the on-disk type; scaled ones are float32 where that is exact enough (8- and
            16-bit integers), else float64. Files give Fortran order, as NIfTI stores it.
        geometry: Shape and position.
        dtype: On-disk type, in this machine's byte order.
        integer: Whether the values are whole numbers in native units.
        path: The file, or None for an array that never was one.
    """

    array: np.ndarray
    geometry: Geometry
    dtype: np.dtype
    integer: bool
    path: Path | None = None

    def with_array(self, array: np.ndarray) -> Volume:
        """Other voxels on the same grid, of the array's own type; no file has them yet."""
        integer = bool(np.issubdtype(array.dtype, np.integer))
        return Volume(array, self.geometry, array.dtype, integer)


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph, painting or drawing.

    Attributes:
        array: (H, W, 1) grey or (H, W, 3) RGB, uint8 or (grey only) uint16; row 0 is the top.
        maximum: White: 255 or 65535.
        path: The file.
    """

    array: np.ndarray
    maximum: float
    path: Path
