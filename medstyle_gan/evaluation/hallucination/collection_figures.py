"""Figures of the whole collection: recall by size, site, memorisation, agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medstyle_gan.evaluation.chapter import Figure
from medstyle_gan.evaluation.context import RealVolume
from medstyle_gan.evaluation.hallucination.agreement import concordance
from medstyle_gan.evaluation.hallucination.insertion import Outcome, recall, recall_by_kind
from medstyle_gan.evaluation.hallucination.memorisation import (
    Looks,
    copied_share,
    held_out_baseline,
    joined,
    looks_of,
    nearest,
)
from medstyle_gan.evaluation.hallucination.site_classifier import (
    Features,
    cross_validated_accuracy,
    slice_features,
)
from medstyle_gan.evaluation.hallucination.slice_choice import body_slices
from medstyle_gan.evaluation.hallucination.subject_findings import SLICES, SubjectFindings


@dataclass
class Part:
    """Figures, and what could not be told."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pooled_recalls(findings: Sequence[SubjectFindings]) -> list[Figure]:
    """Recall by size, by contrast and by kind, of all subjects' inserted lesions together."""
    figures = []
    for name in findings[0].candidates:
        pooled = [outcome for found in findings for outcome in found.candidates[name].inserted]
        groups: dict[tuple[str, float | str], list[Outcome]] = {}
        for outcome in pooled:
            groups.setdefault(("size_mm", outcome.size), []).append(outcome)
            groups.setdefault(("contrast", outcome.contrast), []).append(outcome)
        for (key, value), own in sorted(groups.items(), key=lambda item: item[0]):
            figures.append(
                Figure("lesion_recall", name, recall(own), "", "higher", of={key: value})
            )
        for kind, value in recall_by_kind(pooled).items():
            figures.append(Figure("lesion_recall", name, value, "", "higher", of={"kind": kind}))
    return figures


def site_figures(
    findings: Sequence[SubjectFindings], style: Sequence[RealVolume], unit: float | None
) -> Part:
    """How well a classifier tells each candidate's slices from real style slices."""
    part = Part()
    if unit is None:
        return part
    real: dict[str, list[Features]] = {}
    for volume in style:
        array, mask = volume.load()
        shown = body_slices(array, mask, SLICES)
        features = np.stack([slice_features(s, volume.spacing[:2], unit) for s in shown])
        real.setdefault(volume.subject, []).append(features)
    by_subject = [np.concatenate(volumes) for volumes in real.values()]
    if min(len(by_subject), len(findings)) < 2:
        part.notes.append(
            "The site classifier needs two subjects or more on both sides: it was left out."
        )
        return part
    for name in findings[0].candidates:
        ours = [f for found in findings if (f := found.candidates[name].features) is not None]
        accuracy = cross_validated_accuracy(ours, by_subject)
        part.figures.append(Figure("site_accuracy", name, accuracy, "", "lower"))
    part.notes.append(
        "Site accuracy is the balanced accuracy, cross-validated by subject, of telling slices "
        "from real style slices by simple features: 0.5 is chance. Where nothing is done it tells "
        "scan from style. Other patients in one collection can be told too."
    )
    return part


def memorisation_figures(
    findings: Sequence[SubjectFindings], training: Sequence[RealVolume]
) -> Part:
    """Whether candidates' slices are nearer to training slices than real ones ever are."""
    part = Part()
    if not training:
        part.notes.append(
            "Copies of training slices were not looked for: the model's training data are not at "
            "hand."
        )
        return part
    by_subject: dict[str, list[Looks]] = {}
    for volume in training:
        by_subject.setdefault(volume.subject, []).append(looks_of(body_slices(*volume.load())))
    each = [joined(volumes) for volumes in by_subject.values()]
    bank = joined(each)
    true = [found.true_looks for found in findings if found.true_looks is not None]
    if true:
        baseline, what = nearest(joined(true), bank), "the true style slices of these subjects"
    elif len(each) > 1:
        baseline, what = held_out_baseline(each), "training slices compared with other subjects'"
    else:
        part.notes.append(
            "Copies of training slices were not looked for: one training subject and no pairs "
            "leave no held-out baseline."
        )
        return part
    for name in findings[0].candidates:
        for found in findings:
            looks = found.candidates[name].looks
            assert looks is not None
            near = nearest(looks, bank)
            share = copied_share(near, baseline)
            part.figures.append(Figure("copied_share", name, share, "", "lower", found.name))
            part.figures.append(
                Figure(
                    "nearest_correlation",
                    name,
                    float(np.median(near.correlation)),
                    subject=found.name,
                )
            )
    part.notes.append(
        "Copied are slices that are nearer to a training slice, in pixels and in gradients, than "
        f"any of the held-out baseline: {what} (median correlation "
        f"{np.median(baseline.correlation):.2f}, highest {baseline.correlation.max():.2f}). By "
        f"chance about 1 in {len(baseline.correlation) + 1} is."
    )
    return part


def agreement_figures(findings: Sequence[SubjectFindings]) -> Part:
    """Concordance of regional means with those of the same subjects' true style volumes."""
    part = Part()
    paired = [found for found in findings if found.true_means]
    if not paired:
        return part
    for name in findings[0].candidates:
        ours, true = [], []
        for found in paired:
            means = found.candidates[name].means
            ours += [means[label] for label in found.true_means]
            true += list(found.true_means.values())
        value = concordance(ours, true)
        if math.isfinite(value):
            part.figures.append(Figure("travelling_agreement", name, value, "", "higher"))
    labelled = all(found.labelled for found in paired)
    part.notes.append(
        "Travelling agreement is Lin's concordance of mean intensities, "
        + ("of the labels" if labelled else "of 27 parts of the body where labels are missing")
        + ", between each subject's translation and its true style volume."
    )
    return part
