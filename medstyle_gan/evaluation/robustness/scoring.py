"""How much of a translation's quality is left when its scan is corrupted: curves and slopes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medstyle_gan.evaluation.chapter import Array, Candidate, Mask, Subject
from medstyle_gan.evaluation.fidelity import fidelity
from medstyle_gan.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, Corruption
from medstyle_gan.evaluation.scoring import UNIT_RANGE

SLICES = 8
"""Of a scan, in the middle of the body, that a network of slices translates for this chapter."""


@dataclass(frozen=True)
class Curve:
    """Scores of one candidate under one corruption.

    Attributes:
        severities: from 0 on.
        scores: at each, higher being better.
    """

    severities: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def slope(self) -> float:
        """What the score changes by over all severities, by least squares; below 0 is a loss."""
        return float(np.polyfit(self.severities, self.scores, 1)[0])


def middle_slab(mask: Mask, count: int | None) -> slice:
    """So many axial slices in the middle of the body; all of them where None."""
    if count is None or mask.shape[2] <= count:
        return slice(0, mask.shape[2])
    area = mask.sum(axis=(0, 1))
    middle = int(np.searchsorted(np.cumsum(area), area.sum() / 2))
    start = min(max(middle - count // 2, 0), mask.shape[2] - count)
    return slice(start, start + count)


def curves(
    subject: Subject,
    candidates: Mapping[str, Candidate],
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
    severities: Sequence[float] = SEVERITIES,
    slices: int | None = SLICES,
    seed: int = 0,
) -> dict[tuple[str, str], Curve]:
    """Every candidate's scores under every corruption.

    The whole scan is corrupted; of networks of slices only some are then translated. With a truth
    the score is SSIM with it; without one the correlation of gradients with those of the clean
    scan. Where the corruption moves anatomy, truth and mask are moved along.

    Args:
        subject: whose scan.
        candidates: by name.
        corruptions: by name.
        severities: above 0.
        slices: see `middle_slab`.
        seed: of what is random in a corruption.

    Returns:
        (corruption, candidate) → its curve.
    """
    slab = middle_slab(subject.mask, slices)
    clean = _Compared(subject.scan, subject.truth, subject.mask, slab)
    start = {name: clean.score(candidate, subject.scan) for name, candidate in candidates.items()}
    found = {}
    for corruption in corruptions.values():
        scores: dict[str, list[float]] = {name: [start[name]] for name in candidates}
        for severity in severities:
            changed = corruption(subject.scan, subject.mask, subject.spacing, severity, seed)
            compared = _compared(subject, corruption, severity, slab)
            for name, candidate in candidates.items():
                scores[name].append(compared.score(candidate, changed))
        for name, values in scores.items():
            found[corruption.name, name] = Curve((0.0, *severities), tuple(values))
    return found


@dataclass(frozen=True)
class _Compared:
    """What translations are compared with.

    Attributes:
        scan: clean, (X, Y, Z).
        truth: or None.
        mask: the body.
        slab: slices to translate.
        judged: bool (Z,), slices that count; None for all.
    """

    scan: Array
    truth: Array | None
    mask: Mask
    slab: slice
    judged: Mask | None = None

    def score(self, candidate: Candidate, scan: Array) -> float:
        given = np.ascontiguousarray(scan[..., self.slab])
        mask = np.ascontiguousarray(self.mask[..., self.slab])
        translation = candidate(given, mask)
        counts = mask.copy()
        if self.judged is not None:
            counts[..., ~self.judged[self.slab]] = False
        if not counts.any():
            return math.nan
        if self.truth is not None:
            return fidelity(translation, self.truth[..., self.slab], counts, UNIT_RANGE)["ssim"]
        return gradient_correlation(translation, self.scan[..., self.slab], counts)


def _compared(subject: Subject, corruption: Corruption, severity: float, slab: slice) -> _Compared:
    judged = None
    if corruption.spared is not None:
        judged = corruption.spared(subject.scan.shape[2], severity * corruption.strongest)
    if not corruption.moves:
        return _Compared(subject.scan, subject.truth, subject.mask, slab, judged)
    truth = subject.truth
    return _Compared(
        corruption.moved(subject.scan, severity, -1.0),
        None if truth is None else corruption.moved(truth, severity, -1.0),
        corruption.moved(subject.mask.astype(np.float32), severity, 0.0) >= 0.5,
        slab,
        judged,
    )


def gradient_correlation(first: Array, second: Array, mask: Mask) -> float:
    """The correlation of two volumes' in-plane gradient magnitudes inside a mask.

    Args:
        first: (X, Y, Z).
        second: (X, Y, Z).
        mask: bool (X, Y, Z).

    Returns:
        In [-1, 1]; 0 where either has no edges.
    """
    edges = [np.hypot(*np.gradient(array, axis=(0, 1)))[mask] for array in (first, second)]
    if any(edge.std() < 1e-9 for edge in edges):
        return 0.0
    return float(np.corrcoef(*edges)[0, 1])
