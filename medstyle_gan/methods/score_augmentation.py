"""Discriminators that see their images moved and with holes (Zhao et al. 2020).

"Differentiable augmentation for data-efficient GAN training": real images and translations alike,
and for the generators too, so that nothing of it leaks into the translations. Of the paper's
changes translation and cutout; its changes of brightness and contrast would teach generators that
intensities do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config.network_sections import ScoreAugmentationConfig

Shown = Literal["translation", "real", "fake"]
_STREAMS: dict[Shown, int] = {"translation": 0, "real": 1, "fake": 2}
# Where these streams of random numbers begin: those of the VGG-19's views end far below.
_COUNTER = 1 << 193
# What is moved in and what holes hold: the lowest value, mostly air.
_FILL = -1.0


class ScoreAugmentation:
    """Moves each image by a random whole number of pixels and cuts a random box out of it.

    Choices are keyed by (seed, step, place in the global batch, what is shown): they do not depend
    on how a batch is cut, and a resumed training makes the same ones.

    Args:
        config: how far and how much; at 0 and 0 images go through untouched.
        seed: key of the choices; give each discriminator its own.
    """

    def __init__(self, config: ScoreAugmentationConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def __call__(self, images: Tensor, step: int, position: int, shown: Shown) -> Tensor:
        """What a discriminator sees of images.

        Args:
            images: `(B, C, *spatial)` in [-1, 1].
            step: the training step, part of the key.
            position: of the first image in the step's batch over all processes, part of the key;
                the others follow it.
            shown: to the generator (`translation`) or to the discriminator, part of the key.

        Returns:
            Images of the same shape; gradients flow to what is still seen.
        """
        if not (self.config.translation or self.config.cutout):
            return images
        changed = [
            self._changed(image, step, position + place, shown)
            for place, image in enumerate(images)
        ]
        return torch.stack(changed)

    def _changed(self, image: Tensor, step: int, place: int, shown: Shown) -> Tensor:
        counter = _COUNTER + (_STREAMS[shown] << 64)
        key = [self.seed, (step << 16) + place]
        rng = np.random.Generator(np.random.Philox(counter=counter, key=key))
        size = image.shape[1:]
        farthest = [round(self.config.translation * side) for side in size]
        shifts = [int(rng.integers(-far, far + 1)) for far in farthest]
        box = [round(self.config.cutout * side) for side in size]
        # The middle anywhere in the image, so that the box may reach beyond it.
        middle = [int(rng.integers(side)) for side in size]
        image = moved(image, shifts)
        if not all(box):
            return image
        hole = tuple(
            slice(max(0, m - b // 2), max(0, m - b // 2 + b))
            for m, b in zip(middle, box, strict=True)
        )
        kept = torch.ones(size, dtype=torch.bool, device=image.device)
        kept[hole] = False
        return torch.where(kept, image, _FILL)


def moved(image: Tensor, shifts: Sequence[int]) -> Tensor:
    """An image `(C, *spatial)` moved by whole pixels along each axis; air is moved in."""
    if not any(shifts):
        return image
    widths = [w for shift in reversed(shifts) for w in (max(shift, 0), max(-shift, 0))]
    wide = F.pad(image, widths, value=_FILL)
    for axis, (shift, size) in enumerate(zip(shifts, image.shape[1:], strict=True), start=1):
        wide = wide.narrow(axis, max(-shift, 0), size)
    return wide
