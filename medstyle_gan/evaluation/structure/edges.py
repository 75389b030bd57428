"""Edges, whatever their contrast: the magnitude of a volume's gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.losses.structure import gradient_magnitude


def edges(array: Array, spacing: Sequence[float]) -> NDArray[np.float32]:
    """The magnitude of the gradient: central differences of the slightly smoothed volume.

    Args:
        array: (X, Y, Z), any units.
        spacing: voxel size (mm).

    Returns:
        (X, Y, Z), at least 0, in units a mm.
    """
    # A copy, as what is remembered is read-only.
    values = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    with torch.no_grad():
        magnitude: NDArray[np.float32] = gradient_magnitude(values[None, None], spacing)[
            0, 0
        ].numpy()
    return magnitude


def gradient_correlation(
    first: NDArray[np.floating], second: NDArray[np.floating], mask: Mask
) -> float:
    """Pearson's correlation of two volumes' edges inside a mask.

    Magnitudes, not vectors as of Penney et al. 1998: between contrasts an edge may turn over,
    and a faithful translation turns it over.

    Args:
        first: edges (X, Y, Z), as `edges` gives them.
        second: edges (X, Y, Z).
        mask: bool (X, Y, Z).

    Returns:
        In [-1, 1]; 0 where either has no edges in the mask.
    """
    inside, other = first[mask].astype(np.float64), second[mask].astype(np.float64)
    if inside.size < 2 or np.ptp(inside) < 1e-12 or np.ptp(other) < 1e-12:
        return 0.0
    return float(np.corrcoef(inside, other)[0, 1])
