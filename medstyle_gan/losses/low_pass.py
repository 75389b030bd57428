"""L1 distance of smoothed images, which forgives what lies a few pixels off."""

from __future__ import annotations

import torch
from torch import Tensor

from medstyle_gan.losses.smoothing import smoothed
from medstyle_gan.networks.precision import at_least_fp32


def low_pass_l1(
    x: Tensor, target: Tensor, deviation: float, weight: Tensor | None = None
) -> Tensor:
    """Mean absolute difference after a Gaussian, over where it counts, then over images; in fp32.

    The weighted difference is smoothed and divided by the smoothed weights (a normalised
    convolution, Knutsson & Westin 1993), so that what does not count does not leak in.

    Args:
        x: images `(B, C, *spatial)`.
        target: images of the same shape.
        deviation: standard deviation of the Gaussian (pixels); 0 compares images as they are.
        weight: `(B, 1 or C, *spatial)` in [0, 1]; None counts everything.

    Returns:
        A scalar; an image of which nothing counts gives 0.
    """
    difference = at_least_fp32(x) - at_least_fp32(target)
    counts = torch.ones_like(difference) if weight is None else weight.to(difference.dtype)
    counts = counts.expand_as(difference)
    deviations = [deviation] * (x.ndim - 2)
    smooth = smoothed(counts * difference, deviations)
    near = smoothed(counts, deviations)
    smooth = smooth / near.clamp(min=torch.finfo(near.dtype).eps)
    axes = tuple(range(1, x.ndim))
    sums = (counts * smooth.abs()).sum(axes) / counts.sum(axes).clamp(min=1)
    return sums.mean()
