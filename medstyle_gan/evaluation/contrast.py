"""How far apart two tissues are in an image, and what raises that without a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, generate_binary_structure
from skimage.exposure import equalize_adapthist

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


def contrast_to_noise(image: Array, first: Mask, second: Mask) -> float:
    """Contrast-to-noise ratio of two tissues: |mean_1 - mean_2| / sqrt((var_1 + var_2) / 2).

    Of the definitions that Welvaert and Rosseel (2013, "On the definition of signal-to-noise
    ratio and contrast-to-noise ratio for fMRI data") collect it is the difference of the means over
    the standard deviation of the noise. That is taken within the tissues, as Magnotta and Friedman
    (2006, "Measurement of signal-to-noise and contrast-to-noise in the fBIRN multicenter imaging
    study") do, not in the air: a translation's air is one value. So everything that makes a tissue
    uneven counts as noise, texture and bias field too.

    Gain and offset leave it as it is. Blur raises it: look at the structure beside it.

    Args:
        image: (X, Y, Z) or (X, Y), any units.
        first: bool, the voxels of one tissue, without those that hold several.
        second: bool, those of the other.

    Returns:
        At least 0; infinite for two different tissues without noise, 0 for equal ones.

    Raises:
        ValueError: A tissue has fewer than two voxels.
    """
    values = [image[tissue].astype(np.float64) for tissue in (first, second)]
    if min(map(len, values)) < 2:
        raise ValueError("a tissue has fewer than two voxels: nothing is known of its noise")
    difference = abs(values[0].mean() - values[1].mean())
    noise = np.sqrt(np.mean([v.var(ddof=1) for v in values]))
    if noise == 0:
        return np.inf if difference > 0 else 0.0
    return float(difference / noise)


def tissue_core(labels: NDArray[np.integer], tissue: int) -> Mask:
    """Voxels of a tissue whose four neighbours in the axial slice are of it too.

    Those at its border hold other tissues in part; thick slices are not looked across.

    Args:
        labels: (X, Y, Z), axial slices along Z.
        tissue: The label.
    """
    cross = generate_binary_structure(2, 1)[..., None]
    return np.asarray(binary_erosion(labels == tissue, cross))


def adaptive_histogram_equalization(scan: NDArray[np.float32], foreground: Mask) -> Array:
    """CLAHE of each axial slice (Zuiderveld 1994), with scikit-image's settings.

    Windows of an eighth of the slice, clip limit 0.01. A `references.Reference` that knows no
    style collection.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        foreground: bool (X, Y, Z); what lies outside it is kept.

    Returns:
        (X, Y, Z) float32 in [-1, 1].
    """
    equal = scan.copy()
    for z in np.flatnonzero(foreground.any(axis=(0, 1))):
        image = (scan[..., z].clip(-1, 1).astype(np.float64) + 1) / 2
        inside = foreground[..., z]
        equal[..., z][inside] = (2 * equalize_adapthist(image) - 1)[inside]
    return equal


def smoothing(scan: NDArray[np.float32], foreground: Mask) -> Array:
    """A Gaussian of one pixel in each axial slice: the cheapest way to raise contrast-to-noise.

    What gains no more than this has removed noise, or detail, and not raised contrast.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        foreground: bool (X, Y, Z); what lies outside it is kept.

    Returns:
        (X, Y, Z) float32 in [-1, 1].
    """
    return np.where(foreground, gaussian_filter(scan, (1.0, 1.0, 0.0)), scan)
