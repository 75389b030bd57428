"""Padding of slices to sizes that a generator takes, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pad_slices(
    slices: np.ndarray, sample_size: Sequence[int], divisor: int, fill: float
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Pad slices as training pads them, then to the generator's divisor.

    A slice smaller than the sample gets the border of background that it had in training,
    because instance normalisation sees how much of an image is background. A size that the
    divisor does not divide is filled up by reflection, to at least two divisors, the least
    that the generators' own reflection padding and normalisation can work with.

    Args:
        slices: `(N, C, H, W)` in [-1, 1].
        sample_size: height and width of a training sample (pixels).
        divisor: what the padded sizes must be multiples of.
        fill: the background in [-1, 1].

    Returns:
        the padded slices `(N, C, H', W')` and where the given ones lie in H' and W'.
    """
    height, width = slices.shape[2:]
    at_least = (max(height, sample_size[0]), max(width, sample_size[1]))
    border, inner = _centred((height, width), at_least)
    padded = np.pad(slices, border, constant_values=fill)
    rows, columns = (max(-(-size // divisor), 2) * divisor for size in at_least)
    border, outer = _centred(at_least, (rows, columns))
    # numpy reflects repeatedly where the border is wider than the image; torch refuses.
    padded = np.pad(padded, border, mode="reflect")
    return padded, (
        slice(outer[0] + inner[0], outer[0] + inner[0] + height),
        slice(outer[1] + inner[1], outer[1] + inner[1] + width),
    )


def _centred(
    size: tuple[int, int], target: tuple[int, int]
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Widths for `np.pad` from size to target, and where the original then starts."""
    first = ((target[0] - size[0]) // 2, (target[1] - size[1]) // 2)
    widths = [(b, t - n - b) for b, n, t in zip(first, size, target, strict=True)]
    return [(0, 0), (0, 0), *widths], first
