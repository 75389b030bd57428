"""What the guards measure of a generator: points inside the body of a few fixed samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.sampling import fixed_samples
from medstyle_gan.evaluation.fidelity import rank_correlation
from medstyle_gan.networks import adapt_channels, middle_slice

Values = NDArray[np.float64]
_SAMPLES = 4
# Enough for the figures' second digit; ranking all pixels would cost more than translating.
_POINTS = 4096


@dataclass(frozen=True)
class Probe:
    """Fixed samples of a domain, and where in them to look.

    Attributes:
        images: (N, C, *spatial) in [-1, 1].
        points: for each image, positions in its flattened axes that lie inside the body.
        slices: that an image has as channels (2.5-D); looked at is the middle one.
    """

    images: Tensor
    points: tuple[NDArray[np.intp], ...]
    slices: int = 1

    def values(self, images: Tensor | None = None, channels: int | None = None) -> list[Values]:
        """(C, points) values of each image, of the probe's own or of their translations.

        Args:
            images: (N, C, *spatial), the translations; None takes the probe's own images.
            channels: wanted channels, by `adapt_channels`; None keeps the images'.
        """
        images = middle_slice(self.images if images is None else images, self.slices)
        if channels is not None:
            images = adapt_channels(images, channels)
        flat = images.detach().cpu().double().flatten(2).numpy()
        return [image[:, at] for image, at in zip(flat, self.points, strict=True)]


def make_probe(collection: CachedCollection, config: DataConfig, seed: int) -> Probe:
    """A few fixed samples of a collection, with the body found in each.

    Args:
        collection: where they are from.
        config: of the samples.
        seed: of the choice of subjects.
    """
    images = fixed_samples(collection, config, _SAMPLES, seed)
    whole = all(volume.is_picture for volume in collection)
    seen = middle_slice(images, config.sample_slices)
    points = tuple(_points(image, collection, whole) for image in seen)
    return Probe(images, points, config.sample_slices)


def _points(image: Tensor, collection: CachedCollection, whole: bool) -> NDArray[np.intp]:
    grey = adapt_channels(image[None], 1)[0, 0].numpy()
    # In native units, where the mask can tell Hounsfield units from MR; pictures are all body.
    native = collection.scale.from_unit(grey)
    volume = native[..., None] if native.ndim == 2 else native
    inside = np.ones(grey.shape, bool) if whole else foreground_mask(volume).reshape(grey.shape)
    places = np.flatnonzero(inside)
    return places[np.linspace(0, len(places) - 1, min(_POINTS, len(places))).astype(np.intp)]


def translate_each(images: Tensor, translate: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, C, *spatial) translated one at a time, so that memory does not grow; on the CPU."""
    with torch.no_grad():
        return torch.cat([translate(image).float().cpu() for image in images.split(1)])


def movement(probe: Probe, translations: Tensor) -> float:
    """How much a generator changes its input, as a share of the input's own contrast.

    mean |G(x) − x| / mean |x − x̄| over the body's points, x̄ each image's mean, and x in the
    channels of G(x). Free of units and of gain: 0 for the identity, about 2 for the negative of
    an image whose mean is 0.

    Args:
        probe: samples of the generator's input domain.
        translations: (N, C', *spatial) of them.
    """
    own = probe.values(channels=translations.shape[1] // probe.slices)
    moved = np.mean([np.abs(t - x).mean() for t, x in _both(probe, translations, own)])
    return float(moved / max(_contrast(own), 1e-6))


def needed_movement(probe: Probe, style: Probe, channels: int) -> float:
    """The least movement of any generator whose translations have the style's intensities.

    The expected |G(x) − x| of a map G cannot be smaller than the Wasserstein-1 distance between
    the distributions of x and of G(x) (it is one of the transports that the distance is the
    infimum over: Villani 2009, "Optimal transport", def. 6.1), here of the pooled intensities of
    the body, each channel on its own.

    Args:
        probe: samples of the generator's input domain.
        style: samples of its output domain.
        channels: the output's.

    Returns:
        In the unit of `movement`.
    """
    own, other = probe.values(channels=channels), style.values(channels=channels)
    mine, theirs = np.concatenate(own, axis=1), np.concatenate(other, axis=1)
    distances = [wasserstein_distance(a, b) for a, b in zip(mine, theirs, strict=True)]
    return float(np.mean(distances) / max(_contrast(own), 1e-6))


def contrast_order(probe: Probe, translations: Tensor) -> float:
    """Mean over samples of Spearman's rank correlation between input and translation.

    Args:
        probe: samples of the generator's input domain.
        translations: (N, C', *spatial) of them; colour counts by its luminance.

    Returns:
        In [-1, 1]: 1 keeps the order of intensities, -1 turns it over.
    """
    return float(
        np.mean(
            [
                rank_correlation(x, t, np.ones(x.shape, bool))
                for x, t in zip(
                    probe.values(channels=1), probe.values(translations, 1), strict=True
                )
            ]
        )
    )


def _both(probe: Probe, translations: Tensor, own: list[Values]) -> list[tuple[Values, Values]]:
    return list(zip(probe.values(translations), own, strict=True))


def _contrast(values: list[Values]) -> float:
    return float(np.mean([np.abs(v - v.mean(axis=1, keepdims=True)).mean() for v in values]))
