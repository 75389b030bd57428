"""Slices out of a volume, back into one, and the right way up for a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The axis of (X, Y, Z) that slices of a plane are stacked along.
_STACKED_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}


def stacked_axis(plane: str) -> int:
    """The axis of (X, Y, Z) that slices of a plane are stacked along."""
    return _STACKED_AXIS[plane]


def to_slices(array: np.ndarray, plane: str) -> np.ndarray:
    """View a volume as a stack of slices.

    Args:
        array: (C, X, Y, Z), RAS.
        plane: `axial` (H=X, W=Y), `coronal` (H=X, W=Z) or `sagittal` (H=Y, W=Z).

    Returns:
        (N, C, H, W), a view.
    """
    return np.moveaxis(array, 1 + _STACKED_AXIS[plane], 0)


def from_slices(slices: np.ndarray, plane: str) -> np.ndarray:
    """The inverse of `to_slices`: (N, C, H, W) → (C, X, Y, Z), a view."""
    return np.moveaxis(slices, 0, 1 + _STACKED_AXIS[plane])


def slice_aspect(spacing: Sequence[float], plane: str) -> float:
    """Height over width of a displayed pixel, for `imshow(display_image(...), aspect=...)`.

    Args:
        spacing: voxel size along R, A, S (mm).
        plane: the slices' plane.
    """
    across, up = (spacing[axis] for axis in range(3) if axis != _STACKED_AXIS[plane])
    return up / across


def display_image(image: np.ndarray) -> np.ndarray:
    """Turn a slice the way it is looked at: anterior (or superior) up, values unchanged.

    The patient's left is on the left (neurological convention), and a picture stands as
    it did in its file.

    Args:
        image: (C, H, W) with C 1 or 3.

    Returns:
        (rows, columns) for one channel, (rows, columns, 3) for three.
    """
    turned = np.rot90(image, axes=(1, 2))
    return turned[0] if turned.shape[0] == 1 else np.moveaxis(turned, 0, -1)
