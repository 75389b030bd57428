"""The visible mark of a picture that was made and not acquired: a label in its quietest corner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT = "SYNTHETIC"
SHARE = 1 / 32  # of the letters in the longer side of a picture
_SHARE_OF_HEIGHT = 1 / 6
_SHARE_OF_WIDTH = 1 / 2
_SMALLEST = 7


class Box(NamedTuple):
    """Where a label stands: its first row and column, and its size."""

    top: int
    left: int
    height: int
    width: int


def mark_synthetic(
    pictures: Sequence[np.ndarray], anatomy: np.ndarray, share: float = SHARE
) -> list[np.ndarray]:
    """Draw the label, white on black, at the same place of each picture.

    Args:
        pictures: `(H, W)` or `(H, W, 3)` uint8, all of one size.
        anatomy: `(H, W)`, what is to be seen in them; the label stands in the corner where it is
            flattest. Larger pictures have larger labels, small ones a shorter text.
        share: of the letters in the longer side.

    Returns:
        New pictures of the same shapes.
    """
    label = _label(anatomy.shape[0], anatomy.shape[1], share)
    box = quiet_corner(anatomy, label.shape[0], label.shape[1])
    marked = []
    for picture in pictures:
        copy = picture.copy()
        part = copy[box.top : box.top + box.height, box.left : box.left + box.width]
        part[:] = label if copy.ndim == 2 else label[..., None]
        marked.append(copy)
    return marked


def quiet_corner(anatomy: np.ndarray, height: int, width: int) -> Box:
    """The corner that varies least, the lower right one where several do.

    Args:
        anatomy: `(H, W)`.
        height: of the label, at most H.
        width: of the label, at most W.
    """
    rows, columns = anatomy.shape
    corners = [(rows - height, columns - width), (rows - height, 0), (0, columns - width), (0, 0)]

    def unrest(corner: tuple[int, int]) -> float:
        top, left = corner
        return float(np.ptp(anatomy[top : top + height, left : left + width]))

    top, left = min(corners, key=unrest)  # the first of equals
    return Box(top, left, height, width)


def _label(rows: int, columns: int, share: float) -> np.ndarray:
    """`(h, w)` uint8, no larger than the picture."""
    size = max(_SMALLEST, round(min(max(rows, columns) * share, rows * _SHARE_OF_HEIGHT)))
    for text in (TEXT, TEXT[:3], TEXT[:1]):
        while True:
            drawn = _drawn(text, size)
            if drawn.shape[1] <= columns * _SHARE_OF_WIDTH and drawn.shape[0] <= rows:
                return drawn
            if size == _SMALLEST:
                break
            size = max(_SMALLEST, size * 3 // 4)
    return drawn[:rows, :columns]


def _drawn(text: str, size: int) -> np.ndarray:
    font = ImageFont.load_default(size)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    margin = max(1, size // 5)
    canvas = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin), 0)
    ImageDraw.Draw(canvas).text((margin - left, margin - top), text, fill=255, font=font)
    return np.asarray(canvas)
