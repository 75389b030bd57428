"""What in two readable collections is likely to spoil a training."""

from __future__ import annotations

import math

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.inspection import CollectionReport
from medstyle_gan.data.sample_size import sample_size_fault

# No tissue is darker than this outside of CT, whose air is -1000 HU.
HOUNSFIELD_AIR = -500.0
_PLANE_AXES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


def find_doubts(
    scan: CollectionReport, style: CollectionReport, config: DataConfig
) -> tuple[str, ...]:
    """Warnings about two collections, each saying what it means and what to do.

    Args:
        scan: report on the scans.
        style: report on the style collection.
        config: the settings that a training would have.
    """
    doubts = []
    shared = sorted(set(scan.subjects) & set(style.subjects))
    if shared:
        doubts.append(
            f"{len(shared)} subjects occur in both collections ({_some(shared)}): training is "
            "fine, but hold them out together (medstyle splits by subject) and score on others"
        )
    for report in (scan, style):
        doubts += _about_one(report, config)
    doubts += _about_spacing(scan, style, config)
    return tuple(doubts)


def _about_one(report: CollectionReport, config: DataConfig) -> list[str]:
    doubts = []
    option = "scans" if report.domain == "scan" else "style"
    if report.files and len(report.subjects) == 1:
        doubts.append(
            f"the {report.domain} collection has one subject ({report.subjects[0]}): nothing can "
            "be held out for validation; if it has more, set data.subject_pattern, or name them "
            f"in a CSV list for data.{option}"
        )
    fault = sample_size_fault(
        [file.room for file in report.files], config.sample_size, report.domain
    )
    if fault:
        doubts.append(f"{fault} (training stops there)")
    scale = getattr(config.intensity, report.domain)
    air = [file.facts.quantiles[1] for file in report.files]
    if air and max(air) < HOUNSFIELD_AIR and scale.name in ("percentile", "zscore"):
        doubts.append(
            f"the {report.domain} collection looks like CT (air below {HOUNSFIELD_AIR:g}), which "
            f"has units of its own: data.intensity.{report.domain}.name=window keeps them, where "
            f"{scale.name} changes them from volume to volume"
        )
    return doubts


def _about_spacing(
    scan: CollectionReport, style: CollectionReport, config: DataConfig
) -> list[str]:
    """Anatomy of two sizes, which a discriminator sees at once."""
    if any(f.facts.orientation == "picture" for r in (scan, style) for f in r.files):
        return []
    if not scan.files or not style.files:
        return []
    axes = (0, 1, 2) if config.dims == 3 else _PLANE_AXES[config.plane]
    kept = [axis for axis in axes if config.spacing[axis] is None]
    sizes = [
        [math.prod(f.facts.spacing) ** (1 / 3) for f in report.files] for report in (scan, style)
    ]
    if kept and (max(sizes[0]) < min(sizes[1]) / 1.1 or max(sizes[1]) < min(sizes[0]) / 1.1):
        return [
            "voxels of the two collections differ in size and data.spacing keeps each volume's "
            "own in samples: anatomy will differ in size too; set data.spacing"
        ]
    return []


def _some(names: list[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
