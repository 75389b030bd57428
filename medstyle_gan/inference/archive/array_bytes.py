"""How many bytes the arrays of one volume take while it is translated."""

from __future__ import annotations

from math import prod

from medstyle_gan.data.resampling import Grid
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.paths import ways_of
from medstyle_gan.inference.network.planes import grids_seen
from medstyle_gan.volumes import Volume, VolumeHeader

_FLOAT = 4
_MASK = 1


def array_bytes(
    network: Network,
    header: VolumeHeader | Volume,
    own: Grid,
    working: Grid,
    uncertainty: bool = False,
) -> int:
    """The most bytes of arrays of the volume's size that there are at once.

    Args:
        network: the generator.
        header: the volume's.
        own: its voxels, axes along R, A, S.
        working: those that it is prepared on.
        uncertainty: whether its uncertainty is asked for.
    """
    voxels, worked = prod(own.shape), prod(working.shape)
    translation = _FLOAT * network.out_channels
    resampled = not own.same_as(working)
    read = voxels * (header.dtype.itemsize if header.integer else 8)
    prepared = worked * (_FLOAT + _MASK)
    inside = _three_planes(network, working)
    if uncertainty:  # one translation, the mean and the deviation of all; that in native units
        kept = worked * (3 * translation + _FLOAT) + (_FLOAT * voxels if resampled else 0)
    else:
        kept = 0
        if len(ways_of(network)) > 1:  # the sum of those before
            inside += worked * translation
    # Put back on its own grid, and as it is written.
    after = voxels * translation * (2 if resampled else 1)
    return read + prepared + worked * translation + kept + max(inside, after)


def _three_planes(network: Network, working: Grid) -> int:
    """What three planes take beside one translation: two more, and another plane's grid."""
    if network.data.dims == 3 or network.inference.planes != 3:
        return 0
    translation = _FLOAT * network.out_channels
    grids = grids_seen(network, working)
    cubic = max(prod(g.shape) for plane, g in grids.items() if plane != network.data.plane)
    return cubic * (_FLOAT + _MASK + translation) + 2 * prod(working.shape) * translation
