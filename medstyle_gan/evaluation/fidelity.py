"""How close a translation is to the truth, voxel by voxel, inside a mask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.regression import mean_absolute_error

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

_SSIM_SIGMA = 1.5  # pixels; Wang et al. 2004's 11x11 Gaussian window
_SLICES_AT_ONCE = 8


def fidelity(
    translation: Array,
    truth: Array,
    mask: Mask,
    data_range: float,
    similarity: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Masked mean absolute error, peak signal-to-noise ratio and structural similarity.

    SSIM is computed in the arrays' own precision: float32 is right to about 1e-5 and, on a CPU,
    ten times as fast as float64.

    Args:
        translation: (X, Y, Z) float32 or float64, axial slices along Z, any units.
        truth: (X, Y, Z), the same units.
        mask: bool (X, Y, Z), voxels that count.
        data_range: Highest minus lowest possible value, in the same units (2 for [-1, 1]).
        similarity: (X, Y, Z), what `ssim_map` gave of these already; None computes it.

    Returns:
        `mae` (units of the arrays), `psnr` (dB; infinite where both are equal) and `ssim`:
        the mean over the mask of the SSIM map of whole axial slices (Wang et al. 2004), so
        that voxels outside the mask count only as neighbours.

    Raises:
        ValueError: The shapes differ, the mask is empty or the range is not positive.
    """
    if not translation.shape == truth.shape == mask.shape:
        raise ValueError(
            f"translation {translation.shape}, truth {truth.shape} and mask {mask.shape} must "
            "have the same shape"
        )
    if not mask.any():
        raise ValueError("the mask is empty")
    if data_range <= 0:
        raise ValueError(f"data_range must be positive, not {data_range}")
    inside, true_inside = (
        _tensor(array[mask].astype(np.float64)) for array in (translation, truth)
    )
    if similarity is None:
        similarity = ssim_map(translation, truth, data_range, np.asarray(mask.any(axis=(0, 1))))
    return {
        "mae": float(mean_absolute_error(inside, true_inside)),
        "psnr": float(peak_signal_noise_ratio(inside, true_inside, data_range=float(data_range))),
        "ssim": float(similarity[mask].mean()),
    }


def ssim_map(
    translation: Array, truth: Array, data_range: float, slices: Mask | None = None
) -> NDArray[np.float64]:
    """Structural similarity around each voxel within its axial slice (Wang et al. 2004).

    Args:
        translation: (X, Y, Z) float32 or float64, X and Y at least 6 pixels.
        truth: (X, Y, Z), the same units.
        data_range: Highest minus lowest possible value.
        slices: bool (Z,), slices to compute; None for all. The others are NaN.

    Returns:
        (X, Y, Z) float64 in [-1, 1].
    """
    wanted = np.arange(truth.shape[2]) if slices is None else np.flatnonzero(slices)
    similarity = np.full(truth.shape, np.nan)
    for start in range(0, len(wanted), _SLICES_AT_ONCE):
        index = wanted[start : start + _SLICES_AT_ONCE]
        _, full = structural_similarity_index_measure(
            # In units of the range, where SSIM's differences of squares keep most digits.
            _tensor(np.moveaxis(translation[..., index], 2, 0)[:, None] / data_range),
            _tensor(np.moveaxis(truth[..., index], 2, 0)[:, None] / data_range),
            gaussian_kernel=True,
            sigma=_SSIM_SIGMA,
            data_range=1.0,
            return_full_image=True,
        )
        similarity[..., index] = np.moveaxis(full[:, 0].numpy(), 0, 2)
    return similarity


def rank_correlation(first: Array, second: Array, mask: Mask) -> float:
    """Spearman's rank correlation inside a mask: does more signal mean more signal?

    Args:
        first: (X, Y, Z), any units.
        second: (X, Y, Z), any units.
        mask: bool (X, Y, Z).

    Returns:
        In [-1, 1]; 0 where either is constant in the mask and so has no order.
    """
    inside, other = first[mask], second[mask]
    if inside.size < 2 or np.ptp(inside) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(inside, other).statistic)


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))  # a copy: what is remembered is read-only
