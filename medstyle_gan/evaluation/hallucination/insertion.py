"""Are lesions kept, and gone when they are gone? Known blobs put into scans and taken out again.

A translation is faithful to a lesion where a change of the scan at that place changes the
translation there. So both scans are translated, and each lesion is looked for in the difference of
the translations by a matched filter (`matched_filter`): putting blobs in asks for lesions that are
erased, taking lesions out for lesions that are painted whatever the scan shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from medstyle_gan.evaluation.chapter import Array, Candidate, Mask, Subject
from medstyle_gan.evaluation.hallucination.blobs import (
    CONTRASTS,
    SIZES,
    Blob,
    Spacing,
    ball,
    blob_mask,
    draw_blobs,
    insert,
    intensity_range,
    place,
)
from medstyle_gan.evaluation.hallucination.inpainting import (
    Component,
    components,
    without_lesions,
)
from medstyle_gan.evaluation.hallucination.matched_filter import Response, matched_filter

ROUNDS = 2
_BOX_MARGIN = 3.0  # mm around a lesion, in which its surroundings are seen


@dataclass(frozen=True)
class Outcome:
    """What became of one lesion.

    Attributes:
        size: diameter (mm), of the ball of the same volume for lesions of other shapes.
        contrast: in the scan, as a share of the scan's range.
        response: in the difference of the translations.
        kept: the response's contrast as a share of the translation's range, over `contrast`; its
            sign says whether bright stays bright.
        visible: whether it counts as kept.
    """

    size: float
    contrast: float
    response: Response
    kept: float
    visible: bool


@dataclass(frozen=True)
class Trial:
    """Two scans that differ by lesions, and where these are.

    Attributes:
        without: (X, Y, Z), the scan without the lesions.
        with_lesions: the scan with them.
        lesions: each one's shape (x, y, z) in [0, 1], middle voxel, size (mm) and contrast (share
            of the scan's range).
        clearance: (X, Y, Z) float32, how far each voxel of the body is from all of them (mm); 0
            in them and outside the body.
    """

    without: Array
    with_lesions: Array
    lesions: tuple[tuple[Array, tuple[int, int, int], float, float], ...]
    clearance: Array


def insertion_trials(
    subject: Subject,
    seed: int = 0,
    rounds: int = ROUNDS,
    sizes: Sequence[float] = SIZES,
    contrasts: Sequence[float] = CONTRASTS,
) -> tuple[Trial, ...]:
    """The scan and the scan with blobs at random plausible places, a few times.

    Args:
        subject: whose scan.
        seed: of the places.
        rounds: pairs of scans, each with up to one blob of each size and contrast.
        sizes: diameters (mm).
        contrasts: shares of the scan's range.
    """
    trials = []
    for number in range(rounds):
        rng = np.random.default_rng([seed, number])
        blobs = draw_blobs(
            subject.scan, subject.mask, subject.spacing, rng, sizes, contrasts, subject.lesions
        )
        if blobs:
            changed = insert(subject.scan, blobs, subject.spacing)
            touched = blob_mask(subject.scan.shape, blobs, subject.spacing)
            trials.append(_trial(subject, subject.scan, changed, blobs, touched))
    return tuple(trials)


def removal_of_blobs(subject: Subject, trial: Trial) -> Trial:
    """The other way round: a trial's blobs taken out of the scan that has them, by inpainting."""
    touched = np.zeros(subject.scan.shape, bool)
    for shape, center, _, _ in trial.lesions:
        box, share = place(shape, center, touched.shape)
        touched[box] |= share > 0
    return Trial(
        without_lesions(trial.with_lesions, touched),
        trial.with_lesions,
        trial.lesions,
        trial.clearance,
    )


