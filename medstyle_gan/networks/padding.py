"""Padding whose backward costs as little as its forward, in 2-D and 3-D."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PaddingMode = Literal["reflect", "replicate"]


class _Pad(torch.autograd.Function):
    """`F.pad` by the same width on both sides of every spatial axis.

    Torch's own backward on CPUs goes pixel by pixel, in bfloat16 at the cost of several
    convolutions of a generator. Here the gradient of the inside is copied and that of the
    borders added to where they came from, axis after axis.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int, mode: PaddingMode) -> Tensor:
        ctx.width, ctx.mode = width, mode
        return F.pad(x, (width, width) * (x.ndim - 2), mode=mode)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), width = gradients, ctx.width
        for axis in range(2, gradient.ndim):
            size = gradient.shape[axis] - 2 * width
            low, inside, high = gradient.split((width, size, width), axis)
            gradient = inside.clone(memory_format=torch.contiguous_format)
            if ctx.mode == "reflect":
                gradient.narrow(axis, 1, width).add_(low.flip(axis))
                gradient.narrow(axis, size - 1 - width, width).add_(high.flip(axis))
            else:
                gradient.narrow(axis, 0, 1).add_(low.sum(axis, keepdim=True))
                gradient.narrow(axis, size - 1, 1).add_(high.sum(axis, keepdim=True))
        return gradient, None, None


def pad(x: Tensor, width: int, mode: PaddingMode) -> Tensor:
    """Pad every spatial axis of `(B, C, *spatial)` on both sides, in the input's own type.

    On a CPU autocast would pad in fp32: a cast there, and one back before the convolution.

    Args:
        x: images.
        width: pixels on each side.
        mode: `reflect` needs sizes above `width`.
    """
    with torch.autocast(x.device.type, enabled=False):
        padded: Tensor = _Pad.apply(x, width, mode)
    return padded


class ReflectionPad(nn.Module):
    """Reflection padding in the input's own type.

    Args:
        width: pixels on each side of each axis.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Pad `(B, C, *spatial)`."""
        return pad(x, self.width, "reflect")


def pad_to_multiple(x: Tensor, divisor: int) -> tuple[Tensor, tuple[slice, slice]]:
    """Fill 2-D images up by reflection, to sizes that a network takes.

    Args:
        x: images `(B, C, H, W)`, no side below `divisor`.
        divisor: what both sizes become multiples of.

    Returns:
        The larger images, and where the given ones lie in their last two axes.
    """
    height, width = x.shape[-2:]
    down, right = -height % divisor, -width % divisor
    top, left = down // 2, right // 2
    padded = F.pad(x, (left, right - left, top, down - top), mode="reflect")
    return padded, (slice(top, top + height), slice(left, left + width))
