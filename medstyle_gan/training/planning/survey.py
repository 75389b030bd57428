"""The facts of a collection, from all of its headers and the voxels of some of its volumes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache_entry import prepare_picture_file, prepare_volume_file
from medstyle_gan.data.collection import Item
from medstyle_gan.data.doubts import HOUNSFIELD_AIR
from medstyle_gan.data.fingerprint import AXES, fingerprint_volume
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.training.planning.facts import CollectionFacts, Triple
from medstyle_gan.volumes import is_picture
from medstyle_gan.volumes.readers import read_header

# Volumes whose voxels are read: medians and 95th percentiles of more would differ little.
LARGEST_SAMPLE = 20
# Voxels along an axis that a body is found in: its extent is then known to a hundredth.
_COARSE = 128


@dataclass(frozen=True)
class Survey:
    """What was found of a collection.

    Attributes:
        facts: None where no file can be used.
        read: the files whose voxels were read.
        unusable: why each of the other ones that were looked at cannot be used.
    """

    facts: CollectionFacts | None
    read: tuple[Item, ...]
    unusable: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    channels: int
    voxels: Triple
    spacing: Triple
    body: Triple
    air: float


def survey_collection(
    items: tuple[Item, ...],
    config: DataConfig,
    domain: Domain,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Look at a collection; writes nothing.

    Args:
        items: its files.
        config: the intensity scale is used.
        domain: `scan` or `style`.
        on_progress: called with (files done, files in all).
    """
    chosen = _spread(items)
    unusable: dict[Path, str] = {}
    read: list[Item] = []
    seen: list[_Seen] = []
    for done, item in enumerate(items, start=1):
        try:
            if item in chosen:
                seen.append(_look(item, config, domain))
                read.append(item)
            elif not is_picture(item.path):
                read_header(item.path)
        except UserError as error:
            text = str(error)
            unusable[item.path] = text if item.path.name in text else f"{item.path}: {text}"
        if on_progress:
            on_progress(done, len(items))
    usable = [item for item in items if item.path not in unusable]
    if not seen:
        return Survey(None, (), tuple(unusable.values()))
    facts = CollectionFacts(
        domain=domain,
        volumes=len(usable),
        subjects=len({item.subject for item in usable}),
        pictures=is_picture(read[0].path),  # a collection is of one kind
        channels=max(s.channels for s in seen),
        hounsfield=max(s.air for s in seen) < HOUNSFIELD_AIR,
        voxels=_along([s.voxels for s in seen], 50),
        spacing=_along([s.spacing for s in seen], 50),
        body=_along([s.body for s in seen], 95),
        typical_body=_along([s.body for s in seen], 50),
    )
    return Survey(facts, tuple(read), tuple(unusable.values()))


def _spread(items: tuple[Item, ...]) -> set[Item]:
    """Some of many files, evenly over the subjects in their order."""
    ordered = sorted(items, key=lambda item: (item.subject, str(item.path)))
    step = max(1.0, len(ordered) / LARGEST_SAMPLE)
    return {ordered[int(i * step)] for i in range(min(LARGEST_SAMPLE, len(ordered)))}


def _look(item: Item, config: DataConfig, domain: Domain) -> _Seen:
    if is_picture(item.path):
        # Its size does not matter: a picture is resized to the sample.
        small = config.model_copy(update={"sample_size": (64, 64)})
        prepared, _ = prepare_picture_file(item.path, small)
        ones = (1.0, 1.0, 1.0)
        return _Seen(len(prepared.array), ones, ones, ones, 0.0)
    geometry = read_header(item.path).geometry
    coarse = _coarse_spacing(geometry.spatial_shape, geometry.spacing, geometry.orientation)
    settings = config.model_copy(update={"spacing": coarse, "plane": "axial"})
    prepared, facts = prepare_volume_file(item.path, settings, domain)
    found = fingerprint_volume(prepared, facts.shape, facts.spacing, facts.orientation)
    spacing = _lengths(found, "spacing")
    view = _lengths(found, "view")
    voxels = tuple(float(round(v / s)) for v, s in zip(view, spacing, strict=True))
    return _Seen(
        len(prepared.array), _triple(voxels), spacing, _lengths(found, "body"), facts.quantiles[1]
    )


def _coarse_spacing(shape: tuple[int, ...], spacing: Triple, orientation: str) -> Triple:
    """Voxel size along R, A, S (mm) at which no axis has many voxels; its own where it has few."""
    along = {"LR": 0, "AP": 1, "IS": 2}
    sizes = [1.0, 1.0, 1.0]
    for letter, count, size in zip(orientation, shape, spacing, strict=True):
        axis = next(number for letters, number in along.items() if letter in letters)
        sizes[axis] = size * max(1.0, count / _COARSE)
    return _triple(sizes)


def _lengths(found: dict[str, float], kind: str) -> Triple:
    # Fingerprints keep six digits of the logarithm.
    return _triple([float(f"{math.exp(found[f'{kind}.{axis}']):.5g}") for axis in AXES])


def _along(triples: list[Triple], percent: float) -> Triple:
    return _triple(np.percentile(np.array(triples), percent, axis=0).tolist())


def _triple(values: list[float] | tuple[float, ...]) -> Triple:
    x, y, z = values
    return x, y, z
