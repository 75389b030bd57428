"""Lesions that a translation has and the scan does not.

A false lesion is a blob of 3 to 12 mm

- in the translation minus what its own mapping of the scan makes expect (`expected_mapping`),
- whose contrast is at least a tenth of the translation's range and five standard deviations of
  the blob detector's responses in that difference,
- which the scan does not show: its own contrast there, as a share of its range, is less than half
  of the blob's, whichever sign it has, and
- which the truth, where there is one, does not show either: neither as it is nor, as the blob
  itself was found, beside what the truth's own mapping of the scan makes expect.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.hallucination.blob_detection import (
    Detection,
    detect_blobs,
    responses,
)
from medstyle_gan.evaluation.hallucination.blobs import Spacing, intensity_range
from medstyle_gan.evaluation.hallucination.expected_mapping import expected_translation

LEAST_SHARE = 0.1
DEVIATIONS = 5.0
_SHOWN = 0.5  # of the blob's contrast, that another image has to show


def false_lesions(
    scan: Array, translation: Array, mask: Mask, spacing: Spacing, truth: Array | None = None
) -> list[Detection]:
    """The blobs of a translation that its scan, and the truth, do not have; strongest first.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        translation: (X, Y, Z) in [-1, 1].
        mask: the body.
        spacing: voxel size (mm).
        truth: (X, Y, Z), the true style volume.
    """
    box = _box(mask)
    scan, translation, mask = scan[box], translation[box], mask[box]
    full = intensity_range(translation, mask)
    if full <= 0:
        return []
    left = np.where(mask, translation - expected_translation(scan, translation, mask, spacing), 0)
    found = responses(left, spacing)
    least = {
        size: max(LEAST_SHARE * full, DEVIATIONS * float(response[mask].std()))
        for size, response in found.items()
    }
    blobs = list(detect_blobs(found, mask, spacing, least))
    if not blobs:
        return []
    shown = [(responses(scan, spacing), intensity_range(scan, mask))]
    if truth is not None:
        within = truth[box]
        beside = np.where(mask, within - expected_translation(scan, within, mask, spacing), 0)
        true_range = intensity_range(within, mask)
        shown += [(responses(image, spacing), true_range) for image in (within, beside)]
    nearby: dict[tuple[int, float], Array] = {}

    def is_shown(blob: Detection) -> bool:
        for number, (own, own_range) in enumerate(shown):
            key = (number, blob.diameter)
            if key not in nearby:
                nearby[key] = _strongest(own, blob.diameter, spacing, signed=number > 0)
            strength = nearby[key][(0 if blob.contrast < 0 else -1, *blob.center)]
            if strength / max(own_range, 1e-6) >= _SHOWN * abs(blob.contrast) / full:
                return True
        return False

    start = [s.start for s in box]
    return [
        Detection(tuple(np.add(blob.center, start).tolist()), blob.diameter, blob.contrast)
        for blob in blobs
        if not is_shown(blob)
    ]


def _strongest(own: dict[float, Array], diameter: float, spacing: Spacing, signed: bool) -> Array:
    """The strongest response near each voxel at about a size.

    Args:
        own: diameter → responses.
        diameter: mm; half and twice as large count too.
        spacing: voxel size (mm).
        signed: dark and bright apart, as (dark, bright) first; else both are the strongest of any.
    """
    alike = [r for size, r in own.items() if 0.5 <= size / diameter <= 2]
    reach = [2 * round(diameter / 2 / step) + 1 for step in spacing]
    if not signed:
        return maximum_filter(np.max([np.abs(r) for r in alike], axis=0), reach)[None]
    dark, bright = np.max([-r for r in alike], axis=0), np.max(alike, axis=0)
    return np.stack([maximum_filter(dark, reach), maximum_filter(bright, reach)])


def _box(mask: Mask) -> tuple[slice, slice, slice]:
    """The body's box."""
    x, y, z = (
        slice(int(inside[0]), int(inside[-1]) + 1)
        for axis in range(3)
        if len(inside := np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))))
    )
    return x, y, z
