"""The sizes of images: those that a network can take, and images brought to one."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.errors import UserError


def check_sizes(x: Tensor, divisor: int = 1, minimum: int = 1) -> None:
    """Refuse images whose sizes a network would change or fail on deep inside.

    Args:
        x: images `(B, C, *spatial)`.
        divisor: what every spatial size must be a multiple of.
        minimum: smallest spatial size.

    Raises:
        UserError: naming the size, the rule and the setting to change.
    """
    sizes = x.shape[2:]
    if min(sizes) >= minimum and all(size % divisor == 0 for size in sizes):
        return
    shown = "x".join(str(size) for size in sizes)
    multiple = f"multiples of {divisor} and " if divisor > 1 else ""
    raise UserError(
        f"images of {shown} do not fit the network: each size must be {multiple}at least "
        f"{minimum}; change data.sample_size, or take a network with fewer layers or levels"
    )


def resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """Images in another size, by linear interpolation without aliasing.

    Args:
        image: `(B, C, H, W)`.
        size: (H, W) wanted; images of that size are given back as they are.
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=tuple(size), mode="bilinear", antialias=True)
