"""The chapter *fidelity*: how close a translation is to the truth, where pairs tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medstyle_gan.evaluation.chapter import Array, Candidate, Chapter, Figure, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.fidelity import fidelity, ssim_map
from medstyle_gan.evaluation.hounsfield import HOUNSFIELD_NOTE, hounsfield_figures
from medstyle_gan.evaluation.multiscale import fitting_scales, masked_ms_ssim
from medstyle_gan.evaluation.scoring import UNIT_RANGE

_NOTE = (
    "Translation and truth are compared inside the mask in [-1, 1] units, each real volume by its "
    "own intensity scale, with a data range of 2; MAE is a share of that range. SSIM is the mean "
    "over the mask of the SSIM map of whole axial slices (11x11 Gaussian window)."
)


def run(
    subjects: Sequence[Subject], candidates: Mapping[str, Candidate], context: EvaluationContext
) -> Chapter:
    """Measures every candidate against the truth.

    Masked MAE (share of the range, and in native units by the style collection's scale), PSNR,
    SSIM and MS-SSIM; MAE, PSNR and SSIM in each region where there are labels; for CT the HU
    protocol of `hounsfield`.

    Args:
        subjects: those without truth are passed over.
        candidates: by name.
        context: its `style_scale` and `hounsfield` are used.
    """
    figures: list[Figure] = []
    notes: dict[str, None] = {}
    for subject in subjects:
        if subject.truth is None:
            notes.setdefault("Without registered pairs there is no truth to be compared with.")
            continue
        notes.setdefault(_NOTE)
        scales = fitting_scales(subject.truth.shape)
        notes.setdefault(
            f"MS-SSIM: {scales} of its 5 scales fit into slices of {subject.truth.shape[0]} x "
            f"{subject.truth.shape[1]}, with the first weights, summing to 1; outside the mask "
            "both are background; where a scale's contrast is turned over it is 0."
            if scales
            else f"MS-SSIM is left out: slices of {subject.truth.shape[0]} x "
            f"{subject.truth.shape[1]} are too small for it."
        )
        for name, candidate in candidates.items():
            estimate = candidate(subject.scan, subject.mask)
            figures += _of_unit_values(subject, name, estimate, scales)
            figures += _of_native_values(subject, name, estimate, context)
    if context.hounsfield and figures:
        notes.setdefault(HOUNSFIELD_NOTE)
    elif any(figure.name == "mae_native" for figure in figures):
        notes.setdefault(
            "MAE in native units: the estimate as it would be written, by the style collection's "
            "typical intensity scale, against the true volume's own values."
        )
    return Chapter("fidelity", tuple(figures), notes=tuple(notes))


def _of_unit_values(subject: Subject, name: str, estimate: Array, scales: int) -> Iterator[Figure]:
    truth, mask = subject.truth, subject.mask
    assert truth is not None
    similarity = ssim_map(estimate, truth, UNIT_RANGE, np.asarray(mask.any(axis=(0, 1))))
    whole = fidelity(estimate, truth, mask, UNIT_RANGE, similarity)
    yield from _figures(whole, name, subject.name, {})
    if scales:
        value = masked_ms_ssim(estimate, truth, mask, UNIT_RANGE, scales)
        yield Figure("ms_ssim", name, value, "", "higher", subject.name)
    if subject.labels is None:
        return
    for label in np.unique(subject.labels[mask]):
        if label == 0:
            continue
        inside = mask & (subject.labels == label)
        error = (estimate[inside] - truth[inside]).astype(np.float64)
        mean_square = float(np.mean(error**2))
        psnr = 10 * np.log10(UNIT_RANGE**2 / mean_square) if mean_square else np.inf
        of_region = {
            "mae": float(np.abs(error).mean()),
            "psnr": float(psnr),
            "ssim": float(similarity[inside].mean()),
        }
        yield from _figures(of_region, name, subject.name, {"region": str(label)})


def _figures(
    values: Mapping[str, float], name: str, subject: str, of: Mapping[str, str]
) -> Iterator[Figure]:
    yield Figure("psnr", name, values["psnr"], "dB", "higher", subject, of)
    yield Figure("ssim", name, values["ssim"], "", "higher", subject, of)
    yield Figure("mae", name, values["mae"] / UNIT_RANGE, "", "lower", subject, of)


def _of_native_values(
    subject: Subject, name: str, estimate: Array, context: EvaluationContext
) -> Iterator[Figure]:
    if subject.native_truth is None or context.style_scale is None:
        return
    native = context.style_scale.from_unit(estimate)
    error = np.abs(native - subject.native_truth)[subject.mask].astype(np.float64)
    unit = "HU" if context.hounsfield else "native units"
    yield Figure("mae_native", name, float(error.mean()), unit, "lower", subject.name)
    if context.hounsfield:
        yield from hounsfield_figures(subject, name, native)
