"""What a volume looks like in a few dozen numbers, to tell whether it is of a collection's kind.

The numbers describe the volume as a network sees it, on a grid that is the same for every
volume, and how it was acquired. None of them is a place, a name or a voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from nibabel.affines import obliquity
from scipy import ndimage
from skimage.measure import block_reduce

from medstyle_gan.data.body import body_box
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.resampling import Grid, resample, working_grid
from medstyle_gan.volumes.workspace import release

# Coarse enough that texture finer than any collection's voxels plays no part.
_GRID = 4.0  # mm
_LARGEST = 192  # voxels along an axis before that grid
_DETAIL = 8.0  # mm, standard deviation of the blur that details stand out from
QUANTILES = (10, 25, 50, 75, 90)
SHELLS = 6
AXES = ("right", "front", "up")
_LETTERS = {"right": "LR", "front": "PA", "up": "IS"}


def fingerprint_volume(
    prepared: Prepared, shape: Sequence[int], spacing: Sequence[float], orientation: str
) -> dict[str, float]:
    """Describe a volume by numbers that vary little within a collection.

    - `intensity.q10` … `q90`: quantiles of the body's values, [-1, 1].
    - `depth.1` … `depth.6`: mean value of the body's outermost to innermost sixth, [-1, 1],
      which tells contrasts apart whose quantiles agree.
    - `contrast.values`, `contrast.details`: skewness of the values, and of what is finer than
      about 8 mm, in the inner half of the body: which way fluid, or fat, stands out from its
      surroundings. (q90 + q10 - 2 q50) / (q90 - q10), from the fifth and 95th percentile for
      details (Hinkley 1975); in [-1, 1], whatever the gain.
    - `edges.4mm`, `edges.8mm`: logarithm of the mean gradient (1/mm) in the body.
    - `scale.half_range`, `scale.center`: the volume's own intensity scale: logarithm of the half
      range in native units, and the centre in half ranges.
    - `spacing.*`: logarithm of the file's voxel size along each axis (mm).
    - `view.*`, `body.*`: logarithm of the field of view's and the body's extent (mm).
    - `oblique`: largest angle between voxel axes and anatomical axes (degrees).

    Args:
        prepared: the volume as `prepare_volume` gives it.
        shape: of its file; axes that are missing count 1.
        spacing: the file's voxel size (mm).
        orientation: the file's axes, such as "LPS".

    Returns:
        name → number, the same names for every volume.
    """
    unit, mask, size = _on_common_grid(prepared)
    body = unit[mask]
    facts = {
        f"intensity.q{q}": float(v)
        for q, v in zip(QUANTILES, np.percentile(body, QUANTILES), strict=True)
    }
    depth = _depth(mask, size)
    facts |= _shells(unit[mask], depth[mask])
    facts |= _contrast(unit, mask, depth)
    facts |= _edges(unit, mask, size)
    scale = prepared.scale
    facts["scale.half_range"] = math.log(scale.half_range)
    facts["scale.center"] = scale.center / scale.half_range
    own = _along_axes((*shape, 1, 1), spacing, orientation)
    extents = zip(AXES, body_box(prepared.foreground), prepared.spacing, strict=True)
    facts |= {f"spacing.{axis}": math.log(step) for axis, (step, _) in own.items()}
    facts |= {f"view.{axis}": math.log(step * count) for axis, (step, count) in own.items()}
    facts |= {
        f"body.{axis}": math.log(step * (last + 1 - first)) for axis, (first, last), step in extents
    }
    facts["oblique"] = float(np.degrees(obliquity(prepared.affine).max()))
    return {name: float(f"{value:.6g}") for name, value in facts.items()}


def _on_common_grid(prepared: Prepared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey values (X, Y, Z) in [-1, 1], the body, and the voxel size (mm), at about 4 mm."""
    array = prepared.array.mean(axis=0) if len(prepared.array) > 1 else prepared.array[0]
    mask = prepared.foreground
    wanted = _GRID / np.array(prepared.spacing)
    # Whole blocks first: the filter of a resampling would need the whole volume again.
    block = tuple(
        max(1, int(min(w, n)), -(-n // _LARGEST)) for w, n in zip(wanted, array.shape, strict=True)
    )
    if max(block) > 1:
        inside = _block_means(mask, block) > 0.5
        array = _block_means(array, block)
        mask = inside if inside.any() else np.ones(array.shape, dtype=bool)
    grid = Grid(array.shape, np.diag([*(np.array(prepared.spacing) * block), 1.0]))
    common = working_grid(grid, (_GRID, _GRID, _GRID))
    unit = resample(np.ascontiguousarray(array[None], dtype=np.float32), grid, common)[0]
    inside = resample(mask[None].astype(np.float32), grid, common)[0] > 0.5
    if not inside.any():  # a body thinner than the grid
        inside = np.ones(unit.shape, dtype=bool)
    return unit, inside, np.abs(np.diag(common.affine)[:3])


def _block_means(array: np.ndarray, block: Sequence[int]) -> np.ndarray:
    """Means of blocks of (X, Y, Z), a layer of blocks at a time: no copy of the whole."""
    layers = []
    for start in range(0, array.shape[2], block[2]):
        flat = array[:, :, start : start + block[2]].mean(axis=2, dtype=np.float32)
        layers.append(block_reduce(flat, tuple(block[:2]), np.mean, cval=float(flat.min())))
        release(array)
    return np.stack(layers, axis=2)


def _depth(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance (mm) to the body's surface in each axial slice; 0 outside the body."""
    slices = [
        ndimage.distance_transform_edt(inside, sampling=spacing[:2])
        for inside in np.moveaxis(mask, 2, 0)
    ]
    return np.stack(slices, axis=2)


def _shells(body: np.ndarray, depth: np.ndarray) -> dict[str, float]:
    """Mean values of equally many voxels each, by their depth."""
    parts = np.array_split(body[np.argsort(depth, kind="stable")], SHELLS)
    return {
        f"depth.{number}": float(part.mean() if part.size else body.mean())
        for number, part in enumerate(parts, start=1)
    }


def _contrast(unit: np.ndarray, mask: np.ndarray, depth: np.ndarray) -> dict[str, float]:
    core = mask & (depth >= np.median(depth[mask]))
    width = (_DETAIL / _GRID, _DETAIL / _GRID, 0)
    weight = np.maximum(ndimage.gaussian_filter(mask.astype(np.float64), width), 1e-3)
    details = unit - ndimage.gaussian_filter(np.where(mask, unit, 0.0), width) / weight
    return {
        "contrast.values": _skewness(unit[core], 10),
        "contrast.details": _skewness(details[core], 5),
    }


def _skewness(values: np.ndarray, percent: float) -> float:
    low, middle, high = np.percentile(values, (percent, 50, 100 - percent))
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def _edges(unit: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    facts = {}
    for width in (1, 2):
        smooth = ndimage.gaussian_filter(unit, 0.5 * (width - 1))
        squares = np.zeros(unit.shape, dtype=np.float64)
        for axis, size in enumerate(spacing):
            if unit.shape[axis] > 1:
                squares += np.square(np.gradient(smooth, size, axis=axis))
        gradient = float(np.sqrt(squares)[mask].mean())
        facts[f"edges.{4 * width}mm"] = math.log(max(gradient, 1e-6))
    return facts


def _along_axes(
    shape: Sequence[int], spacing: Sequence[float], orientation: str
) -> dict[str, tuple[float, int]]:
    """Voxel size (mm) and count along the file's axis nearest to each anatomical one."""
    places = {
        name: next(place for place, letter in enumerate(orientation) if letter in letters)
        for name, letters in _LETTERS.items()
    }
    return {name: (float(spacing[place]), int(shape[place])) for name, place in places.items()}
