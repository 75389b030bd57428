"""L1 distance, for the cycle and the identity terms."""

from __future__ import annotations

from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


def l1(x: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference over images, channels and positions, in fp32.

    With a mask it is the mean over each image's own positions inside, then over images: small
    bodies count as much as large ones.

    Args:
        x: images `(B, C, *spatial)`.
        target: images of the same shape.
        mask: bool `(B, 1 or C, *spatial)`, where to look; None is everywhere. An image of which
            nothing is inside gives 0.

    Returns:
        A scalar.
    """
    difference = (at_least_fp32(x) - at_least_fp32(target)).abs()
    if mask is None:
        return difference.mean()
    inside = mask.to(difference.dtype).expand_as(difference)
    axes = tuple(range(1, x.ndim))
    return ((inside * difference).sum(axes) / inside.sum(axes).clamp(min=1)).mean()
