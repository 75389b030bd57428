"""Smooth random fields of a given wavelength, cheap enough for many per phantom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth_field(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing: Sequence[float],
    wavelength: float,
) -> Field:
    """Returns a smooth random field with mean about 0 and standard deviation about 1.

    White noise on a coarse lattice, joined by cubic B-splines: the tensor product makes it
    three small matrix products, whatever the size of the volume.

    Args:
        rng: Source of the noise.
        shape: Voxels along each axis, (X, Y, Z).
        spacing: Voxel size along each axis (mm).
        wavelength: Distance between lattice nodes (mm); the field changes sign over about
            one and a half of it.

    Returns:
        (X, Y, Z) float32.
    """
    bases = [_spline_basis(n, step / wavelength) for n, step in zip(shape, spacing, strict=True)]
    nodes = rng.standard_normal([basis.shape[1] for basis in bases]).astype(np.float32)
    field = np.einsum("abc,xa,yb,zc->xyz", nodes, *bases, optimize=True)
    return np.ascontiguousarray(field, dtype=np.float32)


def _spline_basis(samples: int, step: float) -> Field:
    """Returns cubic B-spline weights (samples, nodes), each row of unit length.

    Unit rows keep the variance of the noise the same at every voxel.
    """
    position = np.arange(samples) * step
    nodes = int(np.floor(position[-1])) + 4
    distance = np.abs(position[:, None] - (np.arange(nodes) - 1)[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance) ** 3 / 6
    basis = np.where(distance < 1, inner, np.where(distance < 2, outer, 0.0))
    return (basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32)
