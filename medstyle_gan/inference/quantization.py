"""The type that a translation is written in."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import to_dtype

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
        low, high = np.rint(array.min()), np.rint(array.max())
        for kind in (np.int16, np.uint16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.dtype(kind)
    return np.dtype(np.float32)


def quantize(array: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Round and clip to an integer type; a float type is taken as it is.

    Returns:
        the array in `dtype`, and how many of its values lay beyond the type's range.
    """
    if dtype.kind == "f":
        return array.astype(dtype, copy=False), 0
    bounds = np.iinfo(dtype)
    quantized = np.empty(array.shape, dtype)
    clipped = 0
    # Plane by plane, because rounding takes float64 and a volume of those is large.
    for plane in range(len(array)):
        values = array[plane]
        clipped += int(np.count_nonzero((values < bounds.min - 0.5) | (values > bounds.max + 0.5)))
        quantized[plane] = to_dtype(values, dtype)
    return quantized, clipped
