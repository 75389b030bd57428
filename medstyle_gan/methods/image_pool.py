"""Past translations for the discriminators (Shrivastava et al. 2017, as in CycleGAN)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ImagePool:
    """Gives discriminators a mix of new and past translations.

    Each place in the global batch has a pool of its own, an equal part of `size`. So what a
    place sees does not depend on how many processes share the batch: each process keeps the
    places of its own images, and nothing is exchanged. Every choice is keyed by (seed, step,
    place), so that a resumed training makes the same choices as one that never stopped.
    Images that are not finite are not kept: they would spoil later steps.

    Args:
        size: images kept over all places; 0 hands every batch through unchanged.
        seed: key of the choices; give each pool its own.
        places: samples in the global batch. Where it exceeds `size`, the last places hand
            their images through.

    Attributes:
        images: place → its stored images.
    """

    def __init__(self, size: int, seed: int, places: int = 1) -> None:
        self.size = size
        self.seed = seed
        self.places = places
        self.images: dict[int, list[Tensor]] = {}

    def capacity(self, place: int) -> int:
        """Images that a place keeps; over all places they sum up to `size`."""
        share, left = divmod(self.size, self.places)
        return share + (place < left)

    def exchange(self, images: Tensor, step: int, position: int = 0) -> Tensor:
        """Store new images and return as many, each new or past with equal chance.

        Args:
            images: detached translations `(B, C, *spatial)`.
            step: the training step, part of the key.
            position: of the first image in the step's batch over all processes, part of the
                key; the others follow it. Beyond `places` it begins again at the first place.

        Returns:
            `(B, C, *spatial)`, once the pools are full half of it from earlier steps.
        """
        if self.size == 0:
            return images
        finite = images.isfinite().flatten(1).all(dim=1)
        return torch.stack(
            [
                self._swap(image, good, step, place)
                for place, (image, good) in enumerate(zip(images, finite, strict=True), position)
            ]
        )

    def _swap(self, image: Tensor, finite: Tensor, step: int, position: int) -> Tensor:
        place = position % self.places
        capacity = self.capacity(place)
        if capacity == 0:
            return image
        stored = self.images.setdefault(place, [])
        # What stands in for a bad image is chosen without waiting for the device.
        if len(stored) < capacity:
            former = stored[-1] if stored else torch.zeros_like(image)
            stored.append(torch.where(finite, image, former))
            return image
        rng = np.random.Generator(np.random.Philox(key=[self.seed, (step << 16) + position]))
        if rng.random() >= 0.5:
            return image
        slot = int(rng.integers(capacity))
        past = stored[slot]
        stored[slot] = torch.where(finite, image, past)
        return past

    def state_dict(self) -> dict[str, Any]:
        """The stored images: place → `(N, C, *spatial)`."""
        return {"images": {place: torch.stack(x) for place, x in self.images.items() if x}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the images of `state_dict`, or of several merged by `merge_states`."""
        self.images = {place: list(x.unbind()) for place, x in state["images"].items()}

    def keep(self, places: Iterable[int]) -> None:
        """Forget the images of all other places: other processes keep them."""
        self.images = {place: self.images[place] for place in places if place in self.images}

    def to(self, device: torch.device) -> None:
        """Move the stored images."""
        self.images = {
            place: [image.to(device) for image in stored] for place, stored in self.images.items()
        }


def merge_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One `ImagePool.state_dict` of those of all processes, by place."""
    images = {place: x for state in states for place, x in state["images"].items()}
    return {"images": dict(sorted(images.items()))}
