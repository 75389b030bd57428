"""What a translation gives beside its voxels: scales, and what had to be clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.words import Direction
from medstyle_gan.inference.scope import ScopeReport
from medstyle_gan.volumes.workspace import release, slabs, slow_axis

Image = TypeVar("Image")


@dataclass(frozen=True)
class ClippedVoxels:
    """How many voxels of a volume lost their value.

    Attributes:
        input_below: voxels of the input under the range that the network was trained on.
        input_above: voxels of the input above it.
        output: values of the translation beyond the type that it is written in.
        total: voxels of the input.
    """

    input_below: int
    input_above: int
    output: int
    total: int


@dataclass(frozen=True)
class Translation(Generic[Image]):
    """A translated image and how it came about.

    Attributes:
        image: the translated `Volume`, or a picture's pixels `(H, W, 1 | 3)` uint8.
        direction: which way.
        input_scale: native units of the input ↔ [-1, 1].
        output_scale: [-1, 1] ↔ native units of the translation.
        background: native value that the translation has outside the body; None for pictures.
        clipped: counts of clipped voxels.
        warnings: what is noteworthy, without names or paths.
        scope: whether the input is of the model's kind; None where that was not looked at.
        uncertainty: where it was asked for, how far several translations of the image differ:
            their standard deviation, as float32 in the translation's units and on its grid,
            0 outside the body.
        gradient_correlation: where the input's structure was preserved, the least correlation of
            a slice's gradients with the input's, see `methods.affine_structure`.
    """

    image: Image
    direction: Direction
    input_scale: FittedScale
    output_scale: FittedScale
    background: float | None
    clipped: ClippedVoxels
    warnings: tuple[str, ...] = ()
    scope: ScopeReport | None = None
    uncertainty: Image | None = None
    gradient_correlation: float | None = None


def count_clipped(array: np.ndarray, scale: FittedScale, output: int) -> ClippedVoxels:
    """Count the input's values beyond its scale (none where the scale does not clip).

    Args:
        array: the input in native units.
        scale: its intensity scale.
        output: values of the translation that were clipped.
    """
    below = above = 0
    if scale.clip:
        for slab in slabs(array.shape, slow_axis(array)):
            below += int(np.count_nonzero(array[slab] < scale.center - scale.half_range))
            above += int(np.count_nonzero(array[slab] > scale.center + scale.half_range))
            release(array)
    return ClippedVoxels(below, above, output, int(array.size))


def native_body(
    unit: np.ndarray, foreground: np.ndarray, scale: FittedScale, background: float
) -> np.ndarray:
    """Turn a translation in [-1, 1] into native units, slab by slab, in its own memory.

    Args:
        unit: `(C, X, Y, Z)` float32; it is changed.
        foreground: bool `(X, Y, Z)`, the body.
        scale: intensity scale of the translation.
        background: native value outside the body.

    Returns:
        `unit`, in native units.
    """
    for slab in slabs(unit.shape, slow_axis(unit)):
        unit[slab] = np.where(
            foreground[slab[1:]], scale.from_unit(unit[slab]), np.float32(background)
        )
        release(unit, foreground)
    return unit
