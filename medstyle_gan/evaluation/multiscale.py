"""Multi-scale structural similarity (Wang et al. 2003) with as many scales as fit the slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

# Of Wang et al. 2003, from the finest scale on.
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11  # pixels
_SLICES_AT_ONCE = 16


def fitting_scales(shape: Sequence[int]) -> int:
    """How many scales axial slices of (X, Y, Z) volumes are large enough for; 0 for none.

    A slice holds a whole window at the coarsest scale, and at least as much as torchmetrics
    asks for: sides above 10 (n - 1)² and of at least 10 · 2^(n-1) + 1 pixels.
    """
    side = min(shape[:2])
    fitting = [
        n
        for n in range(2, len(BETAS) + 1)
        if side // (n - 1) ** 2 >= _WINDOW and side >= (_WINDOW - 1) * 2 ** (n - 1) + 1
    ]
    return max(fitting, default=0)


def masked_ms_ssim(
    estimate: NDArray[np.floating],
    truth: NDArray[np.floating],
    mask: NDArray[np.bool_],
    data_range: float,
    scales: int,
) -> float:
    """MS-SSIM of the axial slices that a mask touches, both volumes being empty outside it.

    Args:
        estimate: (X, Y, Z) in [-1, 1] or other units.
        truth: (X, Y, Z), the same units.
        mask: bool (X, Y, Z), not empty.
        data_range: Highest minus lowest possible value.
        scales: As `fitting_scales` gives them, at least 2.

    Returns:
        The mean over slices, each weighted by its voxels in the mask; at most 1.
    """
    lowest = min(float(truth[mask].min()), float(estimate[mask].min()))
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    betas = tuple(beta / sum(BETAS[:scales]) for beta in BETAS[:scales])

    def stack(array: NDArray[np.floating], index: NDArray[np.intp]) -> torch.Tensor:
        part = np.where(mask[..., index], array[..., index], lowest) / data_range
        return torch.from_numpy(np.moveaxis(part, 2, 0)[:, None].astype(np.float32))

    values = []
    for start in range(0, len(slices), _SLICES_AT_ONCE):
        index = slices[start : start + _SLICES_AT_ONCE]
        similarity = multiscale_structural_similarity_index_measure(
            stack(estimate, index),
            stack(truth, index),
            gaussian_kernel=True,
            sigma=1.5,
            kernel_size=_WINDOW,
            reduction="none",
            data_range=1.0,
            betas=betas,
        )
        values.append(similarity.numpy())
    weights = mask[..., slices].sum(axis=(0, 1))
    return float(np.average(np.concatenate(values), weights=weights))
