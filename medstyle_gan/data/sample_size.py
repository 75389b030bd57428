"""Whether samples of the asked size would hold more image than padding."""

from __future__ import annotations

from collections.abc import Sequence

from medstyle_gan.data.words import Domain

# Padding a slice by up to a quarter of its size keeps the sample mostly image.
LARGEST_PADDING = 1.25


def sample_size_fault(
    sizes: Sequence[tuple[int, ...]], sample_size: tuple[int, ...], domain: Domain
) -> str | None:
    """What is wrong with a sample size, or None.

    A sample may be larger than a slice or a volume, which is then padded. It is too large when,
    in every volume, more than one axis would have to be padded by more than a quarter.

    Args:
        sizes: (H, W) of each volume's slices at the working spacing (pixels), or its (X, Y, Z)
            where samples are 3-D.
        sample_size: the asked size.
        domain: whose volumes they are.
    """
    if not sizes or any(_padded_axes(lengths, sample_size) <= 1 for lengths in sizes):
        return None
    largest = [max(lengths) for lengths in zip(*sizes, strict=True)]
    fits = [max(8, length // 8 * 8) for length in largest]
    slices = len(sample_size) == 2
    return (
        f"data.sample_size {_by(sample_size)} is larger than every volume of the {domain} "
        f"collection, whose largest {'slice ' if slices else ''}at data.spacing is {_by(largest)} "
        f"{'pixels' if slices else 'voxels'}; set data.sample_size=[{','.join(map(str, fits))}] "
        "or a smaller data.spacing"
    )


def _padded_axes(lengths: Sequence[int], sample_size: Sequence[int]) -> int:
    return sum(
        size > LARGEST_PADDING * length for size, length in zip(sample_size, lengths, strict=True)
    )


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
