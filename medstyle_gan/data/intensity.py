"""Intensity scales: invertible affine maps between native units and [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medstyle_gan.config.data_section import FixedScale, PercentileScale, WindowScale, ZScoreScale
from medstyle_gan.data.order_statistics import Chunks, percentiles
from medstyle_gan.errors import UserError
from medstyle_gan.volumes.workspace import release, slabs, slow_axis

ScaleConfig = PercentileScale | WindowScale | ZScoreScale | FixedScale


@dataclass(frozen=True)
class FittedScale:
    """The map u = (x - center) / half_range, with an exact inverse.

    Attributes:
        center: native value that becomes 0.
        half_range: native distance from `center` to what becomes 1, above 0.
        clip: whether `to_unit` clips to [-1, 1]; only an unclipped value comes back exactly.
    """

    center: float
    half_range: float
    clip: bool

    def to_unit(self, array: np.ndarray) -> np.ndarray:
        """Native values of any shape → float32 in [-1, 1] (beyond it when `clip` is false)."""
        if not np.issubdtype(array.dtype, np.floating):
            array = array.astype(np.float32)  # unsigned integers would wrap around
        # In the input's own precision: a small range far from 0 would be lost in float32.
        unit = (array - array.dtype.type(self.center)).astype(np.float32, copy=False)
        unit /= np.float32(self.half_range)
        return np.clip(unit, -1.0, 1.0, out=unit) if self.clip else unit

    def from_unit(self, array: np.ndarray) -> np.ndarray:
        """Values in [-1, 1] of any shape → float32 in native units; never clips."""
        native = array.astype(np.float32) * np.float32(self.half_range)
        native += np.float32(self.center)
        return native

    def as_dict(self) -> dict[str, float | bool]:
        """Plain numbers for YAML and JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> FittedScale:
        """The inverse of `as_dict`."""
        return FittedScale(
            center=float(values["center"]),
            half_range=float(values["half_range"]),
            clip=bool(values["clip"]),
        )


SHARE = FittedScale(center=0.0, half_range=1.0, clip=False)
"""Of what is no intensity but a share, such as a mask or a weight: stored as it is."""


def _between(lower: float, upper: float, clip: bool) -> FittedScale:
    return FittedScale(center=(lower + upper) / 2, half_range=(upper - lower) / 2, clip=clip)


def _chunks(array: np.ndarray, foreground: np.ndarray, region: str) -> Chunks:
    """The voxels that a scale is fitted to, slab by slab."""
    inside = region == "foreground" and bool(foreground.any())

    def chunks() -> Iterator[np.ndarray]:
        for slab in slabs(array.shape, slow_axis(array)):
            values = array[slab]
            yield values[..., foreground[slab[-3:]]] if inside else values
            release(array, foreground)

    return chunks


def fit_percentile(
    array: np.ndarray, foreground: np.ndarray, config: PercentileScale
) -> FittedScale:
    """The volume's own percentiles become -1 and 1."""
    chunks = _chunks(array, foreground, config.region)
    lower, upper = percentiles(chunks, (config.lower, config.upper))
    if upper <= lower:
        raise UserError(
            f"the {config.lower:g}th and {config.upper:g}th intensity percentiles are both "
            f"{lower:g}, so no scale can be fitted; set data.intensity.*.region=foreground, or "
            "use the scale 'fixed' or 'window'"
        )
    return _between(lower, upper, config.clip)


def fit_window(array: np.ndarray, foreground: np.ndarray, config: WindowScale) -> FittedScale:
    """The window's level ± width/2 become ±1, whatever the volume holds."""
    return FittedScale(center=config.level, half_range=config.width / 2, clip=config.clip)


def fit_zscore(array: np.ndarray, foreground: np.ndarray, config: ZScoreScale) -> FittedScale:
    """The volume's mean ± `deviations` standard deviations (biased) become ±1."""
    chunks = _chunks(array, foreground, config.region)
    count, total = 0, 0.0
    for values in chunks():
        count += values.size
        total += float(np.sum(values, dtype=np.float64))
    mean = total / count
    squares = sum(float(np.sum((v.astype(np.float64) - mean) ** 2)) for v in chunks())
    deviation = math.sqrt(squares / count)
    if deviation == 0:
        raise UserError(
            f"every voxel of the region is {mean:g}, so no scale can be fitted; set "
            "data.intensity.*.region=volume, or use the scale 'fixed' or 'window'"
        )
    return FittedScale(center=mean, half_range=config.deviations * deviation, clip=config.clip)


def fit_fixed(array: np.ndarray, foreground: np.ndarray, config: FixedScale) -> FittedScale:
    """The configured bounds become -1 and 1, whatever the volume holds."""
    return _between(config.lower, config.upper, config.clip)


INTENSITY_SCALES: dict[str, Callable[[np.ndarray, np.ndarray, Any], FittedScale]] = {
    "percentile": fit_percentile,
    "window": fit_window,
    "zscore": fit_zscore,
    "fixed": fit_fixed,
}


def fit_scale(config: ScaleConfig, array: np.ndarray, foreground: np.ndarray) -> FittedScale:
    """Fit the configured scale to one volume.

    Args:
        config: one of the intensity scales of `data.intensity`.
        array: (C, X, Y, Z) or (X, Y, Z) in native units.
        foreground: bool (X, Y, Z).

    Raises:
        UserError: the region has no range of values to map.
    """
    return INTENSITY_SCALES[config.name](array, foreground, config)


def typical_scale(scales: Sequence[FittedScale]) -> FittedScale:
    """A collection's scale: the median centre and half range of its volumes' scales.

    It gives a translation native units, where no volume of its own exists to be measured.
    """
    if not scales:
        raise ValueError("a typical scale needs at least one fitted scale")
    return FittedScale(
        center=float(np.median([s.center for s in scales])),
        half_range=float(np.median([s.half_range for s in scales])),
        clip=any(s.clip for s in scales),
    )
