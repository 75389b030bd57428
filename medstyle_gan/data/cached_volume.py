"""One preprocessed volume on disk, and the collection of them that training draws from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

import numpy as np

from medstyle_gan.data.collection import Item
from medstyle_gan.data.intensity import FittedScale, typical_scale
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError


@dataclass(frozen=True)
class VolumeFacts:
    """What is known of a file without its voxels; holds no path and no name.

    Attributes:
        shape: on-disk shape.
        spacing: the file's own voxel size (mm); (1, 1, 1) for pictures.
        orientation: the file's axes, such as "LPS"; "picture" for pictures.
        dtype: on-disk type.
        quantiles: native intensities at 0, 1, 25, 50, 75, 99 and 100 %.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    orientation: str
    dtype: str
    quantiles: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class CachedVolume:
    """A preprocessed volume whose slices or patches are read when they are asked for.

    Attributes:
        item: the file it was made from, and its subject.
        path: the `.npy` in the cache.
        shape: (N, C, H, W) as stored.
        channels: channels that reading gives: C, or 3 where the collection has colour.
        foreground_share: (N,) float32, share of each slice's pixels inside the body.
        body: first and last slice of the body.
        center: in-plane middle (pixels) of the body, what a sample is centred on.
        box: first and last voxel of the body along R, A, S.
        occupancy: (a, b, c) float32, share of body in each part of its box, see `body_occupancy`.
        scale: its own map between native units and [-1, 1].
        spacing: working voxel size along R, A, S (mm).
        integer: whether native values are integers.
        background: native median outside the body.
        is_picture: whether it comes from a PNG or JPEG.
        facts: what the file itself was like.
        fingerprint: as `fingerprint_volume` gives it; None for pictures.
        memory_map: read from disk on demand; false loads the volume at first use.
        stored: type of the values in the file; what is read is float32.
        mask: where the body is, 0 and 1 in one channel on the same grid; None unless asked for.
    """

    item: Item
    path: Path
    shape: tuple[int, int, int, int]
    channels: int
    foreground_share: np.ndarray
    body: tuple[int, int]
    center: tuple[float, float]
    box: tuple[tuple[int, int], ...]
    occupancy: np.ndarray
    scale: FittedScale
    spacing: tuple[float, float, float]
    integer: bool
    background: float
    is_picture: bool
    facts: VolumeFacts
    fingerprint: dict[str, float] | None = None
    memory_map: bool = True
    stored: Literal["<f4", "|u1"] = "<f4"
    mask: CachedVolume | None = None
    _loaded: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def slices(self) -> np.ndarray:
        """(N, channels, H, W) float32, read-only; opened anew, so nothing stays resident."""
        stored = self._load() if not self.memory_map else np.load(self.path, mmap_mode="r")
        return np.broadcast_to(stored, (self.shape[0], self.channels, *self.shape[2:]))

    def read(self, index: int) -> np.ndarray:
        """One slice, (channels, H, W) float32, in memory of its own.

        Plain reads, not a map: pages of a map would count as this process's memory for as
        long as it lives, and grow with the collection.
        """
        size = int(np.prod(self.shape[1:]))
        if self.memory_map:
            with self.path.open("rb") as file:
                image = self._values(file, index * size, size).reshape(self.shape[1:])
        else:
            image = self._load()[index].astype(np.float32)
        return image if len(image) == self.channels else image.repeat(self.channels, axis=0)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along R, A, S, of a volume stored as axial slices."""
        depth, _, width, height = self.shape
        return width, height, depth

    def read_box(self, begin: Sequence[int], end: Sequence[int]) -> np.ndarray:
        """Part of a volume stored as axial slices, in memory of its own.

        Plain reads again, one a slice, of the rows that are in the box.

        Args:
            begin: first voxel along R, A, S, inside the volume.
            end: the voxel after the last, inside the volume or at its end.

        Returns:
            (C, x, y, z) float32, axes R, A, S.
        """
        (x, y, z), (x_end, y_end, z_end) = begin, end
        if not self.memory_map:
            part = self._load()[z:z_end, :, x:x_end, y:y_end].astype(np.float32)
        else:
            _, channels, width, height = self.shape
            part = np.empty((z_end - z, channels, x_end - x, y_end - y), dtype=np.float32)
            with self.path.open("rb") as file:
                for index, channel in np.ndindex(len(part), channels):
                    row = ((z + index) * channels + channel) * width + x
                    rows = self._values(file, row * height, (x_end - x) * height)
                    part[index, channel] = rows.reshape(-1, height)[:, y:y_end]
        return np.moveaxis(part, 0, -1).copy()

    def _values(self, file: BinaryIO, first: int, count: int) -> np.ndarray:
        """Consecutive values out of the array's file."""
        # Values end the file; NumPy fills the header before them up to a multiple of 64 bytes.
        width = np.dtype(self.stored).itemsize
        header = self.path.stat().st_size - width * int(np.prod(self.shape))
        if header <= 0 or header % 64:
            raise UserError(f"{self.path}: the cache file is cut short; delete it")
        file.seek(header + width * first)
        return np.fromfile(file, dtype=self.stored, count=count).astype(np.float32, copy=False)

    @property
    def fill(self) -> float:
        """The background in [-1, 1]: what a slice is padded with."""
        return float(self.scale.to_unit(np.array([self.background], dtype=np.float32))[0])

    def height_of(self, position: float) -> float:
        """A (fractional) slice's relative height in the body: 0 at its first, 1 at its last."""
        first, last = self.body
        return 0.5 if first == last else (position - first) / (last - first)

    def position_of(self, height: float) -> float:
        """The (fractional) slice at a relative height; may lie outside the volume."""
        first, last = self.body
        return first + height * (last - first)

    def _load(self) -> np.ndarray:
        if "slices" not in self._loaded:
            self._loaded["slices"] = np.load(self.path)
        return self._loaded["slices"]


