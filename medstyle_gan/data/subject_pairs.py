"""Declared pairs: each scan with the style volumes of its own subject, on the scan's grid, cached.

Their files' positions (mm) bring them together roughly; patients move, breathe and come again, so
that they do not agree in detail. See `methods/registration.py` for what is learned from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

from medstyle_gan.data.body import body_box, body_occupancy
from medstyle_gan.data.cache_files import entry_lock
from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.intensity import SHARE
from medstyle_gan.data.pair_cache import pairs_by_subject, read_record, write_array, write_record
from medstyle_gan.data.resampling import ras_grid
from medstyle_gan.data.slices import from_slices, to_slices
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_header

# Part of every key: raise it when the layout of the files, or what is in them, changes.
_FORMAT_VERSION = 1
# Bodies that overlap by less (Dice) are in different places: positions that mean nothing.
_LEAST_OVERLAP = 0.5
_PARTS = {"style": "<f4", "weight": "|u1", "mask": "|u1"}
_OFF = "set data.pairing=none loss.registration.weight=0 to learn without pairs"


@dataclass(frozen=True, eq=False)
class SubjectPair:
    """A scan and a style volume of the same subject on its grid.

    Attributes:
        scan: as it is in its collection, but that samples are drawn where the style volume is.
        style: the style volume, sliced as the scan is, with its mask.
        weight: 1 inside the style volume, 0 elsewhere.
        overlap: Dice of both bodies, inside the style volume.
    """

    scan: CachedVolume
    style: CachedVolume
    weight: CachedVolume
    overlap: float


@dataclass(frozen=True, eq=False)
class SubjectPairs:
    """The declared pairs of a training.

    Attributes:
        kept: those that are learned from.
        elsewhere: pairs left out because both bodies are in different places.
        alone: scans and style volumes left out because their subject has none of the other.
    """

    kept: tuple[SubjectPair, ...]
    elsewhere: int = 0
    alone: tuple[int, int] = (0, 0)

    @property
    def by_subject(self) -> tuple[tuple[SubjectPair, ...], ...]:
        """The pairs of each subject, in a fixed order."""
        return pairs_by_subject(self.kept)

    def describe(self) -> str:
        """One line, without names."""
        overlap = np.mean([pair.overlap for pair in self.kept])
        line = (
            f"{len(self.kept)} declared pairs of {len(self.by_subject)} subjects (bodies overlap "
            f"by {overlap:.2f} on average)"
        )
        if self.elsewhere:
            line += f"; {self.elsewhere} pairs are left out, whose bodies are in different places"
        if any(self.alone):
            scans, styles = self.alone
            line += f"; {scans} scans and {styles} style volumes are left out, without a partner"
        return line


def make_subject_pairs(
    scan: CachedCollection,
    style: CachedCollection,
    plane: str,
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> SubjectPairs:
    """Bring every style volume onto the grid of each of its subject's scans, and cache it.

    Memory holds one pair.

    Args:
        scan: scans that are trained on.
        style: style volumes that are trained on.
        plane: that the volumes were sliced in.
        folder: the cache.
        on_progress: called with (pairs done, pairs in all).

    Raises:
        UserError: a collection holds pictures, no subject is in both, or no two bodies overlap.
    """
    if any(volume.is_picture for volume in (*scan, *style)):
        raise UserError(
            "data.pairing=subject aligns volumes by their positions (mm), and a collection has "
            "pictures, which have none; " + _OFF
        )
    partners = dict(style.by_subject)
    chosen = [
        (a, b) for subject, mine in scan.by_subject for a in mine for b in partners.get(subject, ())
    ]
    if not chosen:
        raise UserError(
            "data.pairing=subject, and of the subjects that are trained on none is in both "
            "collections: name files so that data.subject_pattern finds the same subject in a scan "
            "and its style volume, or " + _OFF
        )
    found: list[SubjectPair | None] = []
    for done, (a, b) in enumerate(chosen, start=1):
        found.append(_open(scan[a], style[b], plane, folder))
        if on_progress:
            on_progress(done, len(chosen))
    kept = tuple(pair for pair in found if pair is not None and pair.overlap >= _LEAST_OVERLAP)
    if not kept:
        raise UserError(
            f"data.pairing=subject: of none of {len(chosen)} pairs of a scan and a style volume do "
            f"the bodies overlap by {_LEAST_OVERLAP:g} (Dice) where their files' affines put them; "
            "register the style volumes to the scans rigidly first, or " + _OFF
        )
    alone = (
        len(scan) - len({a for a, _ in chosen}),
        len(style) - len({b for _, b in chosen}),
    )
    return SubjectPairs(kept, len(chosen) - len(kept), alone)


# ---------------------------------------------------------------------------------- cache


def _open(scan: CachedVolume, style: CachedVolume, plane: str, folder: Path) -> SubjectPair | None:
    """A pair out of the cache, made first where it is not there; None where nothing overlaps."""
    text = json.dumps(["subject pair", _FORMAT_VERSION, plane, scan.path.stem, style.path.stem])
    key = hashlib.sha256(text.encode()).hexdigest()
    arrays = {part: folder / f"{key}.{part}.npy" for part in _PARTS}
    widths = {arrays[part]: np.dtype(stored).itemsize for part, stored in _PARTS.items()}
    record = folder / f"{key}.pair.json"
    entry = read_record(record, widths)
    if entry is None:
        with entry_lock(folder, key):
            # Another run may have made it while this one waited.
            entry = read_record(record, widths)
            if entry is None:
                entry = _make(scan, style, plane, arrays)
                write_record(record, entry, widths)
    if not entry:
        return None
    drawn = replace(
        scan,
        foreground_share=np.array(entry["foreground_share"], dtype=np.float32),
        box=tuple((first, last) for first, last in entry["box"]),
        occupancy=np.array(entry["occupancy"], dtype=np.float32),
    )
    share = replace(
        drawn,
        item=style.item,
        path=arrays["weight"],
        shape=(scan.shape[0], 1, *scan.shape[2:]),
        channels=1,
        scale=SHARE,
        integer=False,
        background=0.0,
        stored="|u1",
        mask=None,
        _loaded={},
    )
    own = replace(
        share,
        path=arrays["style"],
        shape=(scan.shape[0], style.shape[1], *scan.shape[2:]),
        channels=style.channels,
        scale=style.scale,
        integer=style.integer,
        background=style.background,
        stored="<f4",
        mask=replace(share, path=arrays["mask"], _loaded={}),
        _loaded={},
    )
    return SubjectPair(drawn, own, share, float(entry["overlap"]))


def _make(
    scan: CachedVolume, style: CachedVolume, plane: str, arrays: dict[str, Path]
) -> dict[str, Any]:
    """Resample, write all arrays, and return the facts: none where nothing overlaps."""
    fixed, body = array_and_foreground(scan, plane)
    grey, moving_body = array_and_foreground(style, plane)
    change = np.asarray(
        np.linalg.solve(working_affine(style), working_affine(scan)), dtype=np.float64
    )
    channels = from_slices(style.slices[:, : style.shape[1]], plane)
    moved = np.stack([resampled(c, change, fixed.shape, style.fill) for c in channels])
    own_body = resampled(moving_body.astype(np.float32), change, fixed.shape, 0.0) > 0.5
    inside = inside_of(grey.shape, change, fixed.shape)
    seen = body & inside
    both = int((seen & own_body).sum())
    if not both:
        return {}
    overlap = 2 * both / int(seen.sum() + (own_body & inside).sum())
    made = {"style": moved, "weight": inside[None], "mask": (own_body & inside)[None]}
    for part, array in made.items():
        write_array(arrays[part], array, plane, _PARTS[part])
    box = body_box(seen)
    return {
        "shape": list(scan.shape),
        "overlap": overlap,
        "foreground_share": to_slices(seen[None], plane)[:, 0].mean(axis=(1, 2)).tolist(),
        "box": box,
        "occupancy": body_occupancy(seen, box).tolist(),
    }


# ------------------------------------------------------------------------------- geometry


def working_affine(volume: CachedVolume) -> NDArray[np.float64]:
    """(4, 4), a prepared volume's voxels along R, A, S → mm.

    Not kept by the cache: its grid begins at the file's first voxel along R, A, S, see
    `resampling.working_grid`.
    """
    geometry = read_header(volume.item.path).geometry
    own = ras_grid(geometry.spatial_shape, np.asarray(geometry.affine, dtype=np.float64)).affine
    steps = np.linalg.norm(own[:3, :3], axis=0)
    return np.asarray(own @ np.diag([*(np.array(volume.spacing) / steps), 1.0]))


def resampled(
    array: NDArray[np.float32], change: NDArray[np.float64], shape: tuple[int, ...], fill: float
) -> NDArray[np.float32]:
    """An array on another grid, linearly, whatever the angle between both.

    Where the other grid is coarser the array is smoothed first, as `resampling.resample` does.

    Args:
        array: (X, Y, Z).
        change: (4, 4), voxel of the other grid → voxel of the array.
        shape: of the other grid.
        fill: value outside the array.
    """
    # Voxels of the array that a step on the other grid's nearest axis covers.
    step = np.abs(change[:3, :3]).max(axis=1)
    sigma = np.sqrt(np.maximum(step**2 - 1, 0) / (8 * np.log(2)))
    smooth = gaussian_filter(array, sigma, mode="nearest") if sigma.any() else array
    # Half a voxel beyond the outermost centres still belongs to the volume, see `inside_of`.
    moved = affine_transform(
        smooth, change[:3, :3], change[:3, 3], tuple(shape), np.float32, order=1, mode="nearest"
    )
    return np.where(inside_of(array.shape, change, shape), moved, np.float32(fill))


def inside_of(
    sizes: tuple[int, ...], change: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Which voxels of a grid have their middle in another one's, bool of `shape`.

    Args:
        sizes: of the other grid.
        change: (4, 4), voxel → voxel of the other grid.
        shape: of the grid.
    """
    inside = np.ones(shape, bool)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    for row, size in zip(change[:3], sizes, strict=True):
        place = row[3] + sum(r * axis for r, axis in zip(row[:3], axes, strict=True))
        # A thousandth of a voxel: what rounding makes of affines that are the same.
        inside &= (place >= -0.501) & (place <= size - 0.499)
    return inside
