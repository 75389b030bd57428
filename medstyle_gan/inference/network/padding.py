"""Padding of images to sizes that a generator takes, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pad_images(
    images: np.ndarray,
    sample_size: Sequence[int],
    divisor: int,
    fill: float,
    offsets: Sequence[int] | None = None,
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
        offsets: by how many pixels the images lie farther along each axis than they would, at
            most the divisor; where there is no room for that, one divisor more is filled up.
            None is nowhere.

    Returns:
        the padded images, and where the given ones lie in their spatial axes.
    """
    sizes = images.shape[2:]
    at_least = [max(pair) for pair in zip(sizes, sample_size, strict=True)]
    border, inner, left = _placed(sizes, at_least, offsets or [0] * len(sizes))
    padded = np.pad(images, border, constant_values=fill)
    targets = [max(-(-n // divisor), 2) * divisor for n in at_least]
    border, outer, left = _placed(at_least, targets, left)
    border[2:] = [
        (begin + by, end + (divisor - by if by else 0))
        for (begin, end), by in zip(border[2:], left, strict=True)
    ]
    # numpy reflects repeatedly where the border is wider than the image; torch refuses.
    padded = np.pad(padded, border, mode="reflect")
    return padded, tuple(
        slice(a + b + by, a + b + by + size)
        for a, b, by, size in zip(inner, outer, left, sizes, strict=True)
    )


def _placed(
    size: Sequence[int], target: Sequence[int], offsets: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """An image in the middle of a larger one, or beside it where there is room for an offset.

    Returns:
        widths for `np.pad`, where the original then starts, and the offsets that found no room.
    """
    widths, first, left = [(0, 0), (0, 0)], [], []
    for n, t, offset in zip(size, target, offsets, strict=True):
        begin = (t - n) // 2
        fits = t - n - begin >= offset
        begin += offset if fits else 0
        widths.append((begin, t - n - begin))
        first.append(begin)
        left.append(0 if fits else offset)
    return widths, first, left
