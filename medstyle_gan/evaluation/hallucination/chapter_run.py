"""The chapter *hallucination*: its figures, pictures and notes from subjects and candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medstyle_gan.evaluation.chapter import Candidate, Chapter, Subject
from medstyle_gan.evaluation.context import EvaluationContext, RealVolume
from medstyle_gan.evaluation.hallucination.blobs import CONTRASTS, SIZES
from medstyle_gan.evaluation.hallucination.collection_figures import (
    agreement_figures,
    memorisation_figures,
    pooled_recalls,
    site_figures,
)
from medstyle_gan.evaluation.hallucination.given_lesions import FALSE_POSITIVES
from medstyle_gan.evaluation.hallucination.insertion import ROUNDS
from medstyle_gan.evaluation.hallucination.pictures import draw_pictures
from medstyle_gan.evaluation.hallucination.segmenter import Segmenter
from medstyle_gan.evaluation.hallucination.sharing import all_findings
from medstyle_gan.evaluation.hallucination.subject_figures import figures_of
from medstyle_gan.evaluation.hallucination.subject_findings import Settings, SubjectFindings

_KEY = 7  # of this chapter's random choices


def run(
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
    *,
    segmenter: Segmenter | None = None,
) -> Chapter:
    """Looks for lesions that a translator invents or erases.

    For each subject and candidate it puts blobs into the scan and takes lesions out
    (`lesion_recall`, `removal_recall`), counts false lesions (`false_lesions`), compares the
    contrast of marked lesions before and after, and runs the frozen task. Of the collection it
    tells whether a classifier knows translations from real style slices (`site_accuracy`),
    whether training slices are copied (`copied_share`), and whether subjects that were imaged at
    both sites agree (`travelling_agreement`).

    Args:
        subjects: held-out scans, at least one.
        candidates: `translation` and the references.
        context: the collections, and the seed.
        segmenter: the user's frozen task, see `load_segmenter`; None takes the context's.

    Returns:
        The chapter.
    """
    unit = _coarsest(context.scans or subjects, context.style)
    scale = None if context.translator is None else context.translator.scales["style"]
    seeds = [int(context.rng(_KEY, index).integers(2**31)) for index in range(len(subjects))]
    settings = [
        Settings(
            seed=seed,
            rounds=1 if context.quick else ROUNDS,
            unit=unit,
            looks=bool(context.training_style),
            segmenter=segmenter or context.segmenter,
            style_scale=scale,
            shown=index == 0,
        )
        for index, seed in enumerate(seeds)
    ]
    findings = all_findings(subjects, candidates, settings, context.workers)
    figures = [figure for found in findings for figure in figures_of(found)]
    figures += pooled_recalls(findings)
    notes = _notes(findings)
    for part in (
        site_figures(findings, context.style, unit),
        memorisation_figures(findings, context.training_style),
        agreement_figures(findings),
    ):
        figures += part.figures
        notes += part.notes
    if settings[0].segmenter is not None:
        notes += _task_notes(any(found.silver for found in findings), scale is not None)
    pictures = draw_pictures(subjects[0], findings[0], figures, context.mark)
    return Chapter("hallucination", tuple(figures), pictures, tuple(notes))


def _coarsest(
    scans: Sequence[Subject] | Sequence[RealVolume], style: Sequence[RealVolume]
) -> float | None:
    """The largest in-plane voxel (mm) of all that the classifier compares; None without style."""
    if not style:
        return None
    return max(max(volume.spacing[:2]) for volume in (*scans, *style))


def _notes(findings: Sequence[SubjectFindings]) -> list[str]:
    notes = [
        "Lesions are balls of "
        f"{', '.join(f'{size:g}' for size in SIZES)} mm and ±"
        f"{', ±'.join(f'{c:g}' for c in CONTRASTS if c > 0)} of the scan's range (2nd to 98th "
        "percentile in the body), at random places inside the body. One counts as kept where its "
        "matched filter in the difference of the translations with and without it answers with at "
        "least 3 times the noise of the background and 5 % of the translation's range.",
        "A false lesion is a blob that the translation has, its own mapping of the scan's "
        "intensities does not make expect, and neither the scan nor the truth shows.",
        "Removal is of the lesions that were marked."
        if any(found.given for found in findings)
        else "No lesions are marked, or the scans do not show them: removal is of inserted ones.",
    ]
    left_out = sorted({size for found in findings for size in found.too_small})
    if left_out:
        notes.append(
            f"Lesions of {', '.join(f'{size:g}' for size in left_out)} mm are too small for the "
            "voxels of some scans and were not tried there."
        )
    if any(found.scan_contrasts for found in findings):
        notes.append(
            "Recall of the blob detector is told at "
            f"{FALSE_POSITIVES} false detections a volume; a folded cortex has many blobs, so "
            "compare it between candidates."
        )
    return notes


def _task_notes(silver: bool, native: bool) -> list[str]:
    notes = [
        "The frozen segmenter saw volumes in "
        + ("the style's native units." if native else "[-1, 1] units.")
    ]
    if silver:
        notes.append(
            "Where no labels are given the task's truth is what the segmenter itself makes of the "
            "true style volume: it tells agreement, not accuracy."
        )
    return notes
