"""Slices as they are looked at: with square pixels, and large enough for a screen."""

from __future__ import annotations

import numpy as np


def enlarged(image: np.ndarray, aspect: float, longest: int) -> np.ndarray:
    """Nearest pixels: enlarged by a whole number where small, and stretched where not square.

    Args:
        image: `(rows, columns, ...)`.
        aspect: height over width of a pixel.
        longest: least longer side of the result (pixels).

    Returns:
        `(rows', columns', ...)`; a picture with square pixels that is large enough is itself.
    """
    rows, columns = image.shape[:2]
    tall, wide = max(1.0, aspect), max(1.0, 1 / aspect)
    times = max(1, -(-longest // round(max(rows * tall, columns * wide))))
    down = (np.arange(round(rows * tall * times)) / (tall * times)).astype(int)
    across = (np.arange(round(columns * wide * times)) / (wide * times)).astype(int)
    return image[np.ix_(down.clip(max=rows - 1), across.clip(max=columns - 1))]
