"""Phantoms as subjects of an evaluation, and functions in place of a translator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from medstyle_gan.config.data_section import PercentileScale
from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.intensity import fit_percentile
from medstyle_gan.data.phantom import make_phantom
from medstyle_gan.data.resampling import to_ras
from medstyle_gan.evaluation.chapter import TRANSLATION, Candidate, Subject
from medstyle_gan.evaluation.references import (
    REFERENCES,
    StyleIntensities,
    foreground_quantiles,
)


def phantom_subject(
    seed: int, shape: tuple[int, int, int] = (48, 48, 12), kind: str = "mr_t1_to_t2"
) -> Subject:
    phantom = make_phantom(seed, shape, kind=kind)

    def upright(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(to_ras(array, phantom.affine))

    def unit(array: np.ndarray) -> np.ndarray:
        everywhere = np.ones(array.shape, bool)
        return fit_percentile(array[None], everywhere, PercentileScale()).to_unit(array)

    scan, truth = (upright(a.astype(np.float32)) for a in (phantom.scan, phantom.style))
    x, y, z = (float(s) for s in np.linalg.norm(phantom.affine[:3, :3], axis=0))
    return Subject(
        name=f"subject {seed}",
        scan=unit(scan),
        mask=foreground_mask(scan),
        mask_given=False,
        spacing=(x, y, z),
        truth=unit(truth),
        labels=upright(phantom.labels).astype(np.int32),
        native_truth=truth,
    )


def style_of(subjects: Sequence[Subject]) -> StyleIntensities:
    return StyleIntensities(
        np.stack([foreground_quantiles(s.truth, s.mask) for s in subjects if s.truth is not None])
    )


def references_for(subjects: Sequence[Subject]) -> dict[str, Candidate]:
    style = style_of(subjects)
    return {name: fit(style) for name, fit in REFERENCES.items()}


def translators(subjects: Sequence[Subject]) -> Mapping[str, Candidate]:
    """The true mapping and bad ones; of a changed scan they give it back as it is."""
    truth = {s.scan.tobytes(): s.truth for s in subjects}
    other = {
        one.scan.tobytes(): two.truth
        for one, two in zip(subjects, [*subjects[1:], subjects[0]], strict=True)
    }

    def true(scan, mask):
        return truth.get(scan.tobytes(), scan)

    return {
        "true": true,
        "nothing": lambda scan, mask: scan,
        "blur": lambda scan, mask: gaussian_filter(true(scan, mask), (2.5, 2.5, 0.5)),
        "shift": lambda scan, mask: shift(true(scan, mask), (1.5, 0, 0), order=1, mode="nearest"),
        "invert": lambda scan, mask: np.where(mask, -true(scan, mask), true(scan, mask)),
        "copy": lambda scan, mask: other.get(scan.tobytes(), scan),
    }


def all_candidates(name: str, subjects: Sequence[Subject]) -> dict[str, Candidate]:
    return {TRANSLATION: translators(subjects)[name], **references_for(subjects)}