class CachedCollection(Sequence[CachedVolume]):
    """The preprocessed volumes of one domain.

    Attributes:
        domain: `scan` or `style`.
        channels: 1, or 3 when any picture is in colour (grey ones are repeated).
        scale: the collection's typical scale.
        integer: whether every volume has integer values.
        background: native median of the volumes' backgrounds.

    Args:
        volumes: at least one.
        domain: `scan` or `style`.
    """

    def __init__(self, volumes: Iterable[CachedVolume], domain: Domain) -> None:
        self._volumes = tuple(volumes)
        if not self._volumes:
            raise ValueError(f"the {domain} collection has no volume")
        self.domain = domain
        self.channels = self._volumes[0].channels
        self.scale = typical_scale([volume.scale for volume in self._volumes])
        self.integer = all(volume.integer for volume in self._volumes)
        self.background = float(np.median([volume.background for volume in self._volumes]))
        by_subject: dict[str, list[int]] = {}
        for position, volume in enumerate(self._volumes):
            by_subject.setdefault(volume.item.subject, []).append(position)
        self._by_subject = tuple(
            (subject, tuple(by_subject[subject])) for subject in sorted(by_subject)
        )

    def __len__(self) -> int:
        return len(self._volumes)

    @overload
    def __getitem__(self, index: int) -> CachedVolume: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CachedVolume]: ...
    def __getitem__(self, index: int | slice) -> CachedVolume | Sequence[CachedVolume]:
        return self._volumes[index]

    def __iter__(self) -> Iterator[CachedVolume]:
        return iter(self._volumes)

    @property
    def by_subject(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Each subject, sorted, with the positions of its volumes."""
        return self._by_subject

    @property
    def unit_background(self) -> float:
        """The background in [-1, 1], as translations into this domain have it."""
        unit = self.scale.to_unit(np.array([self.background], dtype=np.float32))[0]
        return float(np.clip(unit, -1.0, 1.0))

    @property
    def subjects(self) -> tuple[str, ...]:
        """The distinct subjects, sorted."""
        return tuple(subject for subject, _ in self._by_subject)

    def select(self, items: Iterable[Item]) -> CachedCollection | None:
        """The volumes made from `items`, with the same channels; None when there are none."""
        wanted = {item.path for item in items}
        volumes = [volume for volume in self._volumes if volume.item.path in wanted]
        return CachedCollection(volumes, self.domain) if volumes else None

    def fingerprint(self) -> dict[str, Any]:
        """What the data is like, without a path or a name: counts and ranges of facts.

        `contents` changes with any file, its place in the order, and how it is prepared.
        """
        facts = [volume.facts for volume in self._volumes]
        spacings = np.array([fact.spacing for fact in facts])
        return {
            "volumes": len(self),
            "subjects": len(self._by_subject),
            "contents": self._contents(),
            "slices": sum(len(volume) for volume in self._volumes),
            "channels": self.channels,
            "shapes": sorted({"x".join(map(str, fact.shape)) for fact in facts}),
            "sample_shapes": sorted(
                {"x".join(map(str, volume.shape[2:])) for volume in self._volumes}
            ),
            "spacing_median": [round(float(s), 4) for s in np.median(spacings, axis=0)],
            "spacing_range": [
                [round(float(low), 4), round(float(high), 4)]
                for low, high in zip(spacings.min(axis=0), spacings.max(axis=0), strict=True)
            ],
            "orientations": sorted({fact.orientation for fact in facts}),
            "dtypes": sorted({fact.dtype for fact in facts}),
            "integer": self.integer,
            "quantiles_median": [
                float(f"{q:.6g}") for q in np.median([f.quantiles for f in facts], axis=0)
            ],
            "foreground_share": round(
                float(np.mean([v.foreground_share.mean() for v in self._volumes])), 4
            ),
            "appearance": self._appearance(),
        }

    def _appearance(self) -> dict[str, list[float]] | None:
        """Mean and standard deviation over volumes of each number of their fingerprints.

        None where there are pictures, which have no fingerprint.
        """
        prints = [volume.fingerprint for volume in self._volumes]
        if any(fingerprint is None for fingerprint in prints):
            return None
        names = list(prints[0] or ())
        table = np.array([[(fingerprint or {})[name] for name in names] for fingerprint in prints])
        deviation = table.std(axis=0, ddof=1) if len(table) > 1 else np.zeros(len(names))
        return {
            name: [float(f"{mean:.6g}"), float(f"{spread:.4g}")]
            for name, mean, spread in zip(names, table.mean(axis=0), deviation, strict=True)
        }

    def _contents(self) -> str:
        """SHA-256 over all files' contents and preparation, in the order that draws go by."""
        keys = [volume.path.stem for volume in self._volumes]
        subjects = [positions for _, positions in self._by_subject]
        return hashlib.sha256(json.dumps([keys, subjects]).encode()).hexdigest()
