"""Which slices a sample is made of: subject, volume, slice, and the style slice to match."""

from __future__ import annotations

import numpy as np

from medstyle_gan.config.data_section import SamplerConfig
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.matching import PositionMatch


def keyed_bits(seed: int, index: int) -> np.random.Philox:
    """Random bits that depend on the seed and the sample's index alone.

    Philox is a counter-based generator (Salmon et al. 2011): any key is as good a stream as
    any other, so that no order of asking, worker or rank matters.
    """
    return np.random.Philox(key=[seed, index])


def draw_volume(
    collection: CachedCollection, config: SamplerConfig, rng: np.random.Generator
) -> CachedVolume:
    """A volume: an even draw of a subject then of its volumes, or an even draw of volumes."""
    if not config.subject_balanced:
        return collection[int(rng.integers(len(collection)))]
    subjects = collection.by_subject
    _, positions = subjects[int(rng.integers(len(subjects)))]
    return collection[positions[int(rng.integers(len(positions)))]]


def draw_slice(volume: CachedVolume, config: SamplerConfig, rng: np.random.Generator) -> int:
    """A slice: evenly with probability 1 - `foreground`, else in proportion to the body in it."""
    even = rng.random() >= config.foreground
    total = np.cumsum(volume.foreground_share, dtype=np.float64)
    where = rng.random()
    if even or total[-1] <= 0:
        return int(where * len(volume))
    drawn = int(np.searchsorted(total, where * total[-1], side="right"))
    return min(drawn, len(volume) - 1)


def draw_pair(
    scan: CachedCollection,
    style: CachedCollection,
    config: SamplerConfig,
    rng: np.random.Generator,
    match: PositionMatch,
) -> tuple[tuple[CachedVolume, int], tuple[CachedVolume, int]]:
    """A scan slice and a style slice to match, see `draw_style`."""
    scan_volume = draw_volume(scan, config, rng)
    scan_slice = draw_slice(scan_volume, config, rng)
    drawn = draw_style((scan_volume, scan_slice), style, config, rng, match)
    return (scan_volume, scan_slice), drawn


def draw_style(
    scan: tuple[CachedVolume, int],
    style: CachedCollection,
    config: SamplerConfig,
    rng: np.random.Generator,
    match: PositionMatch,
) -> tuple[CachedVolume, int]:
    """A style slice for a scan's, from a volume drawn independently of it.

    With `match: position` the style slice shows the height of the body that the scan slice shows.
    Where the style volume ends before, it is any of its slices: its last one would be drawn again
    and again. Pictures have no height: they are drawn as with `match: none`.
    """
    volume = draw_volume(style, config, rng)
    if config.match == "none" or scan[0].is_picture or volume.is_picture:
        return volume, draw_slice(volume, config, rng)
    return volume, _matching_slice(*scan, volume, match, config, rng)


def _matching_slice(
    scan: CachedVolume,
    index: int,
    style: CachedVolume,
    match: PositionMatch,
    config: SamplerConfig,
    rng: np.random.Generator,
) -> int:
    """The style slice at the height of a point drawn within the scan slice's thickness.

    The slice's middle alone would leave slices out of a style volume with thinner ones.
    """
    found = round(match.position(scan, style, index + rng.uniform(-0.5, 0.5)))
    first, last = 0, len(style) - 1
    if scan.body[0] <= index <= scan.body[1]:
        if not first <= round(match.position(scan, style, index)) <= last:
            return draw_slice(style, config, rng)
        first, last = style.body  # a slice of the body for one of the body
    return min(max(found, first), last)
