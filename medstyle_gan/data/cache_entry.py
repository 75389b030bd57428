"""One volume's entry in the cache: its key, the array and the facts beside it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.body import body_box, body_occupancy
from medstyle_gan.data.cache_files import cache_file, entry_lock
from medstyle_gan.data.cached_volume import CachedVolume, VolumeFacts
from medstyle_gan.data.collection import Item
from medstyle_gan.data.fingerprint import fingerprint_volume
from medstyle_gan.data.intensity import SHARE, FittedScale
from medstyle_gan.data.preprocessing import Prepared, prepare_picture, prepare_volume, to_slices
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import is_picture, read_picture, read_volume

# Part of every key: raise it when preprocessing or the layout of the files changes.
FORMAT_VERSION = 4
QUANTILES = (0.0, 1.0, 25.0, 50.0, 75.0, 99.0, 100.0)
NO_PATCHES = (
    "a picture has no third axis for 3-D patches or neighbouring slices; set data.dims=2, or give "
    "a collection of volumes"
)
# A slice belongs to the body when it has this share of the fullest slice's foreground.
_BODY_SHARE = 0.05


def open_entry(
    item: Item,
    content: str,
    config: DataConfig,
    domain: Domain,
    folder: Path,
    masks: bool = False,
) -> CachedVolume:
    """Open a file's entry, preparing and writing it first where there is none.

    Args:
        item: the file.
        content: SHA-256 of its bytes.
        config: the settings of preprocessing, and whether to map.
        domain: `scan` or `style`.
        folder: the cache.
        masks: with where the body is; an entry without is prepared again.

    Raises:
        UserError: the file cannot be used.
        CacheError: the cache cannot be written.
    """
    key = _key(content, config, domain, is_picture(item.path))
    array_path, facts_path = folder / f"{key}.npy", folder / f"{key}.json"
    mask_path = folder / f"{key}.mask.npy" if masks else None
    entry = _read_facts(facts_path, array_path, mask_path)
    if entry is None:
        with entry_lock(folder, key):
            # Another run may have made it while this one waited.
            entry = _read_facts(facts_path, array_path, mask_path)
            if entry is None:
                entry = _prepare(item.path, config, domain, array_path, mask_path)
                _write_facts(entry, facts_path, (array_path, mask_path))
    facts = entry["facts"]
    volume = CachedVolume(
        item=item,
        path=array_path,
        shape=tuple(entry["shape"]),
        channels=entry["shape"][1],
        foreground_share=np.array(entry["foreground_share"], dtype=np.float32),
        body=tuple(entry["body"]),
        center=tuple(entry["center"]),
        box=tuple((first, last) for first, last in entry["box"]),
        occupancy=np.array(entry["occupancy"], dtype=np.float32),
        scale=FittedScale.from_dict(entry["scale"]),
        spacing=tuple(entry["spacing"]),
        integer=entry["integer"],
        background=entry["background"],
        is_picture=entry["is_picture"],
        facts=VolumeFacts(
            shape=tuple(facts["shape"]),
            spacing=tuple(facts["spacing"]),
            orientation=facts["orientation"],
            dtype=facts["dtype"],
            quantiles=tuple(facts["quantiles"]),
        ),
        fingerprint=entry["fingerprint"],
        memory_map=config.cache.memory_map,
    )
    if mask_path is None:
        return volume
    mask = replace(
        volume,
        path=mask_path,
        shape=(volume.shape[0], 1, *volume.shape[2:]),
        channels=1,
        scale=SHARE,
        background=0.0,
        stored="|u1",
        _loaded={},
    )
    return replace(volume, mask=mask)


def _key(content: str, config: DataConfig, domain: Domain, picture: bool) -> str:
    used: dict[str, Any] = (
        {"sample_size": config.sample_size}
        if picture
        else {
            "plane": config.plane,
            "spacing": config.spacing,
            "intensity": getattr(config.intensity, domain).model_dump(),
        }
    )
    text = json.dumps([FORMAT_VERSION, content, used], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_facts(
    facts_path: Path, array_path: Path, mask_path: Path | None
) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(facts_path.read_text())
        whole = array_path.stat().st_size > 4 * int(np.prod(entry["shape"]))
        if mask_path is not None:
            slices, _, *plane = entry["shape"]
            whole = whole and mask_path.stat().st_size > slices * int(np.prod(plane))
    except (OSError, ValueError, KeyError):
        return None  # absent, or damaged: it is made (again)
    return entry if whole else None


def _write_facts(entry: dict[str, Any], facts_path: Path, arrays: tuple[Path, Path | None]) -> None:
    """Written last: an entry without facts does not exist, and its arrays take no space."""
    try:
        with cache_file(facts_path) as file:
            file.write(json.dumps(entry).encode())
    except BaseException:
        for path in arrays:
            if path is not None:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        raise


def _prepare(
    path: Path, config: DataConfig, domain: Domain, array_path: Path, mask_path: Path | None
) -> dict[str, Any]:
    picture = is_picture(path)
    fingerprint = None
    if picture:
        prepared, facts, plane = *prepare_picture_file(path, config), "axial"
    else:
        prepared, facts, plane = *prepare_volume_file(path, config, domain), config.plane
        fingerprint = fingerprint_volume(prepared, facts.shape, facts.spacing, facts.orientation)
    slices = to_slices(prepared.array, plane)
    with cache_file(array_path) as file:
        write_slices(file, slices)
    masks = to_slices(prepared.foreground[None], plane)
    if mask_path is not None:
        with cache_file(mask_path) as file:
            write_slices(file, masks, "|u1")
    mask = masks[:, 0]
    share = mask.mean(axis=(1, 2))
    inside = np.flatnonzero(share >= _BODY_SHARE * share.max())
    box = body_box(prepared.foreground)
    occupancy = body_occupancy(prepared.foreground, box)
    return {
        "shape": list(slices.shape),
        "foreground_share": [float(f"{s:.5g}") for s in share],
        "body": [int(inside[0]), int(inside[-1])],
        "center": _center(mask),
        "box": box,
        "occupancy": [[[float(f"{s:.3g}") for s in row] for row in part] for part in occupancy],
        "scale": prepared.scale.as_dict(),
        "spacing": list(prepared.spacing),
        "integer": prepared.integer,
        "background": prepared.background,
        "is_picture": picture,
        "facts": asdict(facts),
        "fingerprint": fingerprint,
    }


def prepare_volume_file(
    path: Path, config: DataConfig, domain: Domain
) -> tuple[Prepared, VolumeFacts]:
    """Read and prepare a volume, and say what its file is like."""
    volume = read_volume(path)
    facts = VolumeFacts(
        shape=tuple(int(n) for n in volume.geometry.shape),
        spacing=tuple(float(s) for s in volume.geometry.spacing),  # type: ignore[arg-type]
        orientation=volume.geometry.orientation,
        dtype=str(np.dtype(volume.dtype)),
        quantiles=_quantiles(volume.array),
    )
    return prepare_volume(volume, config, domain), facts


def prepare_picture_file(path: Path, config: DataConfig) -> tuple[Prepared, VolumeFacts]:
    """Read and prepare a picture, and say what its file is like.

    Raises:
        UserError: it is unusable, or samples are 2.5-D or 3-D.
    """
    if config.dims != 2:
        raise UserError(f"{path}: {NO_PATCHES}")
    picture = read_picture(path)
    facts = VolumeFacts(
        shape=tuple(int(n) for n in picture.array.shape),
        spacing=(1.0, 1.0, 1.0),
        orientation="picture",
        dtype=str(picture.array.dtype),
        quantiles=_quantiles(picture.array),
    )
    return prepare_picture(picture, config), facts


def _quantiles(array: np.ndarray) -> tuple[float, ...]:
    return tuple(float(q) for q in np.percentile(array, QUANTILES))


def _center(mask: np.ndarray) -> list[float]:
    """Middle of the body's bounding box in the plane (pixels), over all slices (N, H, W)."""
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    return [float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2]


def write_slices(file: Any, slices: np.ndarray, stored: str = "<f4") -> None:
    """NumPy's format, slice by slice: the stack is a view, and a whole copy could be large."""
    header = {"descr": stored, "fortran_order": False, "shape": slices.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for image in slices:
        file.write(np.ascontiguousarray(image, dtype=stored).tobytes())
