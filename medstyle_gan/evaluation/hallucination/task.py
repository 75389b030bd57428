"""What a frozen segmenter makes of scans, references and translations: Dice and HD95."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from numpy.typing import NDArray

from medstyle_gan.evaluation.chapter import Labels
from medstyle_gan.evaluation.hallucination.blobs import Spacing


@dataclass(frozen=True)
class Overlap:
    """How well a label was found.

    Attributes:
        label: which.
        dice: in [0, 1].
        hd95: 95th percentile of the distances between both surfaces (mm); NaN where the
            segmenter found nothing of the label, as no distance tells that.
    """

    label: int
    dice: float
    hd95: float


def overlaps(predicted: Labels, true: Labels, spacing: Spacing) -> list[Overlap]:
    """Dice and HD95 of each label that the true segmentation has.

    Args:
        predicted: (X, Y, Z) labels, 0 being none.
        true: (X, Y, Z).
        spacing: voxel size (mm).

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {predicted.shape} and true {true.shape} differ in shape")
    found = []
    for label in (int(value) for value in np.unique(true) if value != 0):
        ours, theirs = (_one_hot(labels == label) for labels in (predicted, true))
        dice = float(compute_dice(ours, theirs, include_background=True))
        found.append(Overlap(label, dice, _hd95(ours, theirs, spacing)))
    return found


def _hd95(ours: torch.Tensor, theirs: torch.Tensor, spacing: Spacing) -> float:
    if not ours.any():
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distance = compute_hausdorff_distance(
            ours, theirs, include_background=True, percentile=95, spacing=list(spacing)
        )
    return float(distance)


def _one_hot(mask: NDArray[np.bool_]) -> torch.Tensor:
    """(1, 1, X, Y, Z) float32."""
    return torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None]
