"""A subject taken out of both collections, with its scans and style volumes as registered pairs."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.rigid import register_rigidly
from medstyle_gan.config import Config, load_config
from medstyle_gan.data import Collection, find_collection
from medstyle_gan.data.collection import Item
from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.resampling import from_ras, to_ras
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Volume, read_volume, write_volume
from medstyle_gan.volumes.atomic import atomic_folder


@dataclass(frozen=True)
class HeldOut:
    """Whom to hold out.

    Attributes:
        scans: scan collection.
        style: style collection.
        subject: as `data.subject_pattern` finds it in the files' names.
        visit: a pattern whose first group a scan's and its style volume's names have in common;
            None is the subject's.
        overrides: settings, `key.path=value`.
    """

    scans: str
    style: str
    subject: str
    visit: str | None = None
    overrides: tuple[str, ...] = ()


def hold_out_subject(asked: HeldOut, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write lists of all other subjects, and the pairs of this one.

    Args:
        asked: whom.
        out: a new folder.
        say: takes a line a pair.

    Returns:
        What was done: counts, and of each pair how far its style volume was turned and moved.

    Raises:
        UserError: the subject or its pairs cannot be found, or the folder is there.
    """
    if out.exists():
        raise UserError(f"{out}: is there already; give another folder (-o)")
    config = load_config(None, list(asked.overrides))
    pattern = config.data.subject_pattern
    collections = {
        "scans": find_collection(asked.scans, pattern),
        "style": find_collection(asked.style, pattern),
    }
    pairs = _pairs(asked, collections, _pattern(asked.visit or pattern))
    with atomic_folder(out) as folder:
        told: dict[str, Any] = {"pairs": {}}
        for name, collection in collections.items():
            left = [item for item in collection.items if item.subject != asked.subject]
            if not left:
                raise UserError(f"{asked.subject} is the only subject of {name}; nothing is left")
            _write_list(folder / f"{name}.csv", left)
            told[name] = len(left)
        for visit, (scan, style) in pairs.items():
            moved = _write_pair(folder / "pairs" / visit, scan, style, config)
            told["pairs"][visit] = moved
            say(f"pair {len(told['pairs'])} of {len(pairs)}: {_line(moved)}")
    return told


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"--visit {text!r}: no regular expression ({error})") from error
    return pattern


def _pairs(
    asked: HeldOut, collections: dict[str, Collection], pattern: re.Pattern[str]
) -> dict[str, tuple[Path, Path]]:
    """Visit → its scan and its style volume."""
    visits: dict[str, dict[str, Path]] = {}
    for name, collection in collections.items():
        own = [item.path for item in collection.items if item.subject == asked.subject]
        if not own:
            known = ", ".join(sorted({item.subject for item in collection.items})[:20])
            raise UserError(f"--subject {asked.subject}: not in {name}, which has {known}")
        for path in own:
            found = pattern.search(path.name)
            if found is None:
                raise UserError(f"{path}: --visit {pattern.pattern!r} finds nothing in its name")
            visit = found.group(1) if pattern.groups else found.group()
            if name in visits.setdefault(visit, {}):
                raise UserError(
                    f"{path}: is not the only one of {visit} in {name}; give a --visit that tells "
                    r"them apart, such as '(patient\d+_study\d+)'"
                )
            visits[visit][name] = path
    pairs = {v: (p["scans"], p["style"]) for v, p in sorted(visits.items()) if len(p) == 2}
    if not pairs:
        raise UserError(f"{asked.subject}: no visit has both a scan and a style volume")
    return pairs


def _write_list(path: Path, items: Sequence[Item]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "subject"))
        writer.writerows((item.path.resolve(), item.subject) for item in items)


def _write_pair(
    folder: Path, scan_path: Path, style_path: Path, config: Config
) -> dict[str, float]:
    scan, style = read_volume(scan_path), read_volume(style_path)
    registered = register_rigidly(scan, style, seed=config.training.seed)
    body = _body(scan, scan.array) | _body(scan, registered.array)
    names = config.data.pairs.names
    for name, array, dtype in (
        (names.scan, scan.array, scan.dtype),
        (names.style, registered.array, style.dtype),
        (names.mask, body & registered.covered, np.dtype(np.uint8)),
    ):
        write_volume(folder / f"{name}.nii.gz", array, scan.geometry, dtype)
    return {
        "turned_degrees": round(registered.turned, 2),
        "moved_mm": round(registered.moved, 2),
        "mutual_information": round(registered.information, 4),
    }


def _body(scan: Volume, array: np.ndarray) -> np.ndarray:
    affine = np.asarray(scan.geometry.affine)
    return from_ras(foreground_mask(np.ascontiguousarray(to_ras(array, affine))), affine)


def _line(moved: dict[str, float]) -> str:
    return f"turned by {moved['turned_degrees']} degrees, moved by {moved['moved_mm']} mm"
