"""The subjects of an evaluation, on the network's grid, each read when it is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import overload

import numpy as np

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.collection import Collection
from medstyle_gan.data.preprocessing import prepare_volume
from medstyle_gan.data.resampling import ras_grid, to_ras, working_grid
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import Labels, Subject
from medstyle_gan.evaluation.comparison import prepare_mask
from medstyle_gan.evaluation.pairs import Pair, empty_mask
from medstyle_gan.volumes import Volume, is_picture, read_volume

_KEPT_BYTES = 2**29


@dataclass(frozen=True)
class SubjectFiles:
    """Where a subject is read from, and what it is called."""

    name: str
    scan: Path
    truth: Path | None = None
    mask: Path | None = None
    labels: Path | None = None
    lesions: Path | None = None


class Subjects(Sequence[Subject]):
    """Subjects that are read from their files when they are asked for; picklable.

    Those used last stay in memory, up to half a GiB in all.

    Args:
        files: one entry a subject.
        data: how volumes become [-1, 1], and the working spacing.
    """

    def __init__(self, files: Sequence[SubjectFiles], data: DataConfig) -> None:
        self.files = tuple(files)
        self._data = data
        self._kept = _Kept()

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Subject: ...
    @overload
    def __getitem__(self, index: slice) -> Subjects: ...
    def __getitem__(self, index: int | slice) -> Subject | Subjects:
        if isinstance(index, slice):
            return Subjects(self.files[index], self._data)
        files = self.files[index]
        subject = self._kept.get(files)
        if subject is None:
            subject = load_subject(files, self._data)
            self._kept.put(files, subject)
        return subject

    @property
    def masks_given(self) -> int:
        """How many bring a mask of the user's."""
        return sum(files.mask is not None for files in self.files)

    def __reduce__(self) -> tuple[type[Subjects], tuple[tuple[SubjectFiles, ...], DataConfig]]:
        return Subjects, (self.files, self._data)


@dataclass
class _Kept:
    """The subjects used last."""

    subjects: OrderedDict[SubjectFiles, Subject] = field(default_factory=OrderedDict)

    def get(self, files: SubjectFiles) -> Subject | None:
        if files in self.subjects:
            self.subjects.move_to_end(files)
        return self.subjects.get(files)

    def put(self, files: SubjectFiles, subject: Subject) -> None:
        self.subjects[files] = subject
        while sum(map(_bytes, self.subjects.values())) > _KEPT_BYTES and len(self.subjects) > 1:
            self.subjects.popitem(last=False)


def _bytes(subject: Subject) -> int:
    values = (getattr(subject, f.name) for f in fields(subject))
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


def pair_subjects(pairs: Sequence[Pair], data: DataConfig, show_names: bool) -> Subjects:
    """The subjects of registered pairs.

    Args:
        pairs: as `find_pairs` gives them.
        data: see `Subjects`.
        show_names: call them by their folders' names; else `subject 1`, in their order.
    """
    return Subjects(
        [
            SubjectFiles(
                name=pair.subject if show_names else f"subject {number}",
                scan=pair.scan,
                truth=pair.style,
                mask=pair.mask,
                labels=pair.labels,
                lesions=pair.lesions,
            )
            for number, pair in enumerate(pairs, start=1)
        ],
        data,
    )


def scan_subjects(scans: Collection, data: DataConfig, show_names: bool) -> Subjects:
    """The scans of a collection, without truth; of several of a subject each counts.

    Args:
        scans: volumes.
        data: see `Subjects`.
        show_names: call them by their subjects' names.

    Raises:
        UserError: They are pictures.
    """
    if any(is_picture(item.path) for item in scans):
        raise UserError(
            f"{scans.source}: these are pictures; medstyle evaluate takes volumes as scans"
        )
    numbers = {subject: number for number, subject in enumerate(scans.subjects, start=1)}
    seen: dict[str, int] = {}
    files = []
    for item in scans:
        name = item.subject if show_names else f"subject {numbers[item.subject]}"
        seen[name] = seen.get(name, 0) + 1
        again = f" volume {seen[name]}" if seen[name] > 1 else ""
        files.append(SubjectFiles(name + again, item.path))
    return Subjects(files, data)


def load_subject(files: SubjectFiles, data: DataConfig) -> Subject:
    """Reads one subject.

    Args:
        files: what there is of it.
        data: see `Subjects`.

    Returns:
        The subject; without a given mask in the body that is found in its scan.

    Raises:
        UserError: A file is unusable, or a mask is empty.
    """
    prepared = prepare_volume(read_volume(files.scan), data, "scan")
    mask = prepared.foreground
    if files.mask is not None:
        mask = _read_mask(files.mask, data)
        if not mask.any():
            raise UserError(empty_mask(files.mask))
    truth = native = None
    if files.truth is not None:
        volume = read_volume(files.truth)
        truth = prepare_volume(volume, data, "style").array[0]
        native = _native(volume, data)
    return Subject(
        name=files.name,
        scan=np.ascontiguousarray(prepared.array[0]),
        mask=np.ascontiguousarray(mask),
        mask_given=files.mask is not None,
        spacing=prepared.spacing,
        truth=None if truth is None else np.ascontiguousarray(truth),
        labels=None if files.labels is None else _read_labels(files.labels, data),
        lesions=None if files.lesions is None else _read_mask(files.lesions, data),
        native_truth=native,
    )


def _read_mask(path: Path, data: DataConfig) -> np.ndarray:
    return prepare_mask(read_volume(path, allow_constant=True), data)


def _native(volume: Volume, data: DataConfig) -> np.ndarray:
    """The volume on the working grid in its own units, float32 (X, Y, Z)."""
    # A scale that changes nothing keeps the one way from a file to the grid.
    untouched = {"name": "fixed", "lower": -1.0, "upper": 1.0, "clip": False}
    intensity = type(data.intensity).model_validate({"scan": untouched, "style": untouched})
    plain = data.model_copy(update={"intensity": intensity})
    return np.ascontiguousarray(prepare_volume(volume, plain, "style").array[0])


def _read_labels(path: Path, data: DataConfig) -> Labels:
    """Labels on the working grid, int32 (X, Y, Z): each voxel has that of the nearest one."""
    volume = read_volume(path, allow_constant=True)
    values = np.asarray(volume.array)
    if not np.array_equal(values, np.rint(values)):
        raise UserError(f"{path}: labels must be whole numbers; give a label volume")
    affine = np.asarray(volume.geometry.affine, dtype=np.float64)
    own = ras_grid(volume.geometry.spatial_shape, affine)
    working = working_grid(own, data.spacing)
    change = np.linalg.solve(own.affine, working.affine)
    index = [
        np.clip(np.rint(change[axis, 3] + np.arange(n) * change[axis, axis]), 0, have - 1)
        for axis, (n, have) in enumerate(zip(working.shape, own.shape, strict=True))
    ]
    turned = to_ras(values, affine)
    return np.ascontiguousarray(turned[np.ix_(*[i.astype(int) for i in index])], dtype=np.int32)
