"""Gaussian smoothing of images by sums of shifted copies: any size, any type, differentiable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

Border = Literal["nearest", "reflect"]


def smoothed(
    x: Tensor, deviations: Sequence[float], truncate: float = 4.0, border: Border = "nearest"
) -> Tensor:
    """What `scipy.ndimage.gaussian_filter` gives, along the spatial axes.

    A small kernel is a few multiplications and additions of whole images: no convolution of one
    channel, which CPUs run slowly and autocast in bfloat16.

    Args:
        x: images `(B, C, *spatial)`.
        deviations: standard deviation along each spatial axis (pixels); 0 leaves an axis alone.
        truncate: where the kernel ends (deviations).
        border: beyond the image its last pixel, or the image mirrored at its edge.
    """
    for axis, deviation in enumerate(deviations, start=2):
        width = int(truncate * deviation + 0.5)
        if deviation <= 0 or width == 0:
            continue
        taps = [math.exp(-0.5 * (place / deviation) ** 2) for place in range(-width, width + 1)]
        size, total, wide = x.shape[axis], sum(taps), extended(x, axis, width, border)
        parts = [tap / total * wide.narrow(axis, place, size) for place, tap in enumerate(taps)]
        x = reduce(torch.add, parts)
    return x


def extended(x: Tensor, axis: int, width: int, border: Border) -> Tensor:
    """An image made wider by `width` pixels at both ends of an axis."""
    size = x.shape[axis]
    if border == "nearest":
        shape = list(x.shape)
        shape[axis] = width
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
        return torch.cat([first.expand(shape), x, last.expand(shape)], axis)
    step = min(width, size)  # an image that is smaller than the kernel is mirrored again
    before, after = x.narrow(axis, 0, step).flip(axis), x.narrow(axis, size - step, step).flip(axis)
    wider = torch.cat([before, x, after], axis)
    return wider if step == width else extended(wider, axis, width - step, border)
