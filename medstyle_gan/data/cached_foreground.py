"""A prepared volume out of the cache with its body, which the cache does not keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.data.cached_volume import CachedVolume
from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.slices import from_slices


def array_and_foreground(
    volume: CachedVolume, plane: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A prepared volume (X, Y, Z) in [-1, 1] and its foreground, bool (X, Y, Z).

    Args:
        volume: of one in colour, the mean of its channels is taken.
        plane: that it was sliced in.
    """
    slices = from_slices(volume.slices, plane)
    grey = slices[0] if len(slices) == 1 else slices.mean(axis=0)
    array = np.asarray(grey, dtype=np.float32)
    if volume.is_picture:  # all of a picture counts
        return array, np.ones(array.shape, bool)
    # In native units, where the mask can tell Hounsfield units from MR.
    return array, foreground_mask(volume.scale.from_unit(array))
