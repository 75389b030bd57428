"""Phantoms as subjects and as real style volumes, and candidates that go wrong in known ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from scipy.ndimage import gaussian_filter

from medstyle_gan.data.phantom import make_phantom
from medstyle_gan.evaluation.chapter import Array, Candidate, Chapter, Mask, Subject
from medstyle_gan.evaluation.context import RealVolume
from medstyle_gan.evaluation.references import (
    REFERENCES,
    StyleIntensities,
    foreground_quantiles,
)

SHAPE = (64, 64, 16)
SPACING = (3.2, 3.2, 3.0)


@cache
def subject(seed: int) -> Subject:
    """A phantom head with its truth and tissues, intensities by percentiles as in training."""
    phantom = make_phantom(seed, SHAPE)

    def ras(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(apply_orientation(array, io_orientation(phantom.affine)))

    mask = ras(phantom.mask)

    def unit(array: np.ndarray) -> Array:
        high = np.percentile(array[mask], 99.5)
        return (ras(array) / high * 2 - 1).clip(-1, 1).astype(np.float32)

    return Subject(
        name=f"subject {seed}",
        scan=unit(phantom.scan),
        mask=mask,
        mask_given=True,
        spacing=SPACING,
        truth=np.where(mask, unit(phantom.style), np.float32(-1)),
        labels=ras(phantom.labels).astype(np.int32),
    )


def real_volume(seed: int) -> RealVolume:
    """Another subject's style volume."""
    return RealVolume(
        f"style subject {seed}", SPACING, lambda: (subject(seed).truth, subject(seed).mask)
    )


def references(style: list[RealVolume]) -> dict[str, Candidate]:
    """The references, fitted to the style volumes."""
    quantiles = np.stack([foreground_quantiles(*volume.load()) for volume in style])
    return {name: fit(StyleIntensities(quantiles)) for name, fit in REFERENCES.items()}


def true_mapping(subjects: list[Subject]) -> Candidate:
    """Gives every scan its own truth."""
    known = {each.scan.tobytes(): each.truth for each in subjects}
    return lambda scan, mask: known[scan.tobytes()]


def spoiled(candidate: Candidate, change: Callable[[Array], Array]) -> Candidate:
    """A candidate whose result is changed inside the body."""

    def spoil(scan: Array, mask: Mask) -> Array:
        changed = change(candidate(scan, mask)).clip(-1, 1)
        return np.where(mask, changed, np.float32(-1)).astype(np.float32)

    return spoil


def checkerboard(period: int, amplitude: float = 0.15) -> Callable[[Array], Array]:
    """Adds the pattern that upsampling by 2 (or by 4) leaves."""

    def add(array: Array) -> Array:
        rows, columns = np.indices(array.shape[:2])
        half = period // 2
        pattern = ((rows // half + columns // half) % 2) * 2.0 - 1
        return array + amplitude * pattern[..., None]

    return add


def blurred(array: Array) -> Array:
    return gaussian_filter(array, (1.5, 1.5, 0))


def inverted(array: Array) -> Array:
    return -array


def flickering(array: Array) -> Array:
    return array + np.random.default_rng(0).normal(0, 0.18, array.shape[2])


def means(chapter: Chapter, name: str, **of: str) -> Mapping[str, float]:
    """Candidate → mean of a figure over subjects."""
    values: dict[str, list[float]] = {}
    for figure in chapter.figures:
        if figure.name == name and dict(figure.of) == of:
            values.setdefault(figure.candidate, []).append(figure.value)
    return {candidate: float(np.mean(each)) for candidate, each in values.items()}
