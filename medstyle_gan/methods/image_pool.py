"""Past translations for the discriminators (Shrivastava et al. 2017, as in CycleGAN)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class ImagePool:
    """Gives discriminators a mix of new and past translations.

    Every choice is keyed by (seed, step, position in the batch), so that a resumed
    training makes the same choices as one that never stopped. Images that are not finite are
    not kept: they would spoil later steps.

    Args:
        size: images kept; 0 hands every batch through unchanged.
        seed: key of the choices; give each pool its own.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor, step: int, position: int = 0) -> Tensor:
        """Store new images and return as many, each new or past with equal chance.

        Args:
            images: detached translations `(B, C, *spatial)`.
            step: the training step, part of the key.
            position: of the first image in the step's batch, part of the key.

        Returns:
            `(B, C, *spatial)`, once the pool is full half of it from earlier steps.
        """
        if self.size == 0:
            return images
        chosen = []
        finite = images.isfinite().flatten(1).all(dim=1)
        for place, image in enumerate(images):
            if len(self.images) < self.size:
                # What replaces a bad image is chosen without waiting for the device.
                former = self.images[-1] if self.images else torch.zeros_like(image)
                self.images.append(torch.where(finite[place], image, former))
                chosen.append(image)
                continue
            rng = np.random.Generator(
                np.random.Philox(key=[self.seed, (step << 16) + position + place])
            )
            if rng.random() < 0.5:
                slot = int(rng.integers(self.size))
                chosen.append(self.images[slot])
                self.images[slot] = torch.where(finite[place], image, self.images[slot])
            else:
                chosen.append(image)
        return torch.stack(chosen)

    def state_dict(self) -> dict[str, Any]:
        """The stored images, as one tensor."""
        return {"images": torch.stack(self.images) if self.images else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the images of `state_dict`."""
        stored = state["images"]
        self.images = [] if stored is None else list(stored.unbind())

    def to(self, device: torch.device) -> None:
        """Move the stored images."""
        self.images = [image.to(device) for image in self.images]
