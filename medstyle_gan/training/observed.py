"""What the training's callbacks may ask of a method, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import lightning as L
from torch import Tensor

from medstyle_gan.data.words import Direction


class Observed(Protocol):
    """A method as its observers see it.

    Attributes:
        directions: ways that it translates by itself.
        step: steps done, however many optimisers each has.
        logged: the latest step's detached scalars, such as `loss/generator` and
            `learning_rate/generator`; a term computed only every few steps is missing in others.
        skipped: steps whose update was left out, its loss or gradients not being finite.
        skipped_in_a_row: how many of the latest steps those are.
    """

    directions: tuple[Direction, ...]
    step: int
    skipped: int
    skipped_in_a_row: int
    logged: dict[str, Tensor]

    def translate(
        self,
        images: Tensor,
        direction: Direction,
        ema: bool = True,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Images (B, C, *spatial) of one domain as of the other, by the moving average.

        With the images' body, bool (B, 1 or slices, *spatial), where translations are clamped.
        """
        ...

    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Domain → [image, translation, reconstruction, identity], each (B, C, *spatial).

        A method that has no such stage leaves it and what follows out.
        """
        ...


def observed(module: L.LightningModule) -> Observed:
    """The module as a method; Lightning's own type hides plain attributes."""
    return cast(Observed, module)
