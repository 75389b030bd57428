"""2-D samples: slices read from the cache, cropped, flipped and deformed."""

from __future__ import annotations

import numpy as np
import torch

from medstyle_gan.config.schema import DataConfig
from medstyle_gan.data.augmentation import SampleTransform
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.drawing import draw_pair


class SliceSamples:
    """Makes 2-D samples `(C, *sample_size)`, see `SampleTransform`.

    Args:
        config: its `sample_size`, `plane`, `sampler` and `augmentation` are used.
    """

    def __init__(self, config: DataConfig) -> None:
        self._sampler = config.sampler
        self._transform = SampleTransform(config)

    def draw(
        self, scan: CachedCollection, style: CachedCollection, rng: np.random.Generator
    ) -> tuple[tuple[CachedVolume, int], tuple[CachedVolume, int]]:
        """A scan and a style slice, see `draw_pair`."""
        return draw_pair(scan, style, self._sampler, rng)

    def augmented(
        self, volume: CachedVolume, place: int, state: np.random.RandomState
    ) -> torch.Tensor:
        """The slice at a place, randomly changed: (C, *sample_size) float32."""
        image = volume.read(place)
        return self._transform.augmented(image, volume.center, _fill(volume), state)

    def fixed(self, volume: CachedVolume, height: float) -> torch.Tensor:
        """The slice at a relative height of the body, unchanged."""
        index = min(max(round(volume.position_of(height)), 0), len(volume) - 1)
        return self._transform.plain(volume.read(index), volume.center, _fill(volume))


def _fill(volume: CachedVolume) -> float | None:
    return None if volume.is_picture else volume.fill
