"""Native values as the 16-bit pixels, rescale and window of a DICOM series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medstyle_gan.volumes.dicom_library import require_pydicom

_LOW, _HIGH = -32768, 32767
_STEPS = 65534  # one less than there are, for the slope is rounded to the digits of a DS
_WINDOW = (1, 99)  # percentiles
_WINDOW_SAMPLES = 1_000_000


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """Native value = slope * plane + intercept.

    Attributes:
        planes: (slices, rows, columns) int16.
        slope: As DICOM writes it (a decimal of up to 16 characters).
        intercept: Likewise.
        window: Centre and width in native units.
    """

    planes: np.ndarray
    slope: Any
    intercept: Any
    window: tuple[Any, Any]


def store_pixels(array: np.ndarray, integer: bool) -> StoredPixels:
    """Quantises a volume over its own range.

    Args:
        array: (columns, rows, slices) in native units.
        integer: Whether its values are whole numbers, whatever its type.

    Returns:
        Whole numbers exactly where they span less than 65,536; else within half a step of a
        65,534th of the range.
    """
    low, high = float(array.min()), float(array.max())
    whole = integer and high - low <= _HIGH - _LOW
    if whole:
        slope, intercept = 1.0, 0.0 if low >= _LOW and high <= _HIGH else low - _LOW
    else:
        slope, intercept = (high - low) / _STEPS or 1.0, (high + low) / 2
    # Pixels are made with the numbers as they are written, not as they were before.
    slope_text, intercept_text = _decimal(slope), _decimal(intercept)
    planes = np.empty(array.shape[::-1], dtype=np.int16)
    for number in range(array.shape[2]):
        plane = (array[:, :, number].T.astype(np.float64) - float(intercept_text)) / float(
            slope_text
        )
        planes[number] = np.rint(plane).clip(_LOW, _HIGH)
    return StoredPixels(planes, slope_text, intercept_text, _window(array))


def _window(array: np.ndarray) -> tuple[Any, Any]:
    values = array.reshape(-1, order="A")
    values = values[:: max(1, values.size // _WINDOW_SAMPLES)]
    low, high = (float(value) for value in np.percentile(values, _WINDOW))
    if high <= low:
        low, high = float(array.min()), float(array.max())
    return _decimal((low + high) / 2), _decimal(max(high - low, 1e-6))


def _decimal(value: float) -> Any:
    """A DICOM decimal string (DS), rounded to its 16 characters."""
    return require_pydicom().valuerep.DSfloat(value, auto_format=True)
