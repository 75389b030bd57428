"""What a region of a translation hangs on in the scan: by gradients and by covering parts up."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medstyle_gan.evaluation.interpretability.region import NetworkInput

Map = NDArray[np.float32]


def input_gradient(given: NetworkInput) -> Map:
    """How much each input voxel would move the region's mean (Simonyan et al. 2013).

    Args:
        given: the input and its score, whose network must let gradients through.

    Returns:
        (H, W) |∂ score / ∂ voxel| in the region's slice, summed over channels.

    Raises:
        ValueError: the network gives no gradient, as a graph of ONNX does not.
    """
    image = given.image.clone().requires_grad_(True)
    with torch.enable_grad():
        score = given.score(image)
        if not score.requires_grad:
            raise ValueError("the network gives no gradient")
        (gradient,) = torch.autograd.grad(score.sum(), image)
    return _on_slice(given, gradient.abs().sum(dim=(0, 1)))


def occlusion(given: NetworkInput, cell: int, value: float) -> Map:
    """How much the region's mean changes where a part of the body is covered (Zeiler 2014).

    The air around the body is left as it is: tissue put there would be seen, not hidden. (MONAI's
    `OcclusionSensitivity` covers air as well, and indexes in a way that PyTorch gives up.)

    Args:
        given: the input and its score.
        cell: side of the squares (or cubes) that cover, side by side (voxels).
        value: what they cover with, in [-1, 1].

    Returns:
        (H, W) |score covered − score| at each voxel of the region's slice.
    """
    changes = torch.zeros(given.image.shape[2:])
    with torch.no_grad():
        plain = given.score(given.image).cpu()
        starts = (range(0, side, cell) for side in changes.shape)
        for corner in product(*starts):
            part = tuple(slice(first, first + cell) for first in corner)
            inside = given.body[part]
            if inside.any():
                covered = given.image.clone()
                seen = covered[0][(slice(None), *part)]  # a view
                seen.copy_(torch.where(inside, value, seen))
                changes[part] = (given.score(covered).cpu() - plain).abs()
    return _on_slice(given, changes)


def reach(
    values: Map, centre: tuple[float, float], spacing: tuple[float, float], share: float = 0.9
) -> float:
    """The radius around a place that holds a share of a map (mm).

    Args:
        values: (H, W), at least 0.
        centre: of the circle (voxels).
        spacing: of the voxels (mm).
        share: of the map's sum, in (0, 1].

    Returns:
        The radius; NaN for a map of zeros.
    """
    rows, columns = np.indices(values.shape)
    radius = np.hypot((rows - centre[0]) * spacing[0], (columns - centre[1]) * spacing[1]).ravel()
    order = np.argsort(radius, kind="stable")
    cumulated = np.cumsum(values.ravel()[order].astype(np.float64))
    if not cumulated[-1] > 0:
        return float("nan")
    place = int(np.searchsorted(cumulated, share * cumulated[-1]))
    return float(radius[order][min(place, len(order) - 1)])


def _on_slice(given: NetworkInput, values: Tensor) -> Map:
    shown = given.to_slice(values.float().cpu().numpy())
    return np.ascontiguousarray(shown, dtype=np.float32)
