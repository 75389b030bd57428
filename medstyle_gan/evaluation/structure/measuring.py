"""The figures of the chapter *structure*, subject by subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from skimage.metrics import normalized_mutual_information

from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.evaluation.chapter import Array, Candidate, Chapter, Figure, Mask, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.structure.body import body_agreement
from medstyle_gan.evaluation.structure.displacement import edge_shift, local_edge_shift
from medstyle_gan.evaluation.structure.edges import edges, gradient_correlation
from medstyle_gan.evaluation.structure.equivariance import equivariance_errors
from medstyle_gan.evaluation.structure.mind import mind, mind_distance

TRUTH = "truth"
_BINS = 64
_NOTES = (
    "Every figure is between a scan and what was made of it; no pair is needed. A scan that is "
    "left alone has moved nothing, so references do well by construction; where there are pairs, "
    "the true style volume shows what a faithful translation reaches.",
    "Gradient correlation: Pearson's, of edge magnitudes inside the mask. MIND distance: mean "
    "absolute difference of Heinrich et al. 2012's descriptors (six neighbours). Mutual "
    "information: normalized, 64 bins, from 1 to 2. Edge shift: by phase correlation of edges; "
    "local edge shift: the median over blocks of 16 voxels. Body Dice and HD95: of the bodies "
    "found in both. Equivariance error: share of the range by which translating a flipped, "
    "shifted (3 voxels) or rotated (5 degrees) scan differs.",
)


def run(
    subjects: Sequence[Subject], candidates: Mapping[str, Candidate], context: EvaluationContext
) -> Chapter:
    """Measures what each candidate did to the scan's structure.

    Args:
        subjects: at least one.
        candidates: by name; the truth, where there is one, is measured beside them.
        context: its intensity scales are used to find bodies.
    """
    figures: list[Figure] = []
    for subject in subjects:
        figures += _figures(subject, candidates, context)
    notes: tuple[str, ...] = _NOTES
    if any(np.isnan(f.value) for f in figures if f.name == "local_edge_shift"):
        notes += ("Local edge shift is left out where no block's edges could be matched.",)
    return Chapter("structure", tuple(figures), notes=notes)


def _figures(
    subject: Subject, candidates: Mapping[str, Candidate], context: EvaluationContext
) -> Iterator[Figure]:
    scan_edges, scan_mind = edges(subject.scan, subject.spacing), mind(subject.scan)
    scales = None if context.translator is None else context.translator.scales
    native = subject.scan if scales is None else scales["scan"].from_unit(subject.scan)
    scan_body = foreground_mask(native)
    volumes = {name: call(subject.scan, subject.mask) for name, call in candidates.items()}
    if subject.truth is not None:
        volumes[TRUTH] = subject.truth
    for name, volume in volumes.items():
        own = edges(volume, subject.spacing)
        correlation = gradient_correlation(scan_edges, own, subject.mask)
        yield Figure("gradient_correlation", name, correlation, "", "higher", subject.name)
        distance = mind_distance(scan_mind, mind(volume), subject.mask)
        yield Figure("mind", name, distance, "", "lower", subject.name)
        shared = _mutual_information(subject.scan, volume, subject.mask)
        yield Figure("mutual_information", name, shared, "", "higher", subject.name)
        yield from _shifts(subject, name, scan_edges, own)
        scale = context.style_scale
        body = foreground_mask(volume if scale is None else scale.from_unit(volume))
        dice, distance = body_agreement(body, scan_body, subject.spacing)
        yield Figure("body_dice", name, dice, "", "higher", subject.name)
        yield Figure("hd95", name, distance, "mm", "lower", subject.name)
    for name, candidate in candidates.items():
        for change, error in equivariance_errors(candidate, subject).items():
            of = {"change": change}
            yield Figure("equivariance_error", name, error, "", "lower", subject.name, of)


def _shifts(subject: Subject, name: str, scan_edges: Array, own: Array) -> Iterator[Figure]:
    shift = edge_shift(scan_edges, own, subject.mask)
    local = local_edge_shift(scan_edges, own, subject.mask)
    size = np.array(subject.spacing)
    length = float(np.linalg.norm(shift))
    yield Figure("edge_shift", name, length, "voxels", "lower", subject.name)
    length = float(np.linalg.norm(shift * size))
    yield Figure("edge_shift_mm", name, length, "mm", "lower", subject.name)
    lengths = np.linalg.norm(local, axis=1)
    middle = float(np.median(lengths)) if len(lengths) else float("nan")
    yield Figure("local_edge_shift", name, middle, "voxels", "lower", subject.name)


def _mutual_information(first: Array, second: Array, mask: Mask) -> float:
    inside, other = first[mask], second[mask]
    if np.ptp(inside) == 0 or np.ptp(other) == 0:
        return 1.0  # a constant tells nothing
    return float(normalized_mutual_information(inside, other, bins=_BINS))
