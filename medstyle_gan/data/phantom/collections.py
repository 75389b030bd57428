"""Phantom collections on disk: unpaired scans and style volumes, and pairs for scoring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medstyle_gan.data.phantom.acquisition import PhantomKind
from medstyle_gan.data.phantom.subjects import Phantom, make_phantom
from medstyle_gan.volumes import Geometry, write_volume

_SUFFIXES: dict[PhantomKind, tuple[str, str]] = {
    "mr_t1_to_t2": ("T1w", "T2w"),
    "cbct_to_ct": ("cbct", "ct"),
    "mr_scanner": ("acq-old_T1w", "acq-new_T1w"),
    "mr_contrast": ("acq-low_T1w", "acq-high_T1w"),
}


@dataclass(frozen=True)
class PhantomFolders:
    """Where the collections lie: two folders of volumes and one of pairs' subfolders."""

    scans: Path
    style: Path
    pairs: Path


def write_phantom_collections(
    folder: str | Path,
    subjects: int = 6,
    pairs: int = 1,
    seed: int = 0,
    shape: tuple[int, int, int] = (96, 96, 24),
    lesions: bool = False,
    kind: PhantomKind = "mr_t1_to_t2",
) -> PhantomFolders:
    """Writes unpaired collections of distinct subjects, and pairs of yet other subjects.

    `scans/sub-001_T1w.nii.gz`, `style/sub-101_T2w.nii.gz` and
    `pairs/sub-201/{scan,style,mask,labels}.nii.gz`; every subject occurs once.

    Args:
        folder: Where to; made if missing. Files of the same names are written anew.
        subjects: Subjects in each of the two collections.
        pairs: Subjects with both contrasts.
        seed: Seed of all subjects.
        shape: See `make_phantom`.
        lesions: Adds lesions to the pairs and to every second subject of the collections.
        kind: See `make_phantom`.

    Returns:
        The three folders.
    """
    root = Path(folder)
    folders = PhantomFolders(root / "scans", root / "style", root / "pairs")
    scan_name, style_name = _SUFFIXES[kind]

    def subject(number: int, with_lesions: bool) -> Phantom:
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        return make_phantom(own_seed, shape, lesions and with_lesions, kind)

    for path in (folders.scans, folders.style, folders.pairs):
        path.mkdir(parents=True, exist_ok=True)
    for index in range(subjects):
        scan = subject(1 + index, index % 2 == 0)
        _write(folders.scans / f"sub-{1 + index:03d}_{scan_name}.nii.gz", scan, scan.scan)
        style = subject(101 + index, index % 2 == 0)
        _write(folders.style / f"sub-{101 + index:03d}_{style_name}.nii.gz", style, style.style)
    for index in range(pairs):
        pair = subject(201 + index, True)
        place = folders.pairs / f"sub-{201 + index:03d}"
        place.mkdir(exist_ok=True)
        _write(place / "scan.nii.gz", pair, pair.scan)
        _write(place / "style.nii.gz", pair, pair.style)
        _write(place / "mask.nii.gz", pair, pair.mask, np.dtype(np.uint8))
        _write(place / "labels.nii.gz", pair, pair.labels, np.dtype(np.uint8))
    return folders


def _write(
    path: Path, phantom: Phantom, array: np.ndarray, dtype: np.dtype[np.generic] | None = None
) -> None:
    geometry = Geometry.from_affine(array.shape, phantom.affine)
    write_volume(path, array, geometry, dtype or phantom.dtype)
