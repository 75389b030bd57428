"""From a slice to a sample: crop or pad to size, flip and deform, by MONAI's transforms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import BorderPad, RandAffine, RandFlip, SpatialCrop

from medstyle_gan.config.data_section import AugmentationConfig, DataConfig


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Runs MONAI without metadata: a sample needs none, and it would cost most of the time."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


class SampleTransform:
    """Makes samples of one size, the same way for both domains.

    Of a volume's slice the sample shows the body's middle in its own, with background beyond
    the slice: where heads lie differs between collections, and a generator would learn that
    difference as a shift. Pictures have no body: the middle of a larger one, moved as little
    as needed to stay inside, is cropped, and a smaller one padded by reflection. With random
    crops a larger slice is cropped anywhere. The flip is left-right, so there is
    none in the sagittal plane. The affine sees a margin around the sample, so that what it
    turns in is the slice's own content where there is some.

    Args:
        config: its `sample_size`, `plane` and `augmentation` are used.
    """

    def __init__(self, config: DataConfig) -> None:
        augmentation = config.augmentation
        height, width = config.sample_size
        self._size = (height, width)
        self._random_crop = augmentation.crop == "random"
        shifts = [augmentation.translation * size for size in self._size]
        self._margins = affine_margins(self._size, augmentation)
        self._flip = RandFlip(
            prob=0.0 if config.plane == "sagittal" else augmentation.flip, spatial_axis=0
        )
        self._affine_probability = augmentation.affine
        # Probability 1: whether to deform is drawn here, for MONAI costs the same when it
        # draws "no", and a sample that is not deformed needs no margin.
        self._affine, self._picture_affine = (
            RandAffine(
                prob=1.0,
                rotate_range=math.radians(augmentation.rotation),
                # One number would scale the first axis alone.
                scale_range=[augmentation.scaling] * 2,
                translate_range=shifts,
                # Smaller than what it is given: the middle of the deformed slice.
                spatial_size=self._size,
                mode="bilinear",
                padding_mode=padding,
                cache_grid=True,
            )
            for padding in ("zeros", "reflection")
        )

    def augmented(
        self,
        image: np.ndarray,
        center: tuple[float, float],
        fill: float | None,
        state: np.random.RandomState,
    ) -> torch.Tensor:
        """A randomly changed sample.

        Args:
            image: (C, H, W) float32.
            center: middle of the body (pixels).
            fill: value outside the slice; None reflects the slice (pictures).
            state: source of every random choice.

        Returns:
            (C, *sample_size) float32.
        """
        crop_state = state if self._random_crop else None
        starts = self._starts(image, center, crop_state, keep_inside=fill is None)
        deform = bool(state.random_sample() < self._affine_probability)
        with plain_tensors():
            sample = self._cut(image, starts, self._margins if deform else (0, 0), fill)
            self._flip.set_random_state(state=state)
            sample = self._flip(sample)
            if not deform:
                return sample.contiguous()
            # MONAI fills with 0 what lies outside: make that the background.
            zero = 0.0 if fill is None else fill
            affine = self._picture_affine if fill is None else self._affine
            affine.set_random_state(state=state)
            return affine(sample - zero).contiguous() + zero

    def plain(
        self, image: np.ndarray, center: tuple[float, float], fill: float | None
    ) -> torch.Tensor:
        """The sample around the body, unchanged: (C, *sample_size) float32."""
        with plain_tensors():
            starts = self._starts(image, center, None, keep_inside=fill is None)
            return self._cut(image, starts, (0, 0), fill).contiguous()

    def _starts(
        self,
        image: np.ndarray,
        center: tuple[float, float],
        state: np.random.RandomState | None,
        keep_inside: bool,
    ) -> list[int]:
        """The sample's first row and column; negative where it begins outside the slice."""
        starts = []
        for length, size, middle in zip(image.shape[1:], self._size, center, strict=True):
            spare = length - size
            centered = round(middle - (size - 1) / 2)
            if state is not None and spare > 0:
                starts.append(int(state.randint(spare + 1)))
            elif not keep_inside:
                starts.append(centered)
            elif spare > 0:
                starts.append(min(max(centered, 0), spare))
            else:
                starts.append(-((-spare) // 2))
        return starts

    def _cut(
        self,
        image: np.ndarray,
        starts: list[int],
        margins: Sequence[int],
        fill: float | None,
    ) -> torch.Tensor:
        begin = [start - margin for start, margin in zip(starts, margins, strict=True)]
        end = [
            start + size + margin
            for start, size, margin in zip(starts, self._size, margins, strict=True)
        ]
        inside = SpatialCrop(
            roi_start=[max(b, 0) for b in begin],
            roi_end=[min(e, n) for e, n in zip(end, image.shape[1:], strict=True)],
        )(torch.from_numpy(image))
        border = [
            extra
            for b, e, n in zip(begin, end, image.shape[1:], strict=True)
            for extra in (max(-b, 0), max(e - n, 0))
        ]
        if not any(border):
            return inside
        if fill is None:
            return BorderPad(border, mode="symmetric")(inside)
        return BorderPad(border, mode="constant", value=fill)(inside)


def affine_margins(size: Sequence[int], augmentation: AugmentationConfig) -> tuple[int, ...]:
    """How far outside a sample the largest affine reaches, along each axis.

    A point is scaled, then shifted, then turned. Turned by at most θ, one axis takes at most
    sin θ of another; about all three axes, at most sin θ + sin² θ.

    Args:
        size: of the sample, 2-D or 3-D.
        augmentation: its largest rotation, scaling and translation.

    Returns:
        Pixels or voxels.
    """
    sine = math.sin(math.radians(min(augmentation.rotation, 90.0)))
    turn = sine if len(size) == 2 else min(1.0, sine + sine**2)
    reach = [((1 + augmentation.scaling) / 2 + augmentation.translation) * n for n in size]
    return tuple(
        math.ceil(own + turn * (sum(reach) - own) - n / 2)
        for own, n in zip(reach, size, strict=True)
    )


def with_gamma(sample: torch.Tensor, exponent: float) -> torch.Tensor:
    """A sample whose intensities, taken as 0 to 1, are raised to a power.

    Black and white stay; values beyond [-1, 1], which some scales give, too.

    Args:
        sample: any shape, in [-1, 1].
        exponent: above 1 darkens, below brightens.
    """
    share = (sample + 1) / 2
    inside = share.clamp(0, 1)
    return 2 * (inside**exponent + (share - inside)) - 1
