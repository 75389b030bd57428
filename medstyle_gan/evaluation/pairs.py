"""Registered pairs for scoring: one subfolder a subject with its scan, true style and more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medstyle_gan.config.data_section import PairsConfig
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import VOLUME_SUFFIXES, Geometry, read_header, read_volume

# Rounding in headers moves corners by micrometres; a real shift is never this small.
_TOLERANCE = 0.01  # mm
_OPTIONAL = ("mask", "labels", "lesions")


@dataclass(frozen=True)
class Pair:
    """One subject's files, all on the same grid.

    Attributes:
        subject: The subfolder's name.
        scan: The scan.
        style: The true style volume.
        mask: Voxels that count, or None: then the scan's foreground is used.
        labels: Integer regions, or None.
        lesions: Voxels of lesions, or None.
    """

    subject: str
    scan: Path
    style: Path
    mask: Path | None
    labels: Path | None = None
    lesions: Path | None = None


def find_pairs(config: PairsConfig) -> list[Pair]:
    """Finds the pairs of a folder, sorted by subject.

    Args:
        config: The folder, and the names of the files in its subfolders.

    Raises:
        UserError: No folder is given, it is missing or holds no pair, a subfolder has a
            scan without its style or the other way round, a name fits two files, or the files of
            a pair lie on different grids.
    """
    if config.folder is None:
        raise UserError("no pairs are given; set data.pairs.folder (--pairs DIR)")
    root = Path(config.folder).expanduser()
    if not root.is_dir():
        raise UserError(f"data.pairs.folder {root} is not a folder; give one that exists")
    subfolders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    pairs = [pair for folder in subfolders if (pair := _pair(folder, config)) is not None]
    if not pairs:
        names = config.names
        raise UserError(
            f"data.pairs.folder {root} holds no pairs: expected one subfolder a subject with "
            f"{names.scan} and {names.style} ({' or '.join(VOLUME_SUFFIXES)}), found "
            f"{_listing(root, subfolders)}; other names are mapped by data.pairs.names"
        )
    return pairs


def refuse_unscorable(pairs: Sequence[Pair], style_channels: int) -> None:
    """Reads every file of the pairs, so that a training does not stop for one of them later.

    Args:
        pairs: What will be scored on.
        style_channels: Of the translations.

    Raises:
        UserError: A file is unusable, a mask is empty or the style is in colour.
    """
    refuse_colour(style_channels)
    for pair in pairs:
        read_volume(pair.scan)
        read_volume(pair.style)
        if pair.mask and not (read_volume(pair.mask, allow_constant=True).array > 0).any():
            raise UserError(empty_mask(pair.mask))


def refuse_colour(style_channels: int) -> None:
    """Refuses to score translations in colour.

    Raises:
        UserError: They are.
    """
    if style_channels != 1:
        raise UserError(
            "pairs cannot be scored for a style in colour: a translation has no truth there; "
            "leave data.pairs.folder (--pairs) out"
        )


def empty_mask(path: Path | None) -> str:
    """What to say of a mask without a voxel that counts."""
    return f"{path}: the mask is empty; mark the voxels that count"


def describe_missing_masks(pairs: Sequence[Pair]) -> str | None:
    """One line on the pairs that are scored in a mask of our own making, None if there is none."""
    without = [pair.subject for pair in pairs if pair.mask is None]
    if not without:
        return None
    some = ", ".join(without[:6]) + (", ..." if len(without) > 6 else "")
    return (
        f"{len(without)} of {len(pairs)} pairs have no mask ({some}): they are scored in the "
        "foreground found in their scan"
    )


def _pair(folder: Path, config: PairsConfig) -> Pair | None:
    """Returns the subfolder's pair; None where it has nothing of one."""
    scan, style, *optional = (
        _find(folder, getattr(config.names, role)) for role in ("scan", "style", *_OPTIONAL)
    )
    if scan is None and style is None:
        return None
    if scan is None or style is None:
        role = "scan" if scan is None else "style"
        raise UserError(
            f"{folder}: no {role} ({getattr(config.names, role)}{VOLUME_SUFFIXES[0]}) beside its "
            f"counterpart; add it, take the folder away or set data.pairs.names.{role}"
        )
    grid = read_header(scan).geometry
    for other in (style, *optional):
        if other is not None:
            _refuse_other_grid(scan, grid, other)
    return Pair(folder.name, scan, style, *optional)


def _find(folder: Path, name: str) -> Path | None:
    complete = name.lower().endswith(VOLUME_SUFFIXES)
    names = [name] if complete else [f"{name}{suffix}" for suffix in VOLUME_SUFFIXES]
    found = [path for each in names if (path := folder / each).is_file()]
    if len(found) > 1:
        raise UserError(
            f"{folder}: {' and '.join(p.name for p in found)} are both there; keep one of them"
        )
    return found[0] if found else None


def _refuse_other_grid(scan: Path, grid: Geometry, other: Path) -> None:
    geometry = read_header(other).geometry
    if grid.same_grid(geometry, tolerance=_TOLERANCE):
        return
    what = (
        f"{geometry.spatial_shape} voxels instead of {grid.spatial_shape}"
        if geometry.spatial_shape != grid.spatial_shape
        else "another position, spacing or orientation"
    )
    raise UserError(
        f"{other}: has {what} than {scan.name}; the files of a pair must share one grid: "
        "register and resample it onto the scan"
    )


def _listing(root: Path, subfolders: list[Path]) -> str:
    if not subfolders:
        return "no subfolder"
    first = sorted(p.name for p in subfolders[0].iterdir())[:6]
    return f"{len(subfolders)} subfolders, the first with {', '.join(first) or 'nothing'}"
