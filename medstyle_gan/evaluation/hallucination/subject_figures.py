"""Figures of one subject, from what was found in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medstyle_gan.evaluation.chapter import Figure
from medstyle_gan.evaluation.hallucination.insertion import recall, recall_by_kind
from medstyle_gan.evaluation.hallucination.subject_findings import (
    CandidateFindings,
    SubjectFindings,
    mean_or_nan,
)


def figures_of(found: SubjectFindings) -> Iterator[Figure]:
    """Every figure of a subject, candidate by candidate."""
    for name, own in found.candidates.items():
        yield from _lesion_figures(found.name, name, own)
        if found.scan_contrasts:
            yield from _given_figures(found, name, own)
        for overlap in own.task:
            of = {"label": str(overlap.label)}
            yield Figure("task_dice", name, overlap.dice, "", "higher", found.name, of)
            yield Figure("task_hd95", name, overlap.hd95, "mm", "lower", found.name, of)


def _lesion_figures(subject: str, name: str, own: CandidateFindings) -> Iterator[Figure]:
    if own.inserted:
        worst = min(recall_by_kind(own.inserted).values())
        kept = float(np.median([abs(outcome.kept) for outcome in own.inserted]))
        yield Figure("lesion_recall", name, recall(own.inserted), "", "higher", subject)
        yield Figure("worst_kind_recall", name, worst, "", "higher", subject)
        yield Figure("contrast_kept", name, kept, "", None, subject)
    if own.removed:
        yield Figure("removal_recall", name, recall(own.removed), "", "higher", subject)
    yield Figure("false_lesions", name, float(len(own.false)), "", "lower", subject)


def _given_figures(found: SubjectFindings, name: str, own: CandidateFindings) -> Iterator[Figure]:
    before = mean_or_nan([c.cnr for c in found.scan_contrasts])
    after = mean_or_nan([c.cnr for c in own.contrasts])
    yield Figure("given_lesion_cnr_before", name, before, "", None, found.name)
    yield Figure("given_lesion_cnr", name, after, "", "higher", found.name)
    if own.detected is not None:
        yield Figure("given_lesion_recall", name, own.detected, "", "higher", found.name)
    if own.segmented is not None:
        share, wrong = own.segmented
        yield Figure("segmenter_lesion_recall", name, share, "", "higher", found.name)
        yield Figure("segmenter_false_lesions", name, float(wrong), "", "lower", found.name)
