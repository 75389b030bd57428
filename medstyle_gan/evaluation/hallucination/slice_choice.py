"""Axial slices of a volume, evenly spread over its body, and how they look in small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from skimage.transform import resize

from medstyle_gan.evaluation.chapter import Array, Mask

_ENOUGH_BODY = 0.25  # of the largest slice's body, that a slice must show
_THUMBNAIL = 48  # pixels a side
_CELL, _BLOCK, _ORIENTATIONS = 8, 2, 9  # of the histograms of gradients


@dataclass(frozen=True)
class BodySlice:
    """One axial slice.

    Attributes:
        image: (X, Y) in [-1, 1].
        mask: (X, Y), the body, not empty.
    """

    image: Array
    mask: Mask


def body_slices(array: Array, mask: Mask, count: int | None = None) -> list[BodySlice]:
    """Slices that show a good part of the body.

    Args:
        array: (X, Y, Z).
        mask: the body.
        count: at most so many, evenly spread; None for all.
    """
    area = mask.sum(axis=(0, 1))
    shown = np.flatnonzero((area > 0) & (area >= _ENOUGH_BODY * area.max()))
    if count is not None and shown.size > count:
        middles = (np.arange(count) + 0.5) / count * shown.size
        shown = shown[middles.astype(int)]
    return [BodySlice(array[..., z], mask[..., z]) for z in shown]


def thumbnail(shown: BodySlice) -> NDArray[np.float64]:
    """The body's box at 48² pixels, whatever its size and place; the rest is -1."""
    rows, columns = (
        slice(int(inside[0]), int(inside[-1]) + 1)
        for axis in range(2)
        if len(inside := np.flatnonzero(shown.mask.any(axis=1 - axis)))
    )
    body = np.where(shown.mask, shown.image, -1.0)[rows, columns].astype(np.float64)
    small: NDArray[np.float64] = resize(
        body, (_THUMBNAIL, _THUMBNAIL), order=1, mode="edge", anti_aliasing=True
    )
    return small


def correlation_vector(small: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pixels, such that a scalar product of two is their normalised correlation."""
    centred = small.ravel() - small.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-12)


def feature_vector(small: NDArray[np.float64]) -> NDArray[np.float64]:
    """Histograms of oriented gradients (Dalal & Triggs 2005), of unit length.

    They see where edges run and hardly how bright anything is, so that a copy in another
    window is still found. A scalar product of two is their cosine similarity.
    """
    features = hog(
        small,
        orientations=_ORIENTATIONS,
        pixels_per_cell=(_CELL, _CELL),
        cells_per_block=(_BLOCK, _BLOCK),
    )
    vector: NDArray[np.float64] = features / max(float(np.linalg.norm(features)), 1e-12)
    return vector
