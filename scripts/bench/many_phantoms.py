"""Many small volumes in little time: a few phantoms, each written again and again with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medstyle_gan.data.phantom import PhantomFolders, make_phantom
from medstyle_gan.volumes import Geometry, write_volume

_DISTINCT = 4  # phantoms of each domain
_NOISE = 3.0  # native units; enough that no two files are the same


def write_many_phantoms(folder: Path, subjects: int, shape: tuple[int, int, int]) -> PhantomFolders:
    """Writes `subjects` volumes of each domain, a subject each.

    Args:
        folder: where to; made if missing.
        subjects: volumes in each of the two collections.
        shape: (X, Y, Z) of each.

    Returns:
        The collections; there are no pairs.
    """
    folders = PhantomFolders(folder / "scans", folder / "style", folder / "pairs")
    rng = np.random.default_rng(0)
    for offset, (domain, path) in enumerate((("scan", folders.scans), ("style", folders.style))):
        path.mkdir(parents=True, exist_ok=True)
        phantoms = [make_phantom(offset * _DISTINCT + i, shape) for i in range(_DISTINCT)]
        for number in range(subjects):
            phantom = phantoms[number % _DISTINCT]
            clean = getattr(phantom, domain)
            noisy = clean + np.where(clean > 0, rng.normal(0, _NOISE, shape), 0)
            name = f"sub-{offset * subjects + number:05d}.nii"
            geometry = Geometry.from_affine(shape, phantom.affine)
            write_volume(path / name, np.clip(noisy, 0, None), geometry, phantom.dtype)
    return folders
