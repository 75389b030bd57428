"""Lesions that the user marked: are they as conspicuous after translation as before?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.hallucination.blob_detection import detect_blobs, responses
from medstyle_gan.evaluation.hallucination.blobs import Spacing
from medstyle_gan.evaluation.hallucination.inpainting import components
from medstyle_gan.evaluation.hallucination.matched_filter import around

FALSE_POSITIVES = 5
"""False detections a volume at which recall is told."""

_RING = (1.0, 5.0)  # mm from a lesion, the tissue that it is compared with
_LEAST_RING = 8  # voxels
_SMALLEST_SPREAD = 1e-3  # of tissue that is the same everywhere; 8 bits of [-1, 1] are 8e-3
_TOLERANCE = 2.0  # mm between a detection's middle and the lesion that it is of


@dataclass(frozen=True)
class LesionContrast:
    """One lesion against the tissue around it.

    Attributes:
        volume: mm³.
        difference: mean inside minus mean around, in the array's units.
        cnr: that over the standard deviation around.
    """

    volume: float
    difference: float
    cnr: float


def lesion_contrasts(
    array: Array, lesions: Mask, mask: Mask, spacing: Spacing
) -> list[LesionContrast]:
    """Each lesion's contrast with the tissue 1 to 5 mm around it.

    Args:
        array: (X, Y, Z) in [-1, 1].
        lesions: marked voxels.
        mask: the body.
        spacing: voxel size (mm).

    Returns:
        In the order of `components`; lesions without tissue around them are left out.
    """
    found = []
    margin = tuple(int(np.ceil(_RING[1] / step)) + 1 for step in spacing)
    for component in components(lesions, spacing):
        box = around(component.box, array.shape, margin)
        inside = np.zeros(array.shape, bool)[box]
        offset = tuple(
            slice(own.start - wide.start, own.stop - wide.start)
            for own, wide in zip(component.box, box, strict=True)
        )
        inside[offset] = component.mask
        away = distance_transform_edt(~inside, sampling=spacing)
        near = max(_RING[0], 1.01 * min(spacing))  # the next voxel may be half lesion
        ring = (away > near) & (away <= max(_RING[1], 3 * min(spacing))) & mask[box]
        ring &= ~lesions[box]
        if ring.sum() < _LEAST_RING:
            continue
        values = array[box].astype(np.float64)
        difference = float(values[inside].mean() - values[ring].mean())
        spread = float(values[ring].std())
        cnr = abs(difference) / max(spread, _SMALLEST_SPREAD)
        found.append(LesionContrast(component.volume, difference, cnr))
    return found


def detector_recall(
    array: Array,
    lesions: Mask,
    mask: Mask,
    spacing: Spacing,
    false_positives: int = FALSE_POSITIVES,
) -> float:
    """The share of lesions that the blob detector finds before its first false detections.

    Detections, bright and dark alike, are taken from the strongest on until the next would be one
    false detection too many (a point of the FROC curve; Bunch et al. 1977, "A free response
    approach to the measurement and characterization of radiographic-observer performance").

    Args:
        array: (X, Y, Z).
        lesions: marked voxels, at least one.
        mask: the body.
        spacing: voxel size (mm).
        false_positives: that are allowed in this volume.

    Raises:
        ValueError: no lesion is marked.
    """
    marked = list(components(lesions, spacing))
    if not marked:
        raise ValueError("no lesion is marked")
    label = np.zeros(array.shape, np.int32)
    for number, component in enumerate(marked, start=1):
        label[component.box][component.mask] = number
    away, nearest = distance_transform_edt(lesions == 0, sampling=spacing, return_indices=True)
    hit: set[int] = set()
    wrong = 0
    for blob in detect_blobs(responses(array, spacing), mask, spacing, least=0.0):
        if away[blob.center] <= _TOLERANCE:
            hit.add(int(label[tuple(int(axis[blob.center]) for axis in nearest)]))
            continue
        wrong += 1
        if wrong > false_positives:
            break
    return len(hit) / len(marked)


def segmented_recall(predicted: Mask, lesions: Mask, spacing: Spacing) -> tuple[float, int]:
    """What a segmenter found of the lesions.

    Args:
        predicted: voxels that it calls lesion.
        lesions: marked voxels, at least one.
        spacing: voxel size (mm).

    Returns:
        The share of lesions that it touches, and how many of its own touch none.

    Raises:
        ValueError: no lesion is marked.
    """
    marked = list(components(lesions, spacing))
    if not marked:
        raise ValueError("no lesion is marked")
    hits = sum(bool((predicted[c.box] & c.mask).any()) for c in marked)
    wrong = sum(not (lesions[c.box] & c.mask).any() for c in components(predicted, spacing))
    return hits / len(marked), wrong
