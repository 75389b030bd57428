"""CT in Hounsfield units by the protocol of SynthRAD2023 (Thummerer et al. 2023; Huijben 2024)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medstyle_gan.evaluation.chapter import Array, Figure, Subject
from medstyle_gan.evaluation.fidelity import fidelity

CLIP = (-1024.0, 3000.0)  # HU
# By the truth's HU, inside the mask.
TISSUES: dict[str, tuple[float, float]] = {
    "air": (-1024.0, -300.0),
    "soft tissue": (-150.0, 150.0),
    "bone": (250.0, 3000.0),
}
HOUNSFIELD_NOTE = (
    "CT by the SynthRAD protocol: inside the body mask, HU clipped to -1024 to 3000, outside the "
    "mask -1024, data range 4024 HU. The HU errors of air, soft tissue and bone are the mean "
    "error where the true CT lies in -1024 to -300, -150 to 150 and 250 to 3000 HU."
)


def synthrad(native: Array, subject: Subject) -> Array:
    """HU as the protocol compares them: clipped, and -1024 outside the mask.

    Args:
        native: (X, Y, Z), HU.
        subject: whose mask counts.

    Returns:
        (X, Y, Z) float32.
    """
    clipped = np.clip(native, *CLIP)
    return np.where(subject.mask, clipped, np.float32(CLIP[0])).astype(np.float32)


def hounsfield_figures(subject: Subject, name: str, native: Array) -> Iterator[Figure]:
    """The protocol's MAE, PSNR and SSIM, and the HU of air, soft tissue and bone.

    Args:
        subject: with `native_truth` in HU.
        name: the candidate's.
        native: its estimate (X, Y, Z), HU.

    Yields:
        `mae_hu`, `psnr_hu`, `ssim_hu`; for each tissue that occurs `hu_error`, the absolute
        mean error, and `hu_shift`, its sign kept.
    """
    assert subject.native_truth is not None
    estimate, truth = synthrad(native, subject), synthrad(subject.native_truth, subject)
    values = fidelity(estimate, truth, subject.mask, CLIP[1] - CLIP[0])
    yield Figure("mae_hu", name, values["mae"], "HU", "lower", subject.name)
    yield Figure("psnr_hu", name, values["psnr"], "dB", "higher", subject.name)
    yield Figure("ssim_hu", name, values["ssim"], "", "higher", subject.name)
    for tissue, (low, high) in TISSUES.items():
        inside = subject.mask & (truth >= low) & (truth <= high)
        if not inside.any():
            continue
        shift = float(np.mean(estimate[inside].astype(np.float64) - truth[inside]))
        of = {"tissue": tissue}
        yield Figure("hu_error", name, abs(shift), "HU", "lower", subject.name, of)
        yield Figure("hu_shift", name, shift, "HU", None, subject.name, of)
