"""Padding of images to sizes that a generator takes, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_Border = tuple[int, int]


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
    background, reflected = _borders(sizes, sample_size, divisor, offsets)
    padded = np.pad(images, [(0, 0), (0, 0), *background], constant_values=fill)
    # numpy reflects repeatedly where the border is wider than the image; torch refuses.
    padded = np.pad(padded, [(0, 0), (0, 0), *reflected], mode="reflect")
    first = [a + b for (a, _), (b, _) in zip(background, reflected, strict=True)]
    return padded, tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))


def padded_size(
    size: Sequence[int],
    sample_size: Sequence[int],
    divisor: int,
    offsets: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The size that `pad_images` gives images of a size."""
    background, reflected = _borders(size, sample_size, divisor, offsets)
    return tuple(n + sum(a) + sum(b) for n, a, b in zip(size, background, reflected, strict=True))


def _borders(
    sizes: Sequence[int], sample_size: Sequence[int], divisor: int, offsets: Sequence[int] | None
) -> tuple[list[_Border], list[_Border]]:
    """What is added before and behind along each axis: of background, then by reflection."""
    background, reflected = [], []
    for size, sample, offset in zip(sizes, sample_size, offsets or [0] * len(sizes), strict=True):
        at_least = max(size, sample)
        border, left = _placed(size, at_least, offset)
        background.append(border)
        border, left = _placed(at_least, max(-(-at_least // divisor), 2) * divisor, left)
        begin, end = border
        reflected.append((begin + left, end + (divisor - left if left else 0)))
    return background, reflected


def _placed(size: int, target: int, offset: int) -> tuple[_Border, int]:
    """An image in the middle of a larger one, or beside it where there is room for an offset.

    Returns:
        what is added before and behind, and what found no room of the offset.
    """
    begin = (target - size) // 2
    fits = target - size - begin >= offset
    begin += offset if fits else 0
    return (begin, target - size - begin), 0 if fits else offset
