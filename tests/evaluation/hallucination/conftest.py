from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from medstyle_gan.data.phantom import make_phantom
from medstyle_gan.evaluation.chapter import Array, Mask, Subject

SHAPE = (48, 48, 10)


def unit(array: np.ndarray, mask: np.ndarray) -> Array:
    low, high = np.percentile(array[mask], (0.5, 99.5))
    return (2 * (array - low) / (high - low) - 1).clip(-1, 1).astype(np.float32)


def phantom_subject(seed: int, lesions: bool = False) -> Subject:
    phantom = make_phantom(seed, SHAPE, lesions)
    x, y, z = (float(s) for s in np.linalg.norm(phantom.affine[:3, :3], axis=0))
    return Subject(
        name=f"subject {seed}",
        scan=unit(phantom.scan, phantom.mask),
        mask=phantom.mask,
        mask_given=True,
        spacing=(x, y, z),
        truth=unit(phantom.style, phantom.mask),
        labels=phantom.labels.astype(np.int32),
        lesions=phantom.lesion_mask if lesions else None,
    )


class TrueMapping:
    """The median true intensity of each scan intensity: all that a map of intensities can know."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        scan = np.concatenate([s.scan[s.mask] for s in subjects])
        truth = np.concatenate([s.truth[s.mask] for s in subjects if s.truth is not None])
        edges = np.linspace(-1, 1, 41)
        bins = np.clip(np.digitize(scan, edges), 1, 40)
        known = [k for k in range(1, 41) if (bins == k).sum() > 5]
        self.scan = [(edges[k - 1] + edges[k]) / 2 for k in known]
        self.style = [np.median(truth[bins == k]) for k in known]

    def __call__(self, scan: Array, mask: Mask) -> Array:
        return np.interp(scan, self.scan, self.style).astype(np.float32)


@pytest.fixture(scope="session")
def subjects() -> list[Subject]:
    return [phantom_subject(seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def ill_subject() -> Subject:
    return phantom_subject(5, lesions=True)


@pytest.fixture(scope="session")
def true_mapping(subjects: list[Subject]) -> TrueMapping:
    return TrueMapping(subjects)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
