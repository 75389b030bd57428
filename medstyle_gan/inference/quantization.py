"""The type that a translation is written in."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medstyle_gan.data.foreground import array_range
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import to_dtype
from medstyle_gan.volumes.workspace import Workspace, copy_in_blocks, release, slabs

DtypeSetting = Literal["auto", "float32", "int16", "uint8"]


def output_dtype(array: np.ndarray, setting: DtypeSetting, integer: bool, colour: bool) -> np.dtype:
    """Choose the type of a translation.

    Args:
        array: the translation in native units, float32.
        setting: `inference.dtype`.
        integer: whether the collection translated into holds integers.
        colour: whether the translation is RGB, which NIfTI knows as uint8 only.

    Returns:
        for `auto`: uint8 for colour; float32 unless `integer`, else the first of int16,
        uint16 and int32 that holds the rounded range, else float32.

    Raises:
        UserError: for a colour translation in a type other than uint8.
    """
    if colour:
        if setting not in ("auto", "uint8"):
            raise UserError(
                f"inference.dtype={setting}: a colour translation is written as uint8 RGB; "
                "leave inference.dtype at auto"
            )
        return np.dtype(np.uint8)
    if setting != "auto":
        return np.dtype(setting)
    if integer:
        low, high = (np.rint(bound) for bound in array_range(array))
        for kind in (np.int16, np.uint16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.dtype(kind)
    return np.dtype(np.float32)


def quantize(
    array: np.ndarray, dtype: np.dtype, workspace: Workspace | None = None
) -> tuple[np.ndarray, int]:
    """Round and clip to an integer type; a float type is taken as it is.

    Args:
        array: any shape, float32.
        dtype: what it becomes.
        workspace: where the result is made; in memory by default.

    Returns:
        the array in `dtype`, with its third axis slowest as in files where it has one, and how
        many of its values lay beyond the type's range.
    """
    slowest = 2 if array.ndim > 2 else 0
    quantized = (workspace or Workspace()).empty(array.shape, dtype, slowest=slowest)
    clipped = 0
    for slab in slabs(array.shape, slowest):
        values = np.empty(quantized[slab].shape, array.dtype)
        copy_in_blocks(values, array[slab])
        if dtype.kind != "f":
            bounds = np.iinfo(dtype)
            beyond = (values < bounds.min - 0.5) | (values > bounds.max + 0.5)
            clipped += int(np.count_nonzero(beyond))
        quantized[slab] = to_dtype(values, dtype)
        release(quantized)
    return quantized, clipped
