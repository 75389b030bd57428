"""Padding of images to sizes that a generator takes, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pad_images(
    images: np.ndarray, sample_size: Sequence[int], divisor: int, fill: float
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Pad slices or volumes as training pads them, then to the generator's divisor.

    An image smaller than the sample gets the border of background that it had in training,
    because instance normalisation sees how much of an image is background. A size that the
    divisor does not divide is filled up by reflection, to at least two divisors, the least
    that the generators' own reflection padding and normalisation can work with.

    Args:
        images: `(N, C, *spatial)` in [-1, 1].
        sample_size: of a training sample (pixels or voxels).
        divisor: what the padded sizes must be multiples of.
        fill: the background in [-1, 1].

    Returns:
        the padded images, and where the given ones lie in their spatial axes.
    """
    sizes = images.shape[2:]
    at_least = [max(pair) for pair in zip(sizes, sample_size, strict=True)]
    border, inner = _centred(sizes, at_least)
    padded = np.pad(images, border, constant_values=fill)
    border, outer = _centred(at_least, [max(-(-n // divisor), 2) * divisor for n in at_least])
    # numpy reflects repeatedly where the border is wider than the image; torch refuses.
    padded = np.pad(padded, border, mode="reflect")
    return padded, tuple(
        slice(a + b, a + b + size) for a, b, size in zip(inner, outer, sizes, strict=True)
    )


def _centred(size: Sequence[int], target: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Widths for `np.pad` from size to target, and where the original then starts."""
    first = [(t - n) // 2 for n, t in zip(size, target, strict=True)]
    widths = [(b, t - n - b) for b, n, t in zip(first, size, target, strict=True)]
    return [(0, 0), (0, 0), *widths], first
