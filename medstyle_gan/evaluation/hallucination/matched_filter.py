"""Is a lesion visible in the difference of two translations? A matched filter at its place.

The filter is the lesion's own shape minus its mean over a small box, so that a change of
brightness all over cancels. Its response is the contrast of that shape in the difference, in the
difference's units; the same filter at places of the body without a lesion gives the noise that it
is compared with. For white noise this is the ideal observer of a known signal at a known place
(Burgess 1999, "The Rose model, revisited", J. Opt. Soc. Am. A 16).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.evaluation.chapter import Array
from medstyle_gan.evaluation.hallucination.blobs import Box, place

CNR_THRESHOLD = 3.0
"""Contrast to noise from which a lesion counts as visible (Rose 1948 asks 3 to 5)."""

VISIBLE_SHARE = 0.05
"""Least contrast that counts as visible, of the translation's range: about 13 of 256 greys."""

_SMALLEST_RANGE = 0.2  # [-1, 1] units: what changes less has no range of its own
_BACKGROUND_PLACES = 64


@dataclass(frozen=True)
class Response:
    """What a matched filter found at one place.

    Attributes:
        contrast: of the shape in the difference, in its units, signed.
        noise: the filter's root mean square response in the background.
    """

    contrast: float
    noise: float

    @property
    def cnr(self) -> float:
        """Contrast to noise, at least 0; infinite in a difference without noise."""
        if self.contrast == 0:
            return 0.0
        return abs(self.contrast) / self.noise if self.noise > 0 else np.inf

    def visible(self, full_range: float) -> bool:
        """Whether it stands out of the noise and would be seen at all.

        Args:
            full_range: of the translation in the body, see `intensity_range`.
        """
        least = VISIBLE_SHARE * max(full_range, _SMALLEST_RANGE)
        return self.cnr >= CNR_THRESHOLD and abs(self.contrast) >= least


def matched_filter(
    difference: Array,
    shape: Array,
    center: tuple[int, int, int],
    background: NDArray[np.intp],
    rng: np.random.Generator,
) -> Response:
    """Looks for a shape at its place in a difference.

    Args:
        difference: (X, Y, Z), with the lesion minus without it.
        shape: (x, y, z) odd sizes, in [0, 1], 0 around the lesion.
        center: voxel of the shape's middle.
        background: flat indices of voxels that noise may be measured around; may be empty.
        rng: source of background places.

    Raises:
        ValueError: the shape does not vary, so that there is nothing to look for.
    """
    box, inside = place(shape, center, difference.shape)
    contrast = filter_response(difference[box], inside)
    chosen = rng.choice(background, min(_BACKGROUND_PLACES, background.size), replace=False)
    found = [
        _response_at(difference, shape, np.unravel_index(int(index), difference.shape))
        for index in chosen
    ]
    responses = [response for response in found if response is not None]
    noise = float(np.sqrt(np.mean(np.square(responses)))) if responses else 0.0
    return Response(contrast, noise)


def filter_response(values: Array, shape: Array) -> float:
    """The least-squares contrast of a shape over an even background.

    Args:
        values: a box of the difference.
        shape: as large, the lesion's share of each voxel.
    """
    template = shape.astype(np.float64) - shape.mean()
    energy = float((template * shape).sum())
    if energy <= 1e-12:
        raise ValueError("the shape fills its box: nothing is around it to compare with")
    return float((template * values).sum() / energy)


def _response_at(difference: Array, shape: Array, center: tuple[np.intp, ...]) -> float | None:
    """The response at a background place; None where the box leaves most of the shape out."""
    x, y, z = (int(c) for c in center)
    box, inside = place(shape, (x, y, z), difference.shape)
    if inside.sum() < 0.99 * shape.sum():
        return None
    return filter_response(difference[box], inside)


def around(box: Box, shape: tuple[int, ...], margin: tuple[int, ...]) -> Box:
    """The box with a margin of voxels, inside the volume."""
    x, y, z = (
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, n, m in zip(box, shape, margin, strict=True)
    )
    return x, y, z
