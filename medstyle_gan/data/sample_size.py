"""Whether samples of the asked size would hold more image than padding."""

from __future__ import annotations

from collections.abc import Sequence

from medstyle_gan.data.words import Domain

# Padding a slice by up to a quarter of its size keeps the sample mostly image.
LARGEST_PADDING = 1.25


def sample_size_fault(
    slice_sizes: Sequence[tuple[int, int]], sample_size: tuple[int, int], domain: Domain
) -> str | None:
    """What is wrong with a sample size, or None.

    A sample may be larger than a slice, which is then padded. It is too large when, in every
    volume, both axes would have to be padded by more than a quarter.

    Args:
        slice_sizes: (H, W) of each volume's slices at the working spacing (pixels).
        sample_size: the asked (H, W).
        domain: whose volumes they are.
    """
    if not slice_sizes or any(
        size <= LARGEST_PADDING * length
        for lengths in slice_sizes
        for size, length in zip(sample_size, lengths, strict=True)
    ):
        return None
    largest = [max(lengths[axis] for lengths in slice_sizes) for axis in (0, 1)]
    fits = [max(8, length // 8 * 8) for length in largest]
    return (
        f"data.sample_size {sample_size[0]}x{sample_size[1]} is larger than every volume of the "
        f"{domain} collection, whose largest slice at data.spacing is {largest[0]}x{largest[1]} "
        f"pixels; set data.sample_size=[{fits[0]},{fits[1]}] or a smaller data.spacing"
    )
