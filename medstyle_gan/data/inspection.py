"""A full reading of a collection: what is in it, what is unusable, and what to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache_entry import (
    QUANTILES,
    VolumeFacts,
    prepare_picture_file,
    prepare_volume_file,
)
from medstyle_gan.data.collection import Collection, Item
from medstyle_gan.data.preprocessing import Prepared, slice_aspect, to_slices
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import is_picture

SHOWN_SUBJECTS = 6
SHOWN_HEIGHTS = (0.4, 0.65)
_SAMPLED_VOXELS = 20_000


@dataclass(frozen=True)
class FileReport:
    """One usable file.

    Attributes:
        path: the file.
        subject: whose it is.
        facts: shape, spacing, orientation, type and native quantiles.
        room: (H, W) of its slices at the working spacing (pixels), or its (X, Y, Z) where
            samples are 3-D.
        foreground_share: share of its voxels in the body.
    """

    path: Path
    subject: str
    facts: VolumeFacts
    room: tuple[int, ...]
    foreground_share: float


@dataclass(frozen=True)
class Thumbnails:
    """Slices of one subject.

    Attributes:
        subject: whose they are.
        images: each (C, H, W) in [-1, 1].
        masks: each bool (H, W), the body.
        aspect: height over width of a pixel as displayed.
    """

    subject: str
    images: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...]
    aspect: float


@dataclass(frozen=True)
class CollectionReport:
    """What a collection holds.

    Attributes:
        domain: `scan` or `style`.
        source: what the user gave.
        files: the usable files.
        unusable: the other files, each with its reason.
        thumbnails: slices of several subjects.
        native: (V,) native intensities drawn evenly from every body.
        unit: (V,) the same after the intensity scale, in [-1, 1].
    """

    domain: Domain
    source: str
    files: tuple[FileReport, ...]
    unusable: tuple[tuple[Path, str], ...]
    thumbnails: tuple[Thumbnails, ...]
    native: np.ndarray
    unit: np.ndarray

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects with a usable file, sorted."""
        return tuple(sorted({file.subject for file in self.files}))

    def table(self) -> dict[str, list[str]]:
        """Row name → the lines of its cell."""
        facts = [file.facts for file in self.files]
        quantiles = np.median([f.quantiles for f in facts], axis=0).tolist() if facts else []
        shares = [file.foreground_share for file in self.files]
        return {
            "files": [str(len(self.files) + len(self.unusable))],
            "unusable": [str(len(self.unusable))],
            "subjects": [str(len(self.subjects))],
            "shape": _counted("x".join(map(str, f.shape)) for f in facts),
            "spacing (mm)": _counted("x".join(f"{s:.3g}" for s in f.spacing) for f in facts),
            "orientation": _counted(f.orientation for f in facts),
            "type": _counted(f.dtype for f in facts),
            "room for samples": _counted("x".join(map(str, f.room)) for f in self.files),
            **{
                f"intensity {q:g} %": [f"{value:.5g}"]
                for q, value in zip(QUANTILES, quantiles, strict=False)
            },
            "foreground": [f"{min(shares):.0%} to {max(shares):.0%}"] if shares else ["-"],
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures, for JSON."""
        return {
            "source": self.source,
            "files": len(self.files) + len(self.unusable),
            "subjects": list(self.subjects),
            "usable": [
                {
                    "path": str(file.path),
                    "subject": file.subject,
                    **asdict(file.facts),
                    "room": list(file.room),
                    "foreground_share": round(file.foreground_share, 4),
                }
                for file in self.files
            ],
            "unusable": [{"path": str(path), "reason": reason} for path, reason in self.unusable],
            "quantiles": list(QUANTILES),
        }


def inspect_collection(
    collection: Collection,
    config: DataConfig,
    domain: Domain,
    on_progress: Callable[[int, int], None] | None = None,
) -> CollectionReport:
    """Read every file fully and prepare it as training would; writes nothing.

    Args:
        collection: the files.
        config: the settings of preprocessing.
        domain: `scan` or `style`.
        on_progress: called with (files done, files in all).
    """
    config = _unclipped(config)
    files: list[FileReport] = []
    unusable: list[tuple[Path, str]] = []
    thumbnails: dict[str, Thumbnails] = {}
    sampled: list[tuple[np.ndarray, np.ndarray]] = []
    subjects = collection.subjects
    step = max(1.0, len(subjects) / SHOWN_SUBJECTS)
    shown = {subjects[int(i * step)] for i in range(min(SHOWN_SUBJECTS, len(subjects)))}
    for done, item in enumerate(collection, start=1):
        try:
            prepared, facts, plane = _read(item, config, domain)
        except UserError as error:
            unusable.append((item.path, str(error).removeprefix(f"{item.path}: ")))
        else:
            slices = to_slices(prepared.array, plane)
            masks = to_slices(prepared.foreground[None], plane)[:, 0]
            room = prepared.grid.shape if config.dims == 3 else slices.shape[2:]
            share = float(masks.mean())
            files.append(FileReport(item.path, item.subject, facts, room, share))
            sampled.append(_sample(prepared, _SAMPLED_VOXELS // min(len(collection), 20)))
            if item.subject in shown and item.subject not in thumbnails:
                thumbnails[item.subject] = _thumbnails(
                    item.subject, slices, masks, slice_aspect(prepared.spacing, plane)
                )
        if on_progress:
            on_progress(done, len(collection))
    none = np.empty(0, dtype=np.float32)
    return CollectionReport(
        domain=domain,
        source=collection.source,
        files=tuple(files),
        unusable=tuple(unusable),
        thumbnails=tuple(thumbnails.values()),
        native=np.concatenate([native for native, _ in sampled] or [none]),
        unit=np.concatenate([unit for _, unit in sampled] or [none]),
    )


def _read(item: Item, config: DataConfig, domain: Domain) -> tuple[Prepared, VolumeFacts, str]:
    if is_picture(item.path):
        return *prepare_picture_file(item.path, config), "axial"
    return *prepare_volume_file(item.path, config, domain), config.plane


def _unclipped(config: DataConfig) -> DataConfig:
    """The same scales without clipping, so that native intensities can be had back."""
    scales = {
        domain: getattr(config.intensity, domain).model_copy(update={"clip": False})
        for domain in ("scan", "style")
    }
    return config.model_copy(update={"intensity": config.intensity.model_copy(update=scales)})


def _sample(prepared: Prepared, count: int) -> tuple[np.ndarray, np.ndarray]:
    values = prepared.array[:, prepared.foreground].ravel()
    values = values[:: max(1, values.size // max(count, 1))]
    return prepared.scale.from_unit(values), np.clip(values, -1, 1)


def _thumbnails(subject: str, slices: np.ndarray, masks: np.ndarray, aspect: float) -> Thumbnails:
    inside = np.flatnonzero(masks.any(axis=(1, 2)))
    first, last = int(inside[0]), int(inside[-1])
    chosen = sorted({round(first + h * (last - first)) for h in SHOWN_HEIGHTS})
    return Thumbnails(
        subject=subject,
        images=tuple(np.clip(slices[i], -1, 1) for i in chosen),
        masks=tuple(masks[i].copy() for i in chosen),
        aspect=aspect,
    )


def _counted(values: Iterable[str], limit: int = 4) -> list[str]:
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return [counts[0][0]]
    lines = [f"{value} ({count})" for value, count in counts[:limit]]
    others = len(counts) - limit
    if others > 0:
        lines.append(f"and {others} other{'s' if others > 1 else ''}")
    return lines or ["-"]
