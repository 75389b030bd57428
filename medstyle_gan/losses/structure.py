"""What a translation keeps of its scan's structure, whatever it does to the contrast.

Four distances between images of two contrasts, each 0 where nothing has changed, a mean over
images, in fp32 or more and differentiable; 2-D and 3-D. A mask says where they look.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses.image_dissimilarity import (
    GlobalMutualInformationLoss,
    LocalNormalizedCrossCorrelationLoss,
)
from torch import Tensor

from medstyle_gan.losses.smoothing import extended, smoothed
from medstyle_gan.networks.precision import at_least_fp32

# Standard deviation of what smooths the noise away before edges are looked for (pixels).
EDGE_SMOOTHING = 0.7
# MIND's patch: the deviation of its Gaussian (pixels), and where that ends (deviations).
_PATCH, _PATCH_ENDS = 0.5, 3.0
# Bounds of MIND's local variance, relative to its mean, as the paper has them.
_VARIANCE = (1e-3, 1e3)
# Below this deviation (of a range of 2) a window holds nothing but noise.
_FLAT = 3e-3
# Edges of this deviation (of a range of 2, a pixel) are rounding: no correlation of them.
_FAINT = 1e-5
# Of a flat image: its self-information (nats) is none to be divided by.
_LEAST_INFORMATION = 1e-3


def gradient_magnitude(
    x: Tensor, spacing: Sequence[float] | None = None, smoothing: float = EDGE_SMOOTHING
) -> Tensor:
    """Edges, whatever their contrast: the length of the slightly smoothed image's gradient.

    Args:
        x: images `(B, C, *spatial)`, any units.
        spacing: size of a pixel along each axis; None is 1.
        smoothing: standard deviation of a Gaussian (of the smallest pixels).

    Returns:
        `(B, C, *spatial)`, in units a unit of length; where an edge turns over, the same.
    """
    x = at_least_fp32(x)
    spacing = list(spacing or [1.0] * (x.ndim - 2))
    wide = [size > 1 for size in x.shape[2:]]
    finest = min(spacing)
    deviations = [
        smoothing * finest / size * there for size, there in zip(spacing, wide, strict=True)
    ]
    smooth = smoothed(x, deviations)
    squares = torch.zeros_like(smooth)
    for axis, (size, there) in enumerate(zip(spacing, wide, strict=True), start=2):
        if there:
            (slope,) = torch.gradient(smooth, spacing=float(size), dim=axis)
            squares = squares + slope.square()
    # The root's slope at 0 is infinite, and 0 times that would be NaN.
    tiny = torch.finfo(squares.dtype).tiny
    return squares.clamp(min=tiny).sqrt()


def gradient_correlation(x: Tensor, scan: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 − Pearson's correlation of both images' edges.

    Magnitudes, where Penney et al. 1998 ("A comparison of similarity measures for use in 2-D-3-D
    medical image registration", IEEE TMI 17(4)) correlate each axis' slopes: between contrasts an
    edge may turn over, and a faithful translation turns it over. Scaling, shifting or inverting
    an image's intensities changes nothing.

    Args:
        x: images `(B, C, *spatial)`.
        scan: images of the same shape.
        mask: bool `(B, 1, *spatial)`, where to look; None is everywhere.

    Returns:
        A scalar in [0, 2]; an image without edges counts 1.
    """
    weights = _weights(mask, x)
    ours = _centred(gradient_magnitude(x), weights)
    theirs = _centred(gradient_magnitude(scan), weights)
    axes = tuple(range(2, x.ndim))
    count = weights.sum(axes)
    shared, own, other = (
        (weights * a * b).sum(axes) / count.clamp(min=1)
        for a, b in ((ours, theirs), (ours, ours), (theirs, theirs))
    )
    norm = (own.clamp(min=_FAINT**2) * other.clamp(min=_FAINT**2)).sqrt()
    return ((count > 0).to(shared.dtype) * (1 - shared / norm)).mean()


def mind(x: Tensor) -> Tensor:
    """How much each pixel's surroundings are like those of its neighbours along each axis.

    Heinrich et al. 2012, "MIND: Modality independent neighbourhood descriptor for multi-modal
    deformable registration", Medical Image Analysis 16(7).

    Args:
        x: images `(B, C, *spatial)`, any units.

    Returns:
        `(B, C, 2 · axes, *spatial)` in (0, 1], the largest of each pixel being 1; it does not
        change where an image's values are scaled, shifted or turned over.
    """
    x = at_least_fp32(x)
    deviations = [_PATCH] * (x.ndim - 2)
    parts = []
    for axis in range(2, x.ndim):
        wide, size = extended(x, axis, 1, "nearest"), x.shape[axis]
        for start in (2, 0):  # the neighbour behind, then the one before
            squares = (x - wide.narrow(axis, start, size)).square()
            parts.append(smoothed(squares, deviations, _PATCH_ENDS, "reflect"))
    distances = torch.stack(parts, dim=2)
    variance = distances.mean(dim=2, keepdim=True)
    mean = variance.mean(dim=tuple(range(2, variance.ndim)), keepdim=True)
    # Of an image of one value everything is 0, and all neighbours are alike.
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny ** 0.5)
    variance = torch.minimum(torch.maximum(variance, _VARIANCE[0] * mean), _VARIANCE[1] * mean)
    # The nearest neighbour to 1 before the exponential, which could be 0 for all of them.
    return torch.exp((distances.amin(dim=2, keepdim=True) - distances) / variance)


