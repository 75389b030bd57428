"""What the chapter finds in one subject, of which the collection's figures are then made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.evaluation.chapter import TRANSLATION, Array, Candidate, Labels, Subject
from medstyle_gan.evaluation.hallucination.agreement import body_parts, regional_means
from medstyle_gan.evaluation.hallucination.blob_detection import Detection
from medstyle_gan.evaluation.hallucination.blobs import SIZES, visible_sizes
from medstyle_gan.evaluation.hallucination.false_lesions import false_lesions
from medstyle_gan.evaluation.hallucination.given_lesions import (
    LesionContrast,
    detector_recall,
    lesion_contrasts,
    segmented_recall,
)
from medstyle_gan.evaluation.hallucination.insertion import (
    Outcome,
    Trial,
    insertion_trials,
    outcomes,
    removal_of_blobs,
    removal_of_lesions,
)
from medstyle_gan.evaluation.hallucination.memorisation import Looks, looks_of
from medstyle_gan.evaluation.hallucination.segmenter import Segmenter
from medstyle_gan.evaluation.hallucination.site_classifier import Features, slice_features
from medstyle_gan.evaluation.hallucination.slice_choice import body_slices
from medstyle_gan.evaluation.hallucination.task import Overlap, overlaps

SLICES = 8
"""Of each volume that the site classifier and the memorisation test look at."""


@dataclass(frozen=True)
class Settings:
    """How much is drawn, and what is looked for.

    Attributes:
        seed: of this subject's draws.
        rounds: of insertions.
        unit: in-plane voxel size (mm) of the site classifier's features; None leaves them out.
        looks: whether slices are compared with training slices.
        segmenter: the user's frozen task.
        style_scale: gives the segmenter the style's native units; None leaves [-1, 1].
        shown: whether what pictures show is kept.
    """

    seed: int
    rounds: int
    unit: float | None
    looks: bool
    segmenter: Segmenter | None
    style_scale: FittedScale | None
    shown: bool = False

    def segment(self, array: Array, spacing: tuple[float, float, float]) -> Labels:
        """What the segmenter makes of a style volume in [-1, 1]."""
        assert self.segmenter is not None
        native = array if self.style_scale is None else self.style_scale.from_unit(array)
        return self.segmenter(native, spacing)


@dataclass(frozen=True)
class Shown:
    """The volumes of one subject that pictures show, (X, Y, Z) in [-1, 1].

    Attributes:
        translation: of the scan.
        with_lesions: the scan with lesions added; None where there was room for none.
        changed: its translation.
        rings: each added lesion's middle voxel and diameter (mm).
    """

    translation: Array
    with_lesions: Array | None = None
    changed: Array | None = None
    rings: tuple[tuple[tuple[int, int, int], float], ...] = ()


@dataclass
class CandidateFindings:
    """Of one candidate for one subject; what was not looked for is empty or None."""

    inserted: tuple[Outcome, ...]
    removed: tuple[Outcome, ...]
    false: list[Detection]
    contrasts: list[LesionContrast] = field(default_factory=list)
    detected: float | None = None
    segmented: tuple[float, int] | None = None
    task: list[Overlap] = field(default_factory=list)
    features: Features | None = None
    looks: Looks | None = None
    means: dict[int, float] = field(default_factory=dict)


@dataclass
class SubjectFindings:
    """Of one subject.

    Attributes:
        name: the subject.
        candidates: name → findings.
        given: whether removal was of lesions that the user marked; else of inserted ones.
        too_small: diameters (mm) that the scan's voxels are too large for.
        labelled: whether there are labels.
        scan_contrasts: given lesions in the scan.
        true_looks: of the truth's slices, where there is a truth and looks are wanted.
        true_means: the truth's regional means.
        silver: whether the task was compared with the segmenter's own result on the truth.
        shown: of the translation, where it is asked for.
    """

    name: str
    candidates: dict[str, CandidateFindings]
    given: bool
    too_small: tuple[float, ...]
    labelled: bool
    scan_contrasts: list[LesionContrast] = field(default_factory=list)
    true_looks: Looks | None = None
    true_means: dict[int, float] = field(default_factory=dict)
    silver: bool = False
    shown: Shown | None = None


def subject_findings(
    subject: Subject, candidates: Mapping[str, Candidate], settings: Settings
) -> SubjectFindings:
    """Everything that is looked for in one subject."""
    trials = insertion_trials(subject, settings.seed, settings.rounds)
    removal, given = removal_of_lesions(subject), True
    if removal is None:
        given = False
        removal = removal_of_blobs(subject, trials[0]) if trials else None
    marked = subject.lesions if subject.lesions is not None and subject.lesions.any() else None
    parts = _parts(subject)
    true_labels, silver = _true_labels(subject, settings)
    visible = visible_sizes(SIZES, subject.spacing)
    found = SubjectFindings(
        subject.name,
        {},
        given,
        too_small=tuple(size for size in SIZES if size not in visible),
        labelled=subject.labels is not None,
        silver=silver,
    )
    if marked is not None:
        found.scan_contrasts = lesion_contrasts(subject.scan, marked, subject.mask, subject.spacing)
    if subject.truth is not None:
        found.true_means = regional_means(subject.truth, parts, subject.mask)
        if settings.looks:
            found.true_looks = _looks(subject.truth)
    for name, candidate in candidates.items():
        base = candidate(subject.scan, subject.mask)
        own = CandidateFindings(
            inserted=outcomes(trials, candidate, subject.mask, subject.spacing, settings.seed),
            removed=(
                ()
                if removal is None
                else outcomes([removal], candidate, subject.mask, subject.spacing, settings.seed)
            ),
            false=false_lesions(subject.scan, base, subject.mask, subject.spacing, subject.truth),
        )
        if marked is not None:
            own.contrasts = lesion_contrasts(base, marked, subject.mask, subject.spacing)
            own.detected = detector_recall(base, marked, subject.mask, subject.spacing)
        if settings.segmenter is not None:
            predicted = settings.segment(base, subject.spacing)
            if true_labels is not None:
                own.task = overlaps(predicted, true_labels, subject.spacing)
            if marked is not None:
                lesion = predicted == _lesion_label(subject)
                own.segmented = segmented_recall(lesion, marked, subject.spacing)
        if settings.unit is not None:
            own.features = np.stack(
                [
                    slice_features(s, subject.spacing[:2], settings.unit)
                    for s in body_slices(base, subject.mask, SLICES)
                ]
            )
        if settings.looks:
            own.looks = _looks(base)
        if subject.truth is not None:
            own.means = regional_means(base, parts, subject.mask)
        found.candidates[name] = own
        if settings.shown and name == TRANSLATION:
            found.shown = _shown(base, trials, candidate, subject)
    return found


def _shown(base: Array, trials: Sequence[Trial], candidate: Candidate, subject: Subject) -> Shown:
    if not trials:
        return Shown(base)
    first = trials[0]
    rings = tuple((center, size) for _, center, size, _ in first.lesions)
    changed = candidate(first.with_lesions, subject.mask)  # as a rule it is remembered
    return Shown(base, first.with_lesions, changed, rings)


def _looks(array: Array) -> Looks:
    # In the body that the image itself shows: a copy has that of the training's subject.
    return looks_of(body_slices(array, foreground_mask(array), SLICES))


def _parts(subject: Subject) -> Labels:
    has_labels = subject.labels is not None and (subject.labels > 0).any()
    return subject.labels if has_labels else body_parts(subject.mask)  # type: ignore[return-value]


def _true_labels(subject: Subject, settings: Settings) -> tuple[Labels | None, bool]:
    """What the task is compared with, and whether it is only the segmenter's own result."""
    if settings.segmenter is None:
        return None, False
    if subject.labels is not None:
        return subject.labels, False
    if subject.lesions is not None:
        return subject.lesions.astype(np.int32), False
    if subject.truth is None:
        return None, False
    return settings.segment(subject.truth, subject.spacing), True


def _lesion_label(subject: Subject) -> int:
    """The label that the user's labels give to most of the marked lesions; else 1."""
    assert subject.lesions is not None
    if subject.labels is None:
        return 1
    values = subject.labels[subject.lesions]
    values = values[values > 0]
    return int(np.bincount(values).argmax()) if values.size else 1


def mean_or_nan(values: list[float]) -> float:
    """The mean of the finite values; NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
