"""The body in a volume, found without learning, in MR, CT and the phantom."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import block_reduce

from medstyle_gan.data.order_statistics import percentiles
from medstyle_gan.volumes.workspace import Workspace, release, slabs, slow_axis

# Below any tissue and above any padding: values under -200 can only be Hounsfield units here.
_HOUNSFIELD_SIGN = -200.0
_HOUNSFIELD_RANGE = (-1000.0, 200.0)
_WORKING_VOXELS = 160
_SMOOTHING = 0.6  # voxels; a low threshold moves a smoothed edge out by about as much
_TOWARDS_AIR = 0.2
_NOISE_DEVIATIONS = 5.0
_CLOSING_SHARE = 0.03


def foreground_mask(array: np.ndarray, workspace: Workspace | None = None) -> np.ndarray:
    """Separate the body from air, table and padding; rather a little too much than too little.

    A threshold between air and the darkest tissue (from Otsu 1979), the largest connected
    component after an opening that cuts thin bridges (a CT table, a head holder), gaps in
    the rim closed and holes filled in every axial slice (sinuses, lungs, bone).

    Args:
        array: (X, Y, Z) in native units, axes along R, A, S.
        workspace: where the mask is made.

    Returns:
        bool (X, Y, Z), never empty.
    """
    axis = slow_axis(array)
    mask = (workspace or Workspace()).empty(array.shape, bool, slowest=axis)
    # Large volumes are masked on a coarser grid: morphology costs more than it gains there.
    stride = tuple(max(1, -(-n // _WORKING_VOXELS)) for n in array.shape)
    low, high = array_range(array)
    hounsfield = low < _HOUNSFIELD_SIGN
    bounds = _HOUNSFIELD_RANGE if hounsfield else (low, _upper_bound(array, low, high))
    # What fills up the last blocks is what no voxel is below.
    values = _coarse(array, stride, bounds, fill=float(np.clip(low, *bounds)))
    smooth = ndimage.gaussian_filter(values, [_SMOOTHING if n > 2 else 0.0 for n in values.shape])
    if smooth.max() <= smooth.min():
        body = np.ones(values.shape, dtype=bool)
    else:
        threshold = float(threshold_otsu(smooth.ravel())) if hounsfield else _above_air(smooth)
        body = _body(smooth > threshold)
    for slab in slabs(array.shape, axis):
        index = [np.arange(n)[s] // d for n, s, d in zip(array.shape, slab, stride, strict=True)]
        mask[slab] = body[np.ix_(*index)]
        release(mask)
    return mask


def array_range(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value."""
    low, high = np.inf, -np.inf
    for slab in slabs(array.shape, slow_axis(array)):
        low, high = min(low, float(array[slab].min())), max(high, float(array[slab].max()))
        release(array)
    return low, high


def _upper_bound(array: np.ndarray, low: float, high: float) -> float:
    """A bound below what would pull a threshold, such as bright vessels."""
    sample = array[tuple(slice(None, None, max(1, n // 128)) for n in array.shape)]

    def chunks() -> Iterator[np.ndarray]:
        for slab in slabs(sample.shape, slow_axis(sample)):
            yield sample[slab]
            release(sample)

    (upper,) = percentiles(chunks, [98.0])
    return upper if upper > low else high


def _coarse(
    array: np.ndarray, stride: tuple[int, ...], bounds: tuple[float, float], fill: float
) -> np.ndarray:
    """Float32 (x, y, z): means over blocks of `stride`, of values clipped to the bounds."""
    axis = slow_axis(array)
    parts = []
    for slab in slabs(array.shape, axis, multiple=stride[axis]):
        # CT padding and metal, which would pull a threshold, become air and bone.
        values = np.clip(array[slab], *bounds).astype(np.float32, copy=False)
        release(array)
        parts.append(block_reduce(values, stride, np.mean, cval=fill))
    return np.concatenate(parts, axis=axis).astype(np.float32, copy=False)


def _above_air(smooth: np.ndarray) -> float:
    """A threshold that keeps the darkest tissue of an MR contrast.

    Otsu's lies between the mean of the air and that of all tissues, above dark fat and
    bone. Going part of the way down from it to the air keeps these, as long as it stays
    above the air's noise.
    """
    otsu = float(threshold_otsu(smooth.ravel()))
    below = smooth[smooth <= otsu]
    if below.max() > below.min():  # in a volume cropped to the head most of it is dim tissue
        below = below[below <= threshold_otsu(below)]
    air = float(np.median(below))
    noise = 1.4826 * float(np.median(np.abs(below - air)))
    return min(otsu, air + max(_TOWARDS_AIR * (otsu - air), _NOISE_DEVIATIONS * noise))


def _body(mask: np.ndarray) -> np.ndarray:
    around = ndimage.generate_binary_structure(3, 1)
    for axis, length in enumerate(mask.shape):
        if length <= 2:  # an opening would erode a stack of one or two slices away
            around &= np.moveaxis(np.array([False, True, False])[:, None, None], 0, axis)
    labels, count = ndimage.label(ndimage.binary_opening(mask, around))
    if count == 0:
        labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == sizes.argmax()
    reach = max(2, round(_CLOSING_SHARE * max(mask.shape[:2])))
    cross = ndimage.generate_binary_structure(2, 1)
    for z in range(body.shape[2]):
        padded = np.pad(body[:, :, z], reach)
        closed = ndimage.binary_closing(padded, cross, iterations=reach)
        body[:, :, z] = ndimage.binary_fill_holes(closed)[reach:-reach, reach:-reach]
    return body
