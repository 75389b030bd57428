"""3-D samples: patches read from the cache, flipped and deformed by MONAI's transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.transforms import BorderPad, RandAffine, RandFlip

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.augmentation import affine_margins, plain_tensors
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.matching import PositionMatch
from medstyle_gan.data.patch_drawing import (
    Start,
    draw_patch,
    draw_patch_pair,
    draw_style_patch,
    start_at,
)


class PatchSamples:
    """Makes 3-D samples `(C, *sample_size)`, axes R, A, S, the same way for both domains.

    Of a volume no more is read than the patch, and the margin that a deformation turns in.
    A patch lies in the box around the body; where it is larger than the box it has the body's
    middle in its own, and background beyond the volume. The flip is left-right.

    Args:
        config: its `sample_size`, `sampler` and `augmentation` are used.
    """

    def __init__(self, config: DataConfig) -> None:
        augmentation = config.augmentation
        self._sampler = config.sampler
        self._match = PositionMatch(axis=2)  # volumes are stored as axial slices
        self._size = config.sample_size
        shifts = [augmentation.translation * size for size in self._size]
        self._margins = affine_margins(self._size, augmentation)
        self._flip = RandFlip(prob=augmentation.flip, spatial_axis=0)
        self._affine_probability = augmentation.affine
        # Probability 1: as for slices, whether to deform is drawn here.
        self._affine = RandAffine(
            prob=1.0,
            rotate_range=[math.radians(augmentation.rotation)] * 3,
            scale_range=[augmentation.scaling] * 3,
            translate_range=shifts,
            # Smaller than what it is given: the middle of the deformed patch and margins.
            spatial_size=self._size,
            mode="bilinear",
            padding_mode="zeros",
            cache_grid=True,
        )

    def draw(
        self, scan: CachedCollection, style: CachedCollection, rng: np.random.Generator
    ) -> tuple[tuple[CachedVolume, Start], tuple[CachedVolume, Start]]:
        """A scan and a style patch, see `draw_patch_pair`."""
        return draw_patch_pair(scan, style, self._size, self._sampler, rng, self._match)

    def draw_style(
        self, scan: tuple[CachedVolume, Start], style: CachedCollection, rng: np.random.Generator
    ) -> tuple[CachedVolume, Start]:
        """A style patch for a scan's, see `draw_style_patch`."""
        return draw_style_patch(scan, style, self._size, self._sampler, rng, self._match)

    def place(self, volume: CachedVolume, rng: np.random.Generator) -> Start:
        """A patch of a volume, see `draw_patch`."""
        return draw_patch(volume, self._size, self._sampler, rng)

    def augmented(
        self, volume: CachedVolume, place: Start, state: np.random.RandomState
    ) -> torch.Tensor:
        """The patch at a place, randomly changed: (C, *sample_size) float32."""
        deform = bool(state.random_sample() < self._affine_probability)
        with plain_tensors():
            patch = self._read(volume, place, self._margins if deform else (0, 0, 0))
            self._flip.set_random_state(state=state)
            patch = self._flip(patch)
            if not deform:
                return patch.contiguous()
            # MONAI fills with 0 what lies outside: make that the background.
            self._affine.set_random_state(state=state)
            return self._affine(patch - volume.fill).contiguous() + volume.fill

    def fixed(self, volume: CachedVolume, height: float) -> torch.Tensor:
        """The patch in the body's middle at a relative height, unchanged."""
        place = start_at(volume, self._size, (0.5, 0.5, height))
        with plain_tensors():
            return self._read(volume, place, (0, 0, 0)).contiguous()

    def height(self, volume: CachedVolume, place: Start) -> float:
        """The relative height in the body of a patch's middle; 0 and 1 beyond it."""
        middle = place[2] + (self._size[2] - 1) / 2
        return min(max(volume.height_of(middle), 0.0), 1.0)

    def _read(self, volume: CachedVolume, start: Start, margins: Sequence[int]) -> torch.Tensor:
        begin = [s - m for s, m in zip(start, margins, strict=True)]
        end = [s + n + m for s, n, m in zip(start, self._size, margins, strict=True)]
        inside = volume.read_box(
            [max(b, 0) for b in begin],
            [min(e, n) for e, n in zip(end, volume.grid, strict=True)],
        )
        border = [
            extra
            for b, e, n in zip(begin, end, volume.grid, strict=True)
            for extra in (max(-b, 0), max(e - n, 0))
        ]
        patch = torch.from_numpy(inside)
        if not any(border):
            return patch
        padded: torch.Tensor = BorderPad(border, mode="constant", value=volume.fill)(patch)
        return padded
