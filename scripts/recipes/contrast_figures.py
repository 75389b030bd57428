"""What the recipe for contrast enhancement is measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation

from medstyle_gan.data.phantom import PhantomFolders, Tissue
from medstyle_gan.evaluation import Comparison
from medstyle_gan.evaluation.contrast import contrast_to_noise, tissue_core
from medstyle_gan.evaluation.scoring import score_comparison
from medstyle_gan.methods.affine_structure import gradient_correlation, interior
from medstyle_gan.volumes import read_volume

TRUTH = "true high contrast"
NETWORK = "network alone"  # without the scan's structure


@dataclass(frozen=True)
class Row:
    """Figures of one candidate, means over the held-out subjects.

    Attributes:
        data: `phantoms` or `openms`.
        name: the candidate.
        grey_white: contrast-to-noise ratio of grey and white matter.
        fluid_grey: that of fluid and grey matter.
        kept: gradient correlation with the scan, in the head's interior.
        true_edges: gradient correlation there with the true high-contrast volume.
        ssim: to that volume.
    """

    data: str
    name: str
    grey_white: float
    fluid_grey: float
    kept: float
    true_edges: float
    ssim: float


def measure(data: str, comparisons: list[Comparison], folders: PhantomFolders) -> list[Row]:
    """The figures of every candidate.

    Args:
        data: the data set's name.
        comparisons: of its held-out pairs, at the scans' own resolution.
        folders: where the pairs' labels are, values of `Tissue`.
    """
    found: dict[str, list[list[float]]] = {}
    for comparison in comparisons:
        labels = read_volume(folders.pairs / comparison.subject / "labels.nii.gz")
        turn = io_orientation(labels.geometry.affine)
        turned = apply_orientation(np.asarray(labels.array), turn).astype(int)
        fluid, grey, white = (
            tissue_core(turned, tissue) & comparison.mask
            for tissue in (Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER)
        )
        ssim = {row.name: row.ssim for row in score_comparison(comparison)}
        for name, candidate in comparison.candidates.items():
            found.setdefault(name, []).append(
                [
                    contrast_to_noise(candidate, grey, white),
                    contrast_to_noise(candidate, fluid, grey),
                    _edges_in_common(candidate, comparison.scan, comparison.mask),
                    _edges_in_common(candidate, comparison.truth, comparison.mask),
                    ssim[name],
                ]
            )
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return [Row(data, name, *(round(float(v), 4) for v in mean)) for name, mean in means.items()]


def _edges_in_common(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """Gradient correlation in the head's interior, the mean over the axial slices that hold it.

    The step from the skin to the air is in all candidates and would hide the rest.
    """
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    one, two, body = (
        torch.from_numpy(np.ascontiguousarray(a[..., slices].transpose(2, 0, 1)))
        for a in (image, other, mask)
    )
    pairs = zip(one[:, None].split(1), two[:, None].split(1), body, strict=True)
    return float(np.mean([gradient_correlation(a, b, interior(inside)) for a, b, inside in pairs]))


def format_rows(rows: list[Row]) -> str:
    """The figures of one data set as an aligned text table."""
    lines = [f"{rows[0].data:<20} CNR grey-white  CNR fluid-grey  edges: scan's  the truth's  SSIM"]
    for row in rows:
        lines.append(
            f"{row.name.replace('_', ' '):<20} {row.grey_white:14.2f}  {row.fluid_grey:14.2f}  "
            f"{row.kept:13.3f}  {row.true_edges:11.3f}  {row.ssim:.3f}"
        )
    return "\n".join(lines)
