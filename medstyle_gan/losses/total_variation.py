"""Total variation: how rough an image is (Rudin, Osher & Fatemi 1992)."""

from __future__ import annotations

import torch
from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


def total_variation(x: Tensor) -> Tensor:
    """Anisotropic L1 total variation per value of the image, averaged over images, in fp32.

    Args:
        x: images `(B, C, *spatial)`.

    Returns:
        Σ |differences between neighbours along each spatial axis| / number of values.
    """
    x = at_least_fp32(x)
    sums = [x.diff(dim=axis).abs().sum() for axis in range(2, x.ndim)]
    return torch.stack(sums).sum() / x.numel()
