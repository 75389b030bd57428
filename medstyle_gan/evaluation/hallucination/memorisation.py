"""Has the translator learned training slices by heart?

A translation that is nearer to a training slice than real slices of other subjects ever are was
copied from it: the test of data copying of Meehan, Chaudhuri & Dasgupta 2020 ("A non-parametric
test to detect data-copying in generative models", AISTATS), with the held-out baseline it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.evaluation.hallucination.slice_choice import (
    BodySlice,
    correlation_vector,
    feature_vector,
    thumbnail,
)

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Looks:
    """How slices look, for likeness in two ways.

    Attributes:
        pixels: (N, P), see `correlation_vector`.
        features: (N, F), see `feature_vector`.
    """

    pixels: Vectors
    features: Vectors

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Nearest:
    """For each slice its likeness to the training slice most like it.

    Attributes:
        correlation: (N,), of pixels, at most 1.
        features: (N,), of gradients, at most 1.
    """

    correlation: NDArray[np.float64]
    features: NDArray[np.float64]


def looks_of(slices: Sequence[BodySlice]) -> Looks:
    """Measures slices, at least one."""
    small = [thumbnail(shown) for shown in slices]
    return Looks(
        np.stack([correlation_vector(image) for image in small]),
        np.stack([feature_vector(image) for image in small]),
    )


def nearest(slices: Looks, training: Looks) -> Nearest:
    """The likeness of each slice to its nearest training slice."""
    return Nearest(
        (slices.pixels @ training.pixels.T).max(axis=1),
        (slices.features @ training.features.T).max(axis=1),
    )


def held_out_baseline(training: Sequence[Looks]) -> Nearest:
    """How like the training slices of all others each subject's own are.

    Args:
        training: of each training subject, at least two.

    Raises:
        ValueError: there are fewer.
    """
    if len(training) < 2:
        raise ValueError("a held-out baseline needs two training subjects or more")
    found = [
        nearest(own, joined([other for other in training if other is not own])) for own in training
    ]
    return Nearest(
        np.concatenate([each.correlation for each in found]),
        np.concatenate([each.features for each in found]),
    )


def copied_share(translated: Nearest, baseline: Nearest) -> float:
    """The share of slices that are nearer to a training slice than any of the baseline's is.

    In both ways: pixels and features. About 1 in n + 1 is so by chance, n being the baseline's
    slices.
    """
    beyond = (translated.correlation > baseline.correlation.max()) & (
        translated.features > baseline.features.max()
    )
    return float(beyond.mean())


def joined(looks: Sequence[Looks]) -> Looks:
    """All slices in one."""
    return Looks(
        np.concatenate([each.pixels for each in looks]),
        np.concatenate([each.features for each in looks]),
    )
