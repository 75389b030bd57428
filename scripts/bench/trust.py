"""What no distance from a truth tells: sharpness, lesions kept and lesions painted.

By the measures of `medstyle evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medstyle_gan.config import Config
from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.evaluation.candidates import Translation
from medstyle_gan.evaluation.chapter import Array, Mask, Subject
from medstyle_gan.evaluation.consistency import adjacent_slice_difference
from medstyle_gan.evaluation.hallucination.false_lesions import false_lesions
from medstyle_gan.evaluation.hallucination.insertion import insertion_trials, outcomes, recall
from medstyle_gan.evaluation.visual_effect.body_slices import body_positions, body_slices
from medstyle_gan.evaluation.visual_effect.spectrum import (
    Spectrum,
    lattice_peaks,
    power_spectrum,
    radial_spectrum,
    spectrum_distance,
)
from medstyle_gan.inference import Translator

TRUST = ("slice_consistency", "spectrum", "checkerboard", "lesion_recall", "false_lesions")
_SLICES = 16
_SIZES, _CONTRASTS = (6.0, 8.0, 12.0), (-0.4, 0.4)


class TrustMeasure:
    """Measures translations beside a style collection's volumes.

    Args:
        style: the collection.
        plane: of the slices.
    """

    def __init__(self, style: CachedCollection, plane: str) -> None:
        self._plane = plane
        real = [array_and_foreground(volume, plane) for volume in style]
        self._difference = np.mean([adjacent_slice_difference(a, m, plane) for a, m in real])
        spectra = [self._spectra(a, m) for a, m in real]
        self._radial, self._peaks = (np.mean(each, axis=0) for each in zip(*spectra, strict=True))

    def __call__(
        self, subject: Subject, candidate: Callable[[Array, Mask], Array], lesions: bool = True
    ) -> dict[str, float]:
        """Measure what a candidate makes of a subject.

        Args:
            subject: a scan, with its truth where there is one.
            candidate: what translates.
            lesions: whether it can translate changed scans too; else they are left out.

        Returns:
            `slice_consistency`: difference of adjacent slices over that of style volumes;
            `spectrum`: mean difference from theirs (dB); `checkerboard`: by how much its highest
            lattice peak exceeds theirs (dB); `lesion_recall`: share of inserted blobs of 6, 8 and
            12 mm with ± 0.4 of the scan's range that are there; `false_lesions`: their number.
        """
        translation = candidate(subject.scan, subject.mask)
        difference = adjacent_slice_difference(translation, subject.mask, self._plane)
        radial, peaks = self._spectra(translation, subject.mask)
        figures = {
            "slice_consistency": float(difference / self._difference),
            "spectrum": float(spectrum_distance(radial, self._radial)),
            "checkerboard": float((peaks - self._peaks).max()),
        }
        if not lesions:
            return figures
        trials = insertion_trials(subject, sizes=_SIZES, contrasts=_CONTRASTS)
        found = outcomes(trials, candidate, subject.mask, subject.spacing)
        truth = subject.truth
        painted = false_lesions(subject.scan, translation, subject.mask, subject.spacing, truth)
        return {**figures, "lesion_recall": recall(found), "false_lesions": float(len(painted))}

    def _spectra(self, array: Array, mask: Mask) -> tuple[Spectrum, Spectrum]:
        positions = body_positions(mask, self._plane, _SLICES)
        power = power_spectrum(*body_slices(array, mask, self._plane, positions))
        return radial_spectrum(power), lattice_peaks(power)


def trust_figures(
    translator: Translator, config: Config, subjects: Sequence[Subject], style: CachedCollection
) -> list[dict[str, float]]:
    """What `TrustMeasure` says of a model, a subject each, and of the truth as `true_...`."""
    measure = TrustMeasure(style, config.data.plane)
    spacings = {subject.scan.shape: subject.spacing for subject in subjects}
    translation = Translation(translator, spacings)
    figures = []
    for subject in subjects:
        own = measure(subject, translation)
        if (truth := subject.truth) is not None:
            real = measure(subject, lambda scan, mask, truth=truth: truth, lesions=False)  # type: ignore[misc]
            own |= {f"true_{name}": value for name, value in real.items()}
        figures.append(own)
    return figures
