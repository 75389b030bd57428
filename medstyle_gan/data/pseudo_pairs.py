"""Pseudo-pairs: each scan with style volumes of other subjects, registered to it and cached.

Their contrast is right, and their anatomy agrees as far as edges could be matched. They come from
training data alone: the collections that are given hold no subject that is held out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data.cache_files import entry_lock
from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.displacement import Array, composed, displaced, displacement_of
from medstyle_gan.data.intensity import SHARE
from medstyle_gan.data.local_alignment import ALIGNMENT_VERSION, align_locally
from medstyle_gan.data.pair_cache import pairs_by_subject, read_record, write_array, write_record
from medstyle_gan.data.registration import REGISTRATION_VERSION, Anatomy, register
from medstyle_gan.data.slices import from_slices
from medstyle_gan.errors import UserError

# Part of every key: raise it when the layout of the files, or what is in them, changes.
_FORMAT_VERSION = 2
# Below this ratio of volumes a deformation all but folds.
_LEAST_VOLUME = 0.1
# What a pair's arrays are called, and how many bytes each takes a voxel.
_PARTS = {"style": 4, "weight": 4, "displacement": 12}
_OFF = "set training.warm_start.steps=0"


@dataclass(frozen=True, eq=False)
class PseudoPair:
    """A scan and a style volume of another subject on its grid.

    Attributes:
        scan: as it is in its collection.
        style: the registered style volume, sliced as the scan is.
        weight: 1 where the pair can be believed: inside the style volume, where both bodies or
            neither are; 0 elsewhere.
        source: the style volume as it is in its collection.
        displacement: file of (N, 3, H, W) float32, sliced as the scan is: along R, A and S, from
            its voxels to their places in `source` (mm). None once the pair is refined.
        information: normalised mutual information inside the body, from 1 to 2, as registered.
        overlap: Dice of both bodies, as registered.
    """

    scan: CachedVolume
    style: CachedVolume
    weight: CachedVolume
    source: CachedVolume
    displacement: Path | None
    information: float
    overlap: float


@dataclass(frozen=True, eq=False)
class PseudoPairs:
    """The pseudo-pairs of a training.

    Attributes:
        kept: those that can be learned from.
        dropped: why each of the others cannot.
    """

    kept: tuple[PseudoPair, ...]
    dropped: tuple[str, ...]

    @property
    def by_subject(self) -> tuple[tuple[PseudoPair, ...], ...]:
        """The pairs of each scan's subject, in a fixed order."""
        return pairs_by_subject(self.kept)

    def describe(self) -> str:
        """One line, without names."""
        information = np.mean([pair.information for pair in self.kept])
        overlap = np.mean([pair.overlap for pair in self.kept])
        line = (
            f"{len(self.kept)} pseudo-pairs of {len(self.by_subject)} subjects (normalised mutual "
            f"information {information:.3f}, overlap {overlap:.2f} on average)"
        )
        if self.dropped:
            line += f"; {len(self.dropped)} dropped: {', '.join(sorted(set(self.dropped)))}"
        return line


