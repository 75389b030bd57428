"""L1 distance, for the cycle and the identity terms."""

from __future__ import annotations

from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


def l1(x: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference over images, channels and positions, in fp32.

    Args:
        x: images `(B, C, *spatial)`.
        target: images of the same shape.

    Returns:
        A scalar.
    """
    return (at_least_fp32(x) - at_least_fp32(target)).abs().mean()
