"""Where the body is in a volume, in few enough numbers to be kept for every volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BLOCKS = 8


def body_box(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """First and last voxel of the body along each axis.

    Args:
        mask: bool (X, Y, Z), not empty.
    """
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append((int(inside[0]), int(inside[-1])))
    return tuple(box)


def body_occupancy(mask: np.ndarray, box: Sequence[tuple[int, int]]) -> np.ndarray:
    """How much body there is in each part of its box.

    Args:
        mask: bool (X, Y, Z).
        box: as `body_box` gives it.

    Returns:
        (a, b, c) float32 in [0, 1]: the box's blocks, at most 8 along each axis, cut at
        `block_edges`.
    """
    share = mask[tuple(slice(first, last + 1) for first, last in box)].astype(np.float32)
    for axis, (first, last) in enumerate(box):
        edges = block_edges((first, last), min(_BLOCKS, last - first + 1)) - first
        sums = np.add.reduceat(share, edges[:-1], axis=axis)
        share = sums / np.expand_dims(np.diff(edges), [a for a in range(mask.ndim) if a != axis])
    return share.astype(np.float32)


def block_edges(bounds: tuple[int, int], blocks: int) -> np.ndarray:
    """(blocks + 1,) first voxels of the blocks between a first and a last voxel, and the end."""
    first, last = bounds
    return first + np.linspace(0, last + 1 - first, blocks + 1).round().astype(int)