def removal_of_lesions(subject: Subject) -> Trial | None:
    """The scan and the scan without the lesions that its user marked, by inpainting.

    Lesions that the scan hardly shows are left out: taking them out is no change. None where
    nothing is left, or no lesions are marked.
    """
    if subject.lesions is None or not subject.lesions.any():
        return None
    without = without_lesions(subject.scan, subject.lesions)
    full = intensity_range(subject.scan, subject.mask)
    difference = subject.scan - without
    kept = []
    for component in components(subject.lesions, subject.spacing):
        shape = component_shape(component, subject.spacing)
        nowhere = np.empty(0, np.intp)  # what was not filled is the same: there is no noise
        found = matched_filter(
            difference, shape, component.center, nowhere, np.random.default_rng(0)
        )
        if found.visible(full):
            diameter = 2 * (3 * component.volume / (4 * np.pi)) ** (1 / 3)
            kept.append((shape, component.center, float(diameter), found.contrast / full))
    if not kept:
        return None
    return Trial(without, subject.scan, tuple(kept), _clearance(subject, subject.lesions))


def component_shape(component: Component, spacing: Spacing) -> Array:
    """A lesion's mask in an odd box around it, for `matched_filter`."""
    margin = [max(1, int(np.ceil(_BOX_MARGIN / step))) for step in spacing]
    pads = [
        (m + (1 - n % 2), m) for n, m in zip(component.mask.shape, margin, strict=True)
    ]  # an even size gets its extra voxel in front, as `center` rounds down
    return np.pad(component.mask, pads).astype(np.float32)


def outcomes(
    trials: Iterable[Trial], candidate: Candidate, mask: Mask, spacing: Spacing, seed: int = 0
) -> tuple[Outcome, ...]:
    """What a candidate makes of the lesions of all trials.

    Args:
        trials: as `insertion_trials` and the removals give them.
        candidate: what translates.
        mask: the body.
        spacing: voxel size (mm).
        seed: of the background places.
    """
    found = []
    for number, trial in enumerate(trials):
        base = candidate(trial.without, mask)
        with_lesions = candidate(trial.with_lesions, mask)
        difference = with_lesions - base
        full = intensity_range(base, mask)
        for index, (shape, center, size, contrast) in enumerate(trial.lesions):
            rng = np.random.default_rng([seed, number, index])
            background = _background(trial.clearance, shape, spacing)
            response = matched_filter(difference, shape, center, background, rng)
            share = response.contrast / full if full > 0 else 0.0
            visible = response.visible(full)
            found.append(Outcome(size, contrast, response, share / contrast, visible))
    return tuple(found)


def recall(found: Sequence[Outcome]) -> float:
    """The share of lesions that count as kept; NaN of none."""
    return float(np.mean([outcome.visible for outcome in found])) if found else float("nan")


def recall_by_kind(found: Sequence[Outcome]) -> dict[str, float]:
    """`small_bright`, `small_dark`, `large_bright`, `large_dark` → recall, where there are any.

    Small is up to 4 mm, bright brighter than the tissue around.
    """
    kinds: dict[str, list[Outcome]] = {}
    for outcome in found:
        size = "small" if outcome.size <= 4 else "large"
        kinds.setdefault(f"{size}_{'bright' if outcome.contrast > 0 else 'dark'}", []).append(
            outcome
        )
    return {kind: recall(own) for kind, own in sorted(kinds.items())}


def _trial(
    subject: Subject, without: Array, changed: Array, blobs: Sequence[Blob], touched: Mask
) -> Trial:
    lesions = tuple(
        (ball(b.diameter, subject.spacing, _BOX_MARGIN), b.center, b.diameter, b.contrast)
        for b in blobs
    )
    return Trial(without, changed, lesions, _clearance(subject, touched))


def _clearance(subject: Subject, touched: Mask) -> Array:
    """How far the body's voxels are from the touched ones (mm)."""
    away = distance_transform_edt(~touched, sampling=subject.spacing)
    return np.where(subject.mask, away, 0).astype(np.float32)


def _background(clearance: Array, shape: Array, spacing: Spacing) -> NDArray[np.intp]:
    """Flat indices of voxels around which the shape's box holds no lesion.

    Where there are none, those that are the farthest from lesions.
    """
    half = np.array([(n // 2) * step for n, step in zip(shape.shape, spacing, strict=True)])
    reach = min(float(np.linalg.norm(half)), 0.9 * float(clearance.max()))
    return np.flatnonzero(clearance > reach)
