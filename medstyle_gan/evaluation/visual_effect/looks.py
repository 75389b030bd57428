"""What is kept of each volume to compare how it looks, and the distances between such looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.consistency import adjacent_slice_difference
from medstyle_gan.evaluation.distribution import sliced_wasserstein_distance
from medstyle_gan.evaluation.references import StyleIntensities, foreground_quantiles
from medstyle_gan.evaluation.visual_effect.body_slices import body_positions, body_slices
from medstyle_gan.evaluation.visual_effect.distances import (
    feature_scale,
    gram_distance,
    intensity_distance,
    kernel_distance,
)
from medstyle_gan.evaluation.visual_effect.features import FeatureNetwork, VGGLooks, mean_grams
from medstyle_gan.evaluation.visual_effect.spectrum import (
    Spectrum,
    lattice_peaks,
    power_spectrum,
    radial_spectrum,
    slice_spectrum,
    spectrum_distance,
)

Given = ParamSpec("Given")
Measured = TypeVar("Measured")

DISTANCES: tuple[str, ...] = (
    "sliced_wasserstein",
    "gram_distance",
    "intensity_distance",
    "spectrum_distance",
    "slice_spectrum_distance",
)
"""Those that real volumes have from each other too, so that a multiple of that can be told."""


@dataclass(frozen=True)
class Look:
    """How one volume looks.

    Attributes:
        images: `(n, 1, h, w)` in [-1, 1], slices of the body, black around it.
        features: `(n, D)`.
        grams: layer → `(C, C)`, mean over the slices.
        quantiles: (1001,) of the body's intensities.
        spectrum: (25,) power in the slices' plane.
        peaks: (9,) dB at the frequencies of upsampling; None for slices under 16 pixels.
        slice_spectrum: (25,) power along the slices; None for fewer than 8 of them.
        slice_difference: mean absolute difference of adjacent slices; None where none are.
    """

    images: Tensor
    features: Tensor
    grams: dict[str, Tensor]
    quantiles: Array
    spectrum: Spectrum
    peaks: Spectrum | None
    slice_spectrum: Spectrum | None
    slice_difference: float | None


class Looker:
    """Looks at volumes, all in the same way.

    Args:
        vgg: gives the Gram matrices, and the features where no other network does.
        network: gives the features; None for the VGG.
        plane: the plane of the slices.
        slices: how many of each volume at most.
    """

    def __init__(
        self, vgg: VGGLooks, network: FeatureNetwork | None, plane: str, slices: int
    ) -> None:
        self._vgg = vgg
        self._network = network
        self._plane = plane
        self._slices = slices

    @property
    def features_name(self) -> str:
        """Which features they are."""
        return (self._network or self._vgg).name

    def __call__(self, array: Array, mask: Mask) -> Look:
        """Look at a volume.

        Args:
            array: (X, Y, Z) in [-1, 1].
            mask: bool (X, Y, Z), its body, not empty.
        """
        positions = body_positions(mask, self._plane, self._slices)
        slices, inside = body_slices(array, mask, self._plane, positions)
        images = torch.from_numpy(slices)[:, None]
        features, grams = self._vgg.look(images)
        if self._network is not None:
            features = self._network(images)
        power = power_spectrum(slices, inside)
        return Look(
            images=images,
            features=features,
            grams=grams,
            quantiles=foreground_quantiles(array, mask),
            spectrum=radial_spectrum(power),
            peaks=_or_none(lattice_peaks, power),
            slice_spectrum=_or_none(slice_spectrum, array, mask, self._plane),
            slice_difference=_or_none(adjacent_slice_difference, array, mask, self._plane),
        )


class RealLooks:
    """How a collection of real volumes looks, to compare others with.

    Args:
        looks: at least one.
        subjects: whose each is.
        seed: of all that distances draw.
    """

    def __init__(self, looks: Sequence[Look], subjects: Sequence[str], seed: int = 0) -> None:
        self.looks = tuple(looks)
        self._subjects = tuple(subjects)
        self._seed = seed

    @cached_property
    def features(self) -> Tensor:
        """`(N, D)` of all slices."""
        return torch.cat([look.features for look in self.looks])

    @cached_property
    def images(self) -> Tensor:
        """`(N, 1, H, W)`: all slices, filled up with black to one size."""
        height, width = (max(look.images.shape[axis] for look in self.looks) for axis in (2, 3))
        return torch.cat([_padded(look.images, height, width) for look in self.looks])

    @cached_property
    def grams(self) -> dict[str, Tensor]:
        """Layer → `(C, C)`, each volume counting the same."""
        return mean_grams([look.grams for look in self.looks])

    @cached_property
    def quantiles(self) -> Array:
        """(1001,), each volume counting the same."""
        return StyleIntensities(np.stack([look.quantiles for look in self.looks])).pooled

    @cached_property
    def spectrum(self) -> Spectrum:
        """(25,) mean power in the plane."""
        return np.mean([look.spectrum for look in self.looks], axis=0)

    @cached_property
    def slice_spectrum(self) -> Spectrum | None:
        """(25,) mean power along the slices of those volumes that have enough."""
        found = [look.slice_spectrum for look in self.looks if look.slice_spectrum is not None]
        return np.mean(found, axis=0) if found else None

    @cached_property
    def peaks(self) -> Spectrum | None:
        """(9,) mean peaks (dB)."""
        found = [look.peaks for look in self.looks if look.peaks is not None]
        return np.mean(found, axis=0) if found else None

    @cached_property
    def slice_difference(self) -> float | None:
        """Mean difference of adjacent slices; None where none differ."""
        found = [d for look in self.looks if (d := look.slice_difference) is not None]
        return float(np.mean(found)) or None if found else None

    def distances(self, look: Look) -> dict[str, float]:
        """How far a volume is from the collection.

        Returns:
            `kid` and all of `DISTANCES`; NaN what the volumes are too small for.
        """
        return {
            "kid": self._kernel_distance(look),
            "sliced_wasserstein": self._sliced_wasserstein(look),
            "gram_distance": gram_distance(look.grams, self.grams),
            "intensity_distance": intensity_distance(look.quantiles, self.quantiles),
            "spectrum_distance": spectrum_distance(look.spectrum, self.spectrum),
            "slice_spectrum_distance": (
                float("nan")
                if look.slice_spectrum is None or self.slice_spectrum is None
                else spectrum_distance(look.slice_spectrum, self.slice_spectrum)
            ),
        }

    def checkerboard(self, look: Look) -> float:
        """By how much the strongest peak stands out more than in real volumes (dB).

        NaN where slices are too small to tell.
        """
        if look.peaks is None or self.peaks is None:
            return float("nan")
        return float((look.peaks - self.peaks).max())

    def slice_consistency(self, look: Look) -> float:
        """Difference of adjacent slices over that of real volumes, see `consistency`."""
        if look.slice_difference is None or self.slice_difference is None:
            return float("nan")
        return look.slice_difference / self.slice_difference

    @cached_property
    def among_themselves(self) -> dict[str, float]:
        """Distances of real volumes from those of all other subjects, the mean over volumes.

        What no translator can be asked to be below. Empty where all are of one subject.
        """
        if len(set(self._subjects)) < 2:
            return {}
        each = []
        for look, subject in zip(self.looks, self._subjects, strict=True):
            others = [i for i, other in enumerate(self._subjects) if other != subject]
            rest = RealLooks(
                [self.looks[i] for i in others], [self._subjects[i] for i in others], self._seed
            )
            each.append(rest.distances(look))
        return {name: _mean([distances[name] for distances in each]) for name in each[0]}

    def _kernel_distance(self, look: Look) -> float:
        if min(len(look.features), len(self.features)) < 2:
            return float("nan")
        # In units of the real features, so that networks of other scales give like figures.
        scale = feature_scale(self.features)
        return kernel_distance(look.features / scale, self.features / scale, self._seed)

    def _sliced_wasserstein(self, look: Look) -> float:
        try:
            return sliced_wasserstein_distance(look.images, self.images, seed=self._seed)
        except ValueError:  # too small for two scales of patches
            return float("nan")


def _padded(images: Tensor, height: int, width: int) -> Tensor:
    bottom, right = height - images.shape[2], width - images.shape[3]
    return F.pad(images, (0, right, 0, bottom), value=-1.0)


def _or_none(
    measure: Callable[Given, Measured], *given: Given.args, **named: Given.kwargs
) -> Measured | None:
    """What cannot be measured of so small a volume is None."""
    try:
        return measure(*given, **named)
    except ValueError:
        return None


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
