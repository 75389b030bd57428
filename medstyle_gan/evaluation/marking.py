"""The visible mark of translations in the pictures of a report."""

from __future__ import annotations

from typing import Any

import numpy as np

from medstyle_gan.inference.enlarging import enlarged
from medstyle_gan.inference.synthetic_mark import SHARE, mark_synthetic

_LETTERS = 8  # height of the letters where the slice is looked at (pixels)


def marked_slice(image: np.ndarray, aspect: float, shown: int) -> np.ndarray:
    """A translated slice with SYNTHETIC in its quietest corner.

    Args:
        image: (rows, columns) in [-1, 1].
        aspect: height over width of a pixel.
        shown: how long its longer side is where it is looked at (pixels).

    Returns:
        (rows', columns') float32 in [-1, 1]: pixels are square, and repeated where there are too
        few to write with.
    """
    large = np.clip(enlarged(image, aspect, shown), -1, 1)
    grey = np.rint((large + 1) * 127.5).astype(np.uint8)
    (marked,) = mark_synthetic([grey], large, max(SHARE, _LETTERS / shown))
    return np.where(marked != grey, marked / np.float32(127.5) - 1, large)


def show_slice(
    panel: Any, image: np.ndarray, aspect: float = 1.0, *, mark: bool = False, shown: int = 220
) -> None:
    """Draws a slice in grey, its pixels at whole coordinates.

    Args:
        panel: matplotlib's axes.
        image: (rows, columns) in [-1, 1].
        aspect: height over width of a pixel.
        mark: write SYNTHETIC into it.
        shown: how long its longer side is in the picture (pixels).
    """
    rows, columns = image.shape
    panel.imshow(
        marked_slice(image, aspect, shown) if mark else image,
        cmap="gray",
        vmin=-1,
        vmax=1,
        aspect=aspect,
        # With mark there are more pixels than the image has: what is drawn on it must fit.
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
        interpolation="nearest",
    )