def make_pseudo_pairs(
    scan: CachedCollection,
    style: CachedCollection,
    config: WarmStartConfig,
    plane: str,
    folder: Path,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> PseudoPairs:
    """Register scans and style volumes of other subjects, one pair at a time, and cache them.

    The same volumes, settings and seed give the same pairs. Memory holds one pair.

    Args:
        scan: scans that are trained on.
        style: style volumes that are trained on.
        config: its `pairs`, `align`, `least_overlap` and `least_information` are used.
        plane: that the volumes were sliced in.
        folder: the cache.
        seed: of the choice of pairs and the registrations.
        on_progress: called with (pairs done, pairs in all).

    Raises:
        UserError: the style collection holds pictures, both hold one and the same subject, or no
            registration is good enough.
    """
    if any(volume.is_picture for volume in (*scan, *style)):
        raise UserError(
            "training.warm_start registers volumes, and a collection has pictures; " + _OFF
        )
    chosen = choose_partners(scan, style, config.pairs, seed)
    if not chosen:
        raise UserError(
            "training.warm_start needs scans and style volumes of different subjects, and all that "
            "are trained on are of one (data.subject_pattern tells subjects); " + _OFF
        )
    entries: list[tuple[PseudoPair, float] | None] = []
    for done, (a, b) in enumerate(chosen, start=1):
        entries.append(_open(scan[a], style[b], plane, folder, seed, config.align))
        if on_progress:
            on_progress(done, len(chosen))
    return _good_enough(entries, config)


def choose_partners(
    scan: CachedCollection, style: CachedCollection, limit: int, seed: int
) -> list[tuple[int, int]]:
    """Which scan is registered with which style volume: positions of both.

    Every scan gets its first partner before any gets a second, and partners of different subjects
    before several of one. Known are subjects by their names; the order depends on the seed and on
    what volumes hold.
    """

    def order(*volumes: CachedVolume) -> bytes:
        keys = [volume.path.stem for volume in volumes]
        return hashlib.sha256(json.dumps([seed, keys]).encode()).digest()

    scans = sorted(range(len(scan)), key=lambda a: order(scan[a]))
    wishes: dict[int, list[int]] = {}
    for a in scans:
        groups = [
            sorted(positions, key=lambda b, a=a: order(scan[a], style[b]))  # type: ignore[misc]
            for subject, positions in style.by_subject
            if subject != scan[a].item.subject
        ]
        groups.sort(key=lambda group, a=a: order(scan[a], style[group[0]]))  # type: ignore[misc]
        longest = max((len(group) for group in groups), default=0)
        wishes[a] = [g[turn] for turn in range(longest) for g in groups if turn < len(g)]
    rounds = max((len(wish) for wish in wishes.values()), default=0)
    every = [(a, wishes[a][turn]) for turn in range(rounds) for a in scans if turn < len(wishes[a])]
    return every[:limit]


def _good_enough(
    entries: list[tuple[PseudoPair, float] | None], config: WarmStartConfig
) -> PseudoPairs:
    dropped = ["no overlap found" for entry in entries if entry is None]
    kept: list[PseudoPair] = []
    found = [entry for entry in entries if entry is not None]
    median = float(np.median([pair.information - 1 for pair, _ in found])) if found else 0.0
    for pair, least_volume in found:
        if pair.overlap < config.least_overlap:
            dropped.append(f"bodies overlap by less than {config.least_overlap:g}")
        elif least_volume < _LEAST_VOLUME:
            dropped.append("the deformation folds")
        elif pair.information - 1 < config.least_information * median:
            dropped.append("shares much less information than others")
        else:
            kept.append(pair)
    if not kept:
        raise UserError(
            f"training.warm_start: none of {len(entries)} registrations of scans with style "
            f"volumes is good enough ({', '.join(sorted(set(dropped)))}); look at both collections "
            f"with medstyle check, lower training.warm_start.least_overlap, or {_OFF}"
        )
    return PseudoPairs(tuple(kept), tuple(dropped))


# ---------------------------------------------------------------------------------- cache


def _open(
    scan: CachedVolume, style: CachedVolume, plane: str, folder: Path, seed: int, align: bool
) -> tuple[PseudoPair, float] | None:
    """A pair out of the cache, made first where it is not there; None where it failed."""
    facts = [_FORMAT_VERSION, REGISTRATION_VERSION, sitk.Version_VersionString(), seed, plane]
    facts += [ALIGNMENT_VERSION] if align else []
    text = json.dumps([*facts, scan.path.stem, style.path.stem])
    key = hashlib.sha256(text.encode()).hexdigest()
    arrays = [folder / f"{key}.{part}.npy" for part in _PARTS]
    widths = dict(zip(arrays, _PARTS.values(), strict=True))
    record = folder / f"{key}.pair.json"
    entry = read_record(record, widths)
    if entry is None:
        with entry_lock(folder, key):
            # Another run may have made it while this one waited.
            entry = read_record(record, widths)
            if entry is None:
                entry = _make(scan, style, plane, seed, align, arrays)
                write_record(record, entry, widths)
    if "information" not in entry:
        return None
    own = replace(
        scan,
        item=style.item,
        path=arrays[0],
        shape=(scan.shape[0], style.shape[1], *scan.shape[2:]),
        channels=style.channels,
        scale=style.scale,
        integer=style.integer,
        background=style.background,
        _loaded={},
    )
    weight = replace(
        own,
        path=arrays[1],
        shape=(scan.shape[0], 1, *scan.shape[2:]),
        channels=1,
        scale=SHARE,
        integer=False,
        background=0.0,
        _loaded={},
    )
    pair = PseudoPair(scan, own, weight, style, arrays[2], entry["information"], entry["overlap"])
    return pair, float(entry["least_volume"])


def _make(
    scan: CachedVolume,
    style: CachedVolume,
    plane: str,
    seed: int,
    align: bool,
    arrays: list[Path],
) -> dict[str, Any]:
    """Register, write its arrays, and return the facts: none where no overlap was found."""
    fixed = Anatomy(*array_and_foreground(scan, plane), scan.spacing)
    moving = Anatomy(*array_and_foreground(style, plane), style.spacing)
    found = register(fixed, moving, seed)
    if found is None:
        return {}
    displacement = displacement_of(found.transform, fixed.array.shape, fixed.spacing)
    if align:
        displacement = _aligned(displacement, fixed, moving, style.fill)
    warped = style_on_scan(style, displacement, plane, fixed.spacing)
    inside, body = (
        displaced(
            mask.astype(np.float32), style.spacing, displacement, fixed.spacing, 0.0, cubic=False
        )
        > 0.5
        for mask in (np.ones(moving.array.shape, bool), moving.foreground)
    )
    weight = (inside & (body == fixed.foreground)).astype(np.float32)
    for path, array in zip(arrays, (warped, weight[None], displacement), strict=True):
        write_array(path, array, plane)
    return {
        "shape": list(scan.shape),
        "information": found.information,
        "overlap": found.overlap,
        "least_volume": found.least_volume,
    }


def style_on_scan(
    style: CachedVolume, displacement: Array, plane: str, spacing: Sequence[float]
) -> Array:
    """A style volume (C, X, Y, Z) on a scan's grid, interpolated once, by cubic B-splines.

    Args:
        style: as it is in its collection.
        displacement: (3, X, Y, Z) from the scan's voxels (mm).
        plane: that it was sliced in.
        spacing: of the scan (mm).

    Returns:
        Its stored channels, each within the range of its own values and its background.
    """
    channels = from_slices(style.slices[:, : style.shape[1]], plane)
    return np.stack(
        [
            displaced(channel, style.spacing, displacement, spacing, style.fill, cubic=True)
            for channel in channels
        ]
    )


def _aligned(displacement: Array, fixed: Anatomy, moving: Anatomy, fill: float) -> Array:
    """A registration's displacement, after a deformation of what it leaves."""

    def seen(array: Array, beyond: float) -> Array:
        return displaced(array, moving.spacing, displacement, fixed.spacing, beyond, cubic=False)

    compared = fixed.foreground & (seen(np.ones_like(moving.array), 0.0) > 0.5)
    if not compared.any():
        return displacement
    further = align_locally(fixed.array, seen(moving.array, fill), compared, fixed.spacing)
    return composed(further, displacement, fixed.spacing)
