"""The files and DICOM series among the inputs of a translation, each once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medstyle_gan.errors import UserError
from medstyle_gan.inference.outputs.job import JobKind
from medstyle_gan.inference.outputs.uncertainty_files import is_uncertainty
from medstyle_gan.volumes import (
    DicomSeries,
    find_series,
    is_dicom,
    is_picture,
    is_volume,
    walk_names,
)


@dataclass(frozen=True)
class Found:
    """One input.

    Attributes:
        path: the file, or the folder of a series.
        root: the folder that was given, or that of the file that was.
        series: the DICOM series, where it is one.
    """

    path: Path
    root: Path
    series: DicomSeries | None = None

    @property
    def relative(self) -> Path:
        """Its path below the folder that was given."""
        return self.path.relative_to(self.root)


def find_inputs(inputs: Sequence[Path], out: Path, kind: JobKind) -> list[Found]:
    """All that can be translated; what is named twice, or by a link too, once.

    Folders are searched recursively, without hidden files, without OUT and without the
    uncertainties of earlier translations. A file that is named is never left out: an unusable
    one fails with its reason.

    Args:
        inputs: files and folders.
        out: the output folder.
        kind: whether pictures or volumes are translated.

    Raises:
        UserError: an input does not exist or is the uncertainty of a translation, or a folder
            cannot be read.
    """
    return list(_distinct(_find(inputs, out, kind)))


def _find(inputs: Sequence[Path], out: Path, kind: JobKind) -> Iterator[Found]:
    usable = is_picture if kind == "picture" else is_volume
    dicom = []  # files that are named make up their series together
    for path in inputs:
        if path.is_dir():
            for file in walk_names(path, out):
                if usable(file) and not is_uncertainty(file):
                    yield Found(file, path)
            if kind != "picture":
                found = find_series(path, skip=out)
                yield from (Found(s.folder, path, s) for s in found if not is_uncertainty(s.folder))
        elif path.is_symlink() and not path.exists():
            raise UserError(
                f"{path}: is a symbolic link that leads nowhere or back to itself; mend it"
            )
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder; check the path")
        elif kind != "picture" and not usable(path) and is_dicom(path):
            dicom.append(path)
        elif is_uncertainty(path):
            raise UserError(
                f"{path}: is the uncertainty of a translation, not an image; leave it out"
            )
        else:
            yield Found(path, path.parent)
    yield from (Found(series.folder, series.folder, series) for series in find_series(*dicom))


def _distinct(found: Iterable[Found]) -> Iterator[Found]:
    seen: set[str] = set()
    for one in found:
        real = os.path.realpath(one.series.files[0] if one.series else one.path)
        if real not in seen:
            seen.add(real)
            yield one
