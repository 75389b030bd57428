"""A scan without its lesions: what lies around them is continued smoothly across them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.restoration import inpaint_biharmonic

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.hallucination.blobs import Box, Spacing
from medstyle_gan.evaluation.hallucination.matched_filter import around

_CONNECTED = np.ones((3, 3, 3), bool)
_SURROUNDING = 3  # voxels that the fill looks at


@dataclass(frozen=True)
class Component:
    """One connected lesion.

    Attributes:
        box: the voxels around it.
        mask: (x, y, z) bool, its own voxels in the box.
        volume: mm³.
    """

    box: Box
    mask: Mask
    volume: float

    @property
    def center(self) -> tuple[int, int, int]:
        """The voxel in the middle of the box."""
        x, y, z = ((s.start + s.stop - 1) // 2 for s in self.box)
        return x, y, z


def components(lesions: Mask, spacing: Spacing) -> Iterator[Component]:
    """The connected lesions of a mask, voxels that touch by a corner being connected."""
    labels, _ = ndimage.label(lesions, _CONNECTED)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == number
        yield Component(box, own, float(own.sum() * np.prod(spacing)))


def without_lesions(scan: Array, lesions: Mask) -> Array:
    """Fills lesions from their surroundings.

    The lesions are grown by a voxel in plane, so that no half-lesion voxel colours the fill, which
    is biharmonic (Chui & Mhaskar 2010, "MRA contextual-recovery extension of smooth functions on
    manifolds") and stays within the intensities of the voxels around it.

    Args:
        scan: (X, Y, Z).
        lesions: (X, Y, Z) bool.
    """
    filled = scan.copy()
    grown = ndimage.binary_dilation(lesions, ndimage.generate_binary_structure(2, 1)[..., None])
    labels, _ = ndimage.label(grown, _CONNECTED)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        wide = around(box, scan.shape, (_SURROUNDING,) * 3)
        hole, others = labels[wide] == number, labels[wide] > 0
        rim = ndimage.binary_dilation(hole, _CONNECTED) & ~others
        if not rim.any():
            continue
        patch = inpaint_biharmonic(scan[wide].astype(np.float64), hole)
        known = scan[wide][rim]
        filled[wide][hole] = patch[hole].clip(known.min(), known.max())
    return filled