def mind_distance(x: Tensor, scan: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of both images' descriptors, see `mind`.

    Args:
        x: images `(B, C, *spatial)`.
        scan: images of the same shape.
        mask: bool `(B, 1, *spatial)`, where to look; None is everywhere.

    Returns:
        A scalar in [0, 1).
    """
    return _mean((mind(x) - mind(scan)).abs().mean(dim=2), mask)


def local_correlation_distance(
    x: Tensor, scan: Tensor, mask: Tensor | None = None, window: int = 9
) -> Tensor:
    """1 − the squared correlation of both images in a window around each pixel.

    MONAI's local normalised cross-correlation (as in Avants et al. 2008, "Symmetric diffeomorphic
    image registration with cross-correlation", Medical Image Analysis 12(1)): a window whose
    contrast is scaled, shifted or inverted is as it was.

    Args:
        x: images `(B, C, *spatial)` in [-1, 1].
        scan: images of the same shape.
        mask: bool `(B, 1, *spatial)`, the windows' middles; None is all.
        window: side (pixels), an odd number.

    Returns:
        A scalar in [0, 1]; windows of one value count 1.
    """
    measure, reach = _local_correlation(x.ndim - 2, window), window // 2
    images = [_one_by_one(at_least_fp32(image)) for image in (x, scan)]
    for axis in range(2, x.ndim):  # MONAI would see zeros beyond the images
        images = [extended(image, axis, reach, "nearest") for image in images]
    with torch.autocast(x.device.type, enabled=False):
        squares: Tensor = -measure(*images)
    for axis in range(2, x.ndim):
        squares = squares.narrow(axis, reach, x.shape[axis])
    return _mean(1 - squares.unflatten(0, x.shape[:2]).squeeze(2), mask)


def information_lost(x: Tensor, scan: Tensor, mask: Tensor | None = None, bins: int = 32) -> Tensor:
    """The share of a scan's information that its translation does not tell.

    1 − I(x, scan) / I(scan, scan), with MONAI's mutual information by Parzen windows (Viola &
    Wells 1997, "Alignment by maximization of mutual information", IJCV 24(2); Gaussian ones).
    Any one-to-one change of intensities loses next to nothing, wherever it stays above a bin.

    Args:
        x: images `(B, C, *spatial)` in [-1, 1]; values beyond are clipped.
        scan: images of the same shape.
        mask: bool `(B, 1, *spatial)`, where to look; None is everywhere.
        bins: of the intensities in [-1, 1].

    Returns:
        A scalar of about [0, 1].
    """
    measure = _information(bins)
    ours, theirs = (_one_by_one((at_least_fp32(image) + 1) / 2) for image in (x, scan))
    where = None if mask is None else mask.repeat_interleave(x.shape[1], dim=0)
    lost = []
    with torch.autocast(x.device.type, enabled=False):
        for number in range(len(ours)):
            a, b = ours[number : number + 1], theirs[number : number + 1]
            if where is not None:
                inside = where[number : number + 1]
                if not inside.any():
                    lost.append(a.sum() * 0)
                    continue
                a, b = a[inside][None], b[inside][None]
            with torch.no_grad():
                own = -measure(b, b)
            lost.append((own + measure(a, b)) / own.clamp(min=_LEAST_INFORMATION))
    return torch.stack(lost).mean()


# Neither is kept: made while memory is foretold, they hold tensors without data.
def _local_correlation(dims: int, window: int) -> LocalNormalizedCrossCorrelationLoss:
    least = window**dims * _FLAT**2
    return LocalNormalizedCrossCorrelationLoss(
        dims, kernel_size=window, reduction="none", smooth_dr=least
    )


def _information(bins: int) -> GlobalMutualInformationLoss:
    return GlobalMutualInformationLoss(num_bins=bins)


def _one_by_one(x: Tensor) -> Tensor:
    """`(B · C, 1, *spatial)`."""
    return x.flatten(0, 1).unsqueeze(1)


def _weights(mask: Tensor | None, like: Tensor) -> Tensor:
    """1 where to look and 0 elsewhere, `(B, 1, *spatial)`."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    if mask is None:
        shape = (len(like), 1, *like.shape[2:])
        return torch.ones(shape, dtype=dtype, device=like.device)
    return mask.to(dtype)


def _centred(values: Tensor, weights: Tensor) -> Tensor:
    axes = tuple(range(2, values.ndim))
    count = weights.sum(axes, keepdim=True).clamp(min=1)
    return values - (weights * values).sum(axes, keepdim=True) / count


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over where to look of each image `(B, C, *spatial)`, then over images."""
    weights = _weights(mask, values)
    axes = tuple(range(2, values.ndim))
    sums = (weights * values).sum(axes) / weights.sum(axes).clamp(min=1)
    return sums.mean()
