"""Translations that need no network; one that loses to these must not be used.

All work on unit values: a scan in [-1, 1] by its own intensity scale becomes style in [-1, 1] by
the style collection's scale. Where scales are percentiles, `doing_nothing` is therefore already
a linear match of those percentiles; where they are windows (HU), it leaves native values alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.intensity_map import IntensityMap

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Reference = Callable[[Array, Mask], Array]
"""(scan (X, Y, Z) in [-1, 1], foreground (X, Y, Z)) → style (X, Y, Z) in [-1, 1]."""

_SHARES = np.linspace(0, 1, 1001)
# Robust ends of the foreground (%), inside the clipping of the default intensity scale.
_MATCHED_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class StyleIntensities:
    """The intensities of a style collection's foreground.

    Attributes:
        quantiles: (volumes, 1001) float32, each volume's foreground quantiles in [-1, 1], evenly
            spaced from its smallest to its largest value.
    """

    quantiles: Array

    @property
    def pooled(self) -> Array:
        """(1001,) quantiles of all volumes' foreground, each volume counting the same."""
        return np.quantile(self.quantiles, _SHARES).astype(np.float32)

    def typical_percentiles(self, percentiles: tuple[float, ...]) -> NDArray[np.float64]:
        """The median over volumes of each of their percentiles."""
        own = [np.interp(np.array(percentiles) / 100, _SHARES, q) for q in self.quantiles]
        return np.median(own, axis=0)


def style_intensities(collection: CachedCollection, plane: str) -> StyleIntensities:
    """Measures the foreground of a grey style collection.

    Args:
        collection: Prepared style volumes or grey pictures.
        plane: The plane that they were sliced in.

    Raises:
        ValueError: The collection is in colour.
    """
    if collection.channels != 1:
        raise ValueError("references match grey intensities; this style collection is in colour")
    return StyleIntensities(
        np.stack([foreground_quantiles(*array_and_foreground(v, plane)) for v in collection])
    )


def foreground_quantiles(array: Array, foreground: Mask) -> Array:
    """Returns (1001,) evenly spaced quantiles of an array's foreground."""
    return np.quantile(array[foreground], _SHARES).astype(np.float32)


def doing_nothing(style: StyleIntensities) -> Reference:
    """The scan's own unit values."""
    return lambda scan, foreground: scan


def percentile_matching(style: StyleIntensities) -> Reference:
    """One linear map, from the scan's foreground percentiles to the collection's typical ones."""
    low, high = style.typical_percentiles(_MATCHED_PERCENTILES)

    def match(scan: Array, foreground: Mask) -> Array:
        own_low, own_high = np.percentile(scan[foreground], _MATCHED_PERCENTILES)
        gain = (high - low) / max(own_high - own_low, 1e-6)
        return ((scan - own_low) * gain + low).clip(-1, 1).astype(np.float32)

    return match


def histogram_matching(style: StyleIntensities) -> Reference:
    """The rising map that gives the scan's foreground the collection's pooled histogram.

    The background is kept.
    """
    pooled = style.pooled

    def match(scan: Array, foreground: Mask) -> Array:
        _, inverse, counts = np.unique(scan[foreground], return_inverse=True, return_counts=True)
        middle_rank = (np.cumsum(counts) - counts / 2) / counts.sum()
        matched = scan.copy()
        matched[foreground] = np.interp(middle_rank, _SHARES, pooled)[inverse]
        return matched

    return match


REFERENCES: Mapping[str, Callable[[StyleIntensities], Reference]] = {
    "doing_nothing": doing_nothing,
    "percentile_matching": percentile_matching,
    "histogram_matching": histogram_matching,
}


# The one that needs scans as well: it stands beside the others where it could be learned.
REGISTERED_MAP = "registered_intensity_map"
REFERENCE_NAMES = (*REFERENCES, REGISTERED_MAP)


def registered_intensity_map(learned: IntensityMap) -> Reference:
    """The mean style intensity of each scan intensity, learned from pseudo-pairs.

    It need not rise. The background is kept.
    """

    def match(scan: Array, foreground: Mask) -> Array:
        return np.where(foreground, learned(scan), scan).astype(np.float32)

    return match


def fit_references(
    collection: CachedCollection, plane: str, learned: IntensityMap | None = None
) -> dict[str, Reference]:
    """Every reference of `REFERENCES`, fitted to a grey style collection, and the learned one.

    Args:
        collection: Prepared style volumes or grey pictures.
        plane: The plane that they were sliced in.
        learned: What was learned from pseudo-pairs; None leaves `REGISTERED_MAP` out.

    Raises:
        ValueError: The collection is in colour.
    """
    style = style_intensities(collection, plane)
    references = {name: fit(style) for name, fit in REFERENCES.items()}
    if learned is not None:
        references[REGISTERED_MAP] = registered_intensity_map(learned)
    return references
