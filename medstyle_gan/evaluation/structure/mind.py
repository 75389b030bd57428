"""MIND, a description of local structure that does not depend on contrast (Heinrich et al. 2012).

The formula is that of the loss, `medstyle_gan.losses.structure.mind`, over whole volumes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.losses import structure


def mind(array: Array) -> NDArray[np.float32]:
    """How much each voxel's surroundings are like those of its six neighbours.

    Args:
        array: (X, Y, Z), any units.

    Returns:
        (6, X, Y, Z) in (0, 1], the largest of each voxel being 1; it does not change where the
        array's values are scaled, shifted or turned over.
    """
    values = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    with torch.no_grad():
        described: NDArray[np.float32] = structure.mind(values[None, None])[0, 0].numpy()
    return described


def mind_distance(first: NDArray[np.float32], second: NDArray[np.float32], mask: Mask) -> float:
    """The mean absolute difference of two descriptions inside a mask.

    Args:
        first: (6, X, Y, Z), as `mind` gives it.
        second: (6, X, Y, Z).
        mask: bool (X, Y, Z), not empty.

    Returns:
        In [0, 1).
    """
    return float(np.abs(first - second)[:, mask].mean(dtype=np.float64))
