"""2-D and 2.5-D samples: slices read from the cache, cropped, flipped and deformed."""

from __future__ import annotations

import numpy as np
import torch

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.augmentation import SampleTransform
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.drawing import draw_pair, draw_slice, draw_style
from medstyle_gan.data.matching import PositionMatch
from medstyle_gan.data.slices import stacked_axis


class SliceSamples:
    """Makes samples `(C, *sample_size)` of slices, see `SampleTransform`.

    A 2.5-D sample has a slice and its neighbours on both sides as channels, in their order, all
    changed alike. At the ends of a volume the last slice stands for those beyond it.

    Args:
        config: its `sample_size`, `plane`, `neighbours`, `sampler` and `augmentation` are used.
    """

    def __init__(self, config: DataConfig) -> None:
        self._sampler = config.sampler
        self._match = PositionMatch(stacked_axis(config.plane))
        self._transform = SampleTransform(config)
        self._reach = config.sample_slices // 2

    def draw(
        self, scan: CachedCollection, style: CachedCollection, rng: np.random.Generator
    ) -> tuple[tuple[CachedVolume, int], tuple[CachedVolume, int]]:
        """A scan and a style slice, see `draw_pair`."""
        return draw_pair(scan, style, self._sampler, rng, self._match)

    def draw_style(
        self, scan: tuple[CachedVolume, int], style: CachedCollection, rng: np.random.Generator
    ) -> tuple[CachedVolume, int]:
        """A style slice for a scan's, see `drawing.draw_style`."""
        return draw_style(scan, style, self._sampler, rng, self._match)

    def place(self, volume: CachedVolume, rng: np.random.Generator) -> int:
        """A slice of a volume, see `draw_slice`."""
        return draw_slice(volume, self._sampler, rng)

    def augmented(
        self, volume: CachedVolume, place: int, state: np.random.RandomState
    ) -> torch.Tensor:
        """The slice at a place, randomly changed: (C, *sample_size) float32."""
        image = self._read(volume, place)
        return self._transform.augmented(image, volume.center, _fill(volume), state)

    def fixed(self, volume: CachedVolume, height: float) -> torch.Tensor:
        """The slice at a relative height of the body, unchanged."""
        index = min(max(round(volume.position_of(height)), 0), len(volume) - 1)
        return self._transform.plain(self._read(volume, index), volume.center, _fill(volume))

    def height(self, volume: CachedVolume, place: int) -> float:
        """A slice's relative height in the body; 0 and 1 beyond it."""
        return min(max(volume.height_of(place), 0.0), 1.0)

    def _read(self, volume: CachedVolume, place: int) -> np.ndarray:
        """(C, H, W): the slice, or all of the stack around it."""
        indices = neighbouring(place, self._reach, len(volume))
        return np.concatenate([volume.read(index) for index in indices])


def neighbouring(place: int, reach: int, slices: int) -> list[int]:
    """A slice's neighbours on both sides with itself between them; see `SliceSamples`.

    Args:
        place: of the slice.
        reach: neighbours on each side.
        slices: how many there are in the volume.
    """
    return [min(max(p, 0), slices - 1) for p in range(place - reach, place + reach + 1)]


def _fill(volume: CachedVolume) -> float | None:
    return None if volume.is_picture else volume.fill
