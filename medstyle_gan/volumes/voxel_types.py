"""The types that voxels are stored in, and the arrays that fit a geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medstyle_gan.volumes.geometry import Geometry
from medstyle_gan.volumes.workspace import Workspace, release, slabs

_FLOAT32_WHOLE = 2**24  # float32 holds every whole number up to here
_DTYPES = frozenset(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])


@dataclass(frozen=True, eq=False)
class Voxels:
    """An array that is ready to be written.

    Attributes:
        array: (X, Y, Z) grey or (X, Y, Z, 3) colour, not converted yet.
        dtype: The type to convert it to with `to_dtype`.
        colour: Whether it has three channels.
    """

    array: np.ndarray
    dtype: np.dtype
    colour: bool


def fit_voxels(
    array: np.ndarray, geometry: Geometry, dtype: np.dtype | type | str | None
) -> Voxels:
    """Checks that an array fits its geometry and a type that volumes are written in.

    Args:
        array: (X, Y, Z) or `geometry.shape`; or (X, Y, Z, 3) colour in [0, 255].
        geometry: Of the volume that the array belongs to.
        dtype: On-disk type; default the array's own (bool as uint8, float16 as float32,
            colour always uint8).

    Raises:
        ValueError: The array does not fit the geometry, or there is no such on-disk type.
    """
    array = np.asarray(array)
    colour = array.ndim == 4 and array.shape == (*geometry.spatial_shape, 3)
    if array.shape == geometry.shape:
        array = array.reshape(geometry.spatial_shape)
    if not colour and array.shape != geometry.spatial_shape:
        raise ValueError(f"array of shape {array.shape} for a volume of shape {geometry.shape}")
    target = np.dtype(np.uint8) if colour else _target_dtype(array, dtype)
    if colour and dtype is not None and np.dtype(dtype) != target:
        raise ValueError(f"colour is written as uint8, not {np.dtype(dtype)}")
    return Voxels(array, target, colour)


def to_dtype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in another type: rounded to the nearest and clipped where that is an integer type.

    Args:
        array: Any shape; bool, integer or float.
        dtype: Integer or float.

    Raises:
        ValueError: NaN cannot become an integer.
    """
    if dtype.kind == "f" or array.dtype == dtype or array.dtype.kind == "b":
        return array.astype(dtype, copy=False)
    range_ = np.iinfo(dtype)
    if array.dtype.kind in "iu":
        own = np.iinfo(array.dtype)
        clipped = array.clip(max(range_.min, own.min), min(range_.max, own.max))
        return clipped.astype(dtype)
    if np.isnan(array).any():
        raise ValueError(f"NaN cannot be written as {dtype}")
    low, high = np.float64(range_.min), np.float64(range_.max)
    if int(high) > range_.max:  # 2**63 and 2**64 are floats, but one too many for the type
        high = np.nextafter(high, 0)
    return np.rint(array.astype(np.float64, copy=False)).clip(low, high).astype(dtype)


def to_native_units(
    stored: np.ndarray, slope: float, intercept: float, workspace: Workspace | None = None
) -> np.ndarray:
    """Slope * stored + intercept, in the smallest type that is exact enough.

    Args:
        stored: (X, Y, Z).
        slope: 1 with intercept 0 gives `stored` itself.
        intercept: In native units.
        workspace: Where the result is made; in memory by default.

    Returns:
        float32 for integers of up to 16 bits whose results it holds, else float64. May hold
        infinities where the slope is too large; `check_values` tells.
    """
    if (slope, intercept) == (1, 0):
        return stored
    integer = stored.dtype.kind in "iu"
    whole = integer and float(slope).is_integer() and float(intercept).is_integer()
    largest = abs(slope) * 2.0 ** (8 * stored.itemsize) + abs(intercept)
    # 16 bits scaled in float32 err by 1e-7 of the range; whole numbers must stay whole.
    single = integer and stored.itemsize <= 2 and (largest <= _FLOAT32_WHOLE or not whole)
    # Made with its axes reversed: X fastest, as files have it.
    kind = np.float32 if single else np.float64
    array = (workspace or Workspace()).empty(stored.shape[::-1], kind).T
    with np.errstate(over="ignore", invalid="ignore"):
        for slab in slabs(stored.shape, 2):
            np.multiply(stored[slab], slope, out=array[slab], casting="unsafe")
            np.add(array[slab], intercept, out=array[slab])
            release(stored, array)
    return array


def _target_dtype(array: np.ndarray, dtype: np.dtype | type | str | None) -> np.dtype:
    wanted = np.dtype(array.dtype if dtype is None else dtype).newbyteorder("=")
    if dtype is None and wanted.kind == "b":
        return np.dtype(np.uint8)
    if dtype is None and wanted == np.float16:
        return np.dtype(np.float32)
    if wanted.str[1:] not in _DTYPES or array.dtype.kind not in "biuf":
        raise ValueError(f"{array.dtype} cannot be written as {wanted}")
    return wanted
