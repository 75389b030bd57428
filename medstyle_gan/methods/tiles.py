"""Tiles of a picture whose VGG-19 features, put together, are exactly those of the whole.

Each tile is seen with a margin as wide as what a feature depends on, and only its core's features
count. Losses of Gram matrices and their gradients then are exact in two passes over the tiles
(Galerne, Raad, Lezama & Morel 2024, "Scaling painting style transfer"): the first sums the Gram
matrices, the second takes the gradient that they hand to each tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from medstyle_gan.networks.vgg19 import LAYERS

Span = tuple[int, int]


def stride(layer: str) -> int:
    """Pixels of the picture that a step in a layer's features is."""
    stage = int(layer[4])  # convN_M, reluN_M, poolN
    return 2 ** (stage if layer.startswith("pool") else stage - 1)


def reach(layers: Sequence[str]) -> int:
    """How far (pixels) beyond its own place the deepest layer's features look."""
    deepest = max(LAYERS.index(name) for name in layers)
    return sum(stride(name) for name in LAYERS[: deepest + 1] if name.startswith("conv"))


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    Attributes:
        rows: first and end of the rows with their margin.
        columns: likewise.
        core_rows: first and end of the rows that count.
        core_columns: likewise.
        size: (H, W) of the picture.
    """

    rows: Span
    columns: Span
    core_rows: Span
    core_columns: Span
    size: tuple[int, int]

    def of_picture(self, picture: Tensor) -> Tensor:
        """The part of `(B, C, H, W)` with its margin, a view."""
        return picture[..., slice(*self.rows), slice(*self.columns)]

    def core(self, features: Tensor, layer: str) -> Tensor:
        """Of the part's features those of the core, a view."""
        rows, columns = self._cells(layer)
        step = stride(layer)
        above, left = self.rows[0] // step, self.columns[0] // step
        return features[
            ...,
            rows[0] - above : rows[1] - above,
            columns[0] - left : columns[1] - left,
        ]

    def core_of_whole(self, features: Tensor, layer: str) -> Tensor:
        """The core's part of what has the size of the whole picture's features, a view."""
        rows, columns = self._cells(layer)
        return features[..., slice(*rows), slice(*columns)]

    def _cells(self, layer: str) -> tuple[Span, Span]:
        step = stride(layer)
        # Pooling leaves out an odd last row or column, so the end is rounded down.
        rows, columns = self.core_rows, self.core_columns
        return (rows[0] // step, rows[1] // step), (columns[0] // step, columns[1] // step)


def make_tiles(size: tuple[int, int], side: int | None, layers: Sequence[str]) -> list[Tile]:
    """Cut a picture so that each layer's features fall into exactly one core.

    Args:
        size: (H, W) of the picture.
        side: of a core at most, but no less than a step of the deepest layer; None does not cut.
        layers: the layers that are looked at.

    Returns:
        The tiles, row by row; one that is the whole picture where nothing needs cutting.
    """
    step = max(stride(name) for name in layers)
    margin = -(-reach(layers) // step) * step
    spans = [_spans(length, side or length, step) for length in size]
    return [
        Tile(_widened(r, margin, size[0]), _widened(c, margin, size[1]), r, c, size)
        for r in spans[0]
        for c in spans[1]
    ]


def _spans(length: int, side: int, step: int) -> list[Span]:
    count = -(-length // side)
    width = max(step, -(-length // (count * step)) * step)
    edges = list(range(0, length, width))
    if length - edges[-1] < step and len(edges) > 1:  # it would hold no feature of the deepest
        edges.pop()
    return list(zip(edges, [*edges[1:], length], strict=True))


def _widened(span: Span, margin: int, length: int) -> Span:
    return max(0, span[0] - margin), min(length, span[1] + margin)
