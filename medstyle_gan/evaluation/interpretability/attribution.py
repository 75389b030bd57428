"""What a region of a translation hangs on in the scan: by gradients and by covering parts up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.visualize import OcclusionSensitivity
from numpy.typing import NDArray
from torch import Tensor, nn

from medstyle_gan.evaluation.interpretability.region import NetworkInput

Map = NDArray[np.float32]
Score = Callable[[Tensor], Tensor]


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
    """How much the region's mean changes where a part of the input is covered (Zeiler 2014).

    Args:
        given: the input and its score.
        cell: side of the square (or cube) that covers (voxels); they lie side by side.
        value: what it covers with, in [-1, 1].

    Returns:
        (H, W) |score covered − score| at each voxel of the region's slice.
    """
    with torch.no_grad():
        plain = given.score(given.image)
        covered, _ = OcclusionSensitivity(
            _Scored(given.score),
            mask_size=[min(cell, side) for side in given.image.shape[2:]],
            n_batch=1,
            verbose=False,
            mode=float(value),
            overlap=0.0,
            activate=False,
        )(given.image)
    return _on_slice(given, (torch.as_tensor(covered)[0, 0] - plain).abs())


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


class _Scored(nn.Module):
    """A score as the network of one output that MONAI's occlusion expects."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        self._score = score

    def forward(self, images: Tensor) -> Tensor:
        return self._score(images)[:, None]


def _on_slice(given: NetworkInput, values: Tensor) -> Map:
    shown = given.to_slice(values.float().cpu().numpy())
    return np.ascontiguousarray(shown, dtype=np.float32)
