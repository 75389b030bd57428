"""The chapter *robustness*: curves of fidelity or structure against what is wrong with a scan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medstyle_gan.evaluation.chapter import Candidate, Chapter, Figure, Picture, Subject
from medstyle_gan.evaluation.comparison import TRANSLATION
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES
from medstyle_gan.evaluation.robustness.pictures import corrupted_montage, curve_grid
from medstyle_gan.evaluation.robustness.scoring import SLICES, Curve, curves
from medstyle_gan.evaluation.sharing import shared_out

MOST_SUBJECTS = 4
_KEY = 4  # of this chapter's random choices

Curves = dict[tuple[str, str], Curve]
_Given = tuple[
    Sequence[Subject], Mapping[str, Candidate], Sequence[float], int | None, Sequence[int]
]


def run(
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
) -> Chapter:
    """Corrupts scans in degrees and scores what candidates make of them.

    Args:
        subjects: held-out scans; the first four are used, with `context.quick` one.
        candidates: `translation` and the references.
        context: its config says whether slices can be translated alone.

    Returns:
        Figures `ssim` (with truth) or `gradient_correlation` (without) of each corruption and
        severity, `slope` of each corruption (the score's change from none to full severity),
        `mean_slope` and `worst_slope` over corruptions, and `corrupted_ssim` or
        `corrupted_gradient_correlation`: the mean score at full severity.
    """
    severities = SEVERITIES[-1:] if context.quick else SEVERITIES
    slices = SLICES if _translates_slices(context) else None
    figures: list[Figure] = []
    found: dict[str, Curves] = {}
    count = min(len(subjects), 1 if context.quick else MOST_SUBJECTS)
    paired = []
    given: _Given = (
        subjects,
        candidates,
        severities,
        slices,
        [_seed(context, i) for i in range(count)],
    )
    for name, own, has_truth in shared_out(_of_subject, given, count, context.workers):
        found[name] = own
        paired.append(has_truth)
        figures += _figures(name, own, "ssim" if has_truth else "gradient_correlation")
    notes = _notes(all(paired), slices, count, len(subjects))
    metric = "SSIM" if all(paired) else "gradient correlation"
    pictures = _pictures(subjects[0], found, candidates, context, metric)
    return Chapter("robustness", tuple(figures), pictures, tuple(notes))


def _of_subject(given: _Given, index: int) -> tuple[str, Curves, bool]:
    """A subject's name, its curves, and whether it has a truth."""
    subjects, candidates, severities, slices, seeds = given
    subject = subjects[index]
    own = curves(subject, candidates, CORRUPTIONS, severities, slices, seeds[index])
    return subject.name, own, subject.truth is not None


def _seed(context: EvaluationContext, index: int) -> int:
    return int(context.rng(_KEY, index).integers(2**31))


def _translates_slices(context: EvaluationContext) -> bool:
    """Whether a few axial slices are translated as they would be in the whole volume."""
    config = context.config
    return config.data.dims != 3 and config.inference.planes == 1 and config.data.plane == "axial"


def _figures(subject: str, own: Curves, metric: str) -> list[Figure]:
    figures = []
    slopes: dict[str, list[float]] = {}
    last: dict[str, list[float]] = {}  # scores at full severity
    clean_told: set[str] = set()
    for (corruption, name), curve in own.items():
        for severity, score in zip(curve.severities, curve.scores, strict=True):
            if severity == 0 and name in clean_told:
                continue
            what = "none" if severity == 0 else corruption
            of: dict[str, str | float] = {"corruption": what, "severity": round(severity, 2)}
            figures.append(Figure(metric, name, score, "", "higher", subject, of))
            if severity == 0:
                clean_told.add(name)
        slopes.setdefault(name, []).append(curve.slope)
        last.setdefault(name, []).append(curve.scores[-1])
        figures.append(
            Figure("slope", name, curve.slope, "", "higher", subject, {"corruption": corruption})
        )
    for name, values in slopes.items():
        known = [value for value in values if math.isfinite(value)]
        figures.append(Figure("mean_slope", name, float(np.mean(known)), "", "higher", subject))
        figures.append(Figure("worst_slope", name, min(known), "", "higher", subject))
        left = float(np.mean([score for score in last[name] if math.isfinite(score)]))
        figures.append(Figure(f"corrupted_{metric}", name, left, "", "higher", subject))
    return figures


def _pictures(
    subject: Subject,
    found: Mapping[str, Curves],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
    metric: str,
) -> tuple[Picture, ...]:
    pictures = [curve_grid(list(found.values()), list(candidates), metric)]
    if TRANSLATION in candidates:
        slices = SLICES if _translates_slices(context) else None
        translate, seed = candidates[TRANSLATION], _seed(context, 0)
        montage = corrupted_montage(subject, translate, seed, slices, context.mark)
        pictures.append(montage)
    return tuple(pictures)


def _notes(paired: bool, slices: int | None, used: int, there: int) -> list[str]:
    score = (
        "SSIM with the truth"
        if paired
        else "the correlation of in-plane gradients with the clean scan's, where there is no truth"
    )
    strongest = "; ".join(
        f"{c.name.replace('_', ' ')}: {c.strongest:g} {c.unit}" for c in CORRUPTIONS.values()
    )
    notes = [
        f"Scores are {score}. A slope is the score's change from the clean scan to severity 1, by "
        f"least squares. Severity 1 is {strongest}.",
        "Scans are corrupted after their intensities were scaled, so a gain stays one; values "
        "beyond the scale are clipped.",
    ]
    if slices is not None:
        notes.append(f"{slices} axial slices in the middle of each body are translated.")
    if used < there:
        notes.append(f"{used} of {there} subjects were used.")
    return notes
