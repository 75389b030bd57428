"""Whether the body is as large and has the shape that it had."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

from medstyle_gan.evaluation.chapter import Mask


def body_agreement(first: Mask, second: Mask, spacing: Sequence[float]) -> tuple[float, float]:
    """Dice's coefficient of two masks, and the 95th percentile of their Hausdorff distance.

    Args:
        first: bool (X, Y, Z), not empty.
        second: bool (X, Y, Z), not empty.
        spacing: voxel size (mm).

    Returns:
        Dice in [0, 1], and mm.
    """
    ours, theirs = (torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (first, second))
    dice = compute_dice(ours.float(), theirs.float(), include_background=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of MONAI's own calls of itself
        distance = compute_hausdorff_distance(
            ours, theirs, include_background=True, percentile=95, spacing=list(spacing)
        )
    return float(dice), float(distance)
