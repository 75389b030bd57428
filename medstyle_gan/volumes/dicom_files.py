"""Finds the DICOM series of a folder: by content, for their files often have no ending."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.dicom_library import require_pydicom
from medstyle_gan.volumes.dicom_slices import HEADER_TAGS
from medstyle_gan.volumes.folders import walk_files

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Files that archives have thousands of, and that need not be opened to see that they are others.
_OTHERS = (
    *(".gz", ".nii", ".nrrd", ".mha", ".mhd", ".raw", ".png", ".jpg", ".jpeg"),
    *(".json", ".csv", ".tsv", ".txt", ".yaml"),
)
_PREAMBLE, _MARK = 128, b"DICM"
# Objects beside a scan that are none: segmentations, doses, plans, reports, presentations.
_NO_SCANS = frozenset(
    ["SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "SR", "PR", "KO", "REG", "FID", "DOC"]
)


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The files of one series; whether they make a volume, `read_series` tells.

    Attributes:
        uid: Series Instance UID; empty for a file that cannot be read as DICOM.
        files: Its files, sorted by name.
        folder: The folder that holds them all.
        modality: Such as "MR".
        number: Series Number, None where there is none.
        description: Series Description, which may hold a patient's text.
        fault: Why no volume can be made of it, where that shows in the header alone.
    """

    uid: str
    files: tuple[Path, ...]
    folder: Path
    modality: str = ""
    number: int | None = None
    description: str = ""
    fault: str = ""
    headers: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """Its name in messages, which may be kept and sent on: no UID, no description."""
        return "the series" if self.number is None else f"series {self.number}"


def find_series(*paths: str | os.PathLike[str], skip: Path | None = None) -> list[DicomSeries]:
    """Finds the series in folders and among files.

    Folders are searched recursively, without hidden files; links that lead in a circle are
    followed once, and so is a file that several paths lead to. Copies of a series in several
    folders are a series in each. Files that are no DICOM are passed over, as are DICOM objects
    that are no scan (reports, segmentations, doses). A damaged DICOM file becomes a series of
    its own with a `fault`, so that one bad file does not stop an archive.

    Args:
        paths: Folders and files.
        skip: A folder in them that is not searched.

    Returns:
        The series, by folder and then number.

    Raises:
        UserError: A path does not exist or a folder cannot be read, or pydicom is not installed
            and there is DICOM.
    """
    series: dict[str, list[tuple[Path, Any]]] = {}
    faulty: list[DicomSeries] = []
    for file in _files(map(Path, paths), skip):
        if not is_dicom(file):
            continue
        header = _read_header(file)
        if isinstance(header, str):
            faulty.append(DicomSeries("", (file,), file.parent, fault=header))
        elif header.get("Rows") and header.get("Modality") not in _NO_SCANS:
            uid = str(header.get("SeriesInstanceUID") or "")
            if uid:
                series.setdefault(uid, []).append((file, header))
            else:
                fault = f"{file}: has no SeriesInstanceUID; export the series again"
                faulty.append(DicomSeries("", (file,), file.parent, fault=fault))
    found = [_series(uid, copy) for uid, members in series.items() for copy in _copies(members)]
    return sorted([*found, *faulty], key=lambda s: (str(s.folder), s.number or 0, s.uid))


def is_dicom(file: Path) -> bool:
    """Whether a file is DICOM by its mark, or says that it is by its ending."""
    name = file.name.lower()
    if name.endswith(DICOM_SUFFIXES):
        return True
    if name.endswith(_OTHERS):
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(_PREAMBLE + len(_MARK))[_PREAMBLE:] == _MARK
    except OSError:
        return False


def _files(paths: Iterable[Path], skip: Path | None) -> Iterator[Path]:
    seen: set[str] = set()
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder; check the path")
        for file in walk_files(path, skip) if path.is_dir() else [path]:
            real = os.path.realpath(file)
            if real not in seen:
                seen.add(real)
                yield file


def _copies(members: list[tuple[Path, Any]]) -> list[list[tuple[Path, Any]]]:
    """The files of a series by the folders that hold copies of it; one list where none do."""
    instances = [str(header.get("SOPInstanceUID") or file) for file, header in members]
    if len(set(instances)) == len(instances):
        return [members]
    above = os.path.commonpath([file.parent for file, _ in members])
    folders: dict[str, list[tuple[Path, Any]]] = {}
    for file, header in members:
        below = file.relative_to(above).parts
        folders.setdefault(below[0] if len(below) > 1 else "", []).append((file, header))
    if len(folders) == 1:  # the same slices twice in one folder, which reading refuses
        return [members]
    return [copy for part in folders.values() for copy in _copies(part)]


def _series(uid: str, members: list[tuple[Path, Any]]) -> DicomSeries:
    files = tuple(file for file, _ in members)
    first = members[0][1]
    number = first.get("SeriesNumber")
    return DicomSeries(
        uid=uid,
        files=files,
        folder=Path(os.path.commonpath([file.parent for file in files])),
        modality=str(first.get("Modality") or ""),
        number=None if number is None else int(number),
        description=str(first.get("SeriesDescription") or ""),
        headers=tuple(header for _, header in members),
    )


def _read_header(file: Path) -> Any:
    """The fields that reading needs, or why there are none."""
    pydicom = require_pydicom()
    again = "copy or export the file again"
    try:
        if file.stat().st_size == 0:
            return f"{file}: is empty (0 bytes); {again}"
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(HEADER_TAGS))
        # pydicom converts a value when it is first asked for: then, not later, it is bad.
        for keyword in HEADER_TAGS:
            header.get(keyword)
    except pydicom.errors.InvalidDicomError:
        return (
            f"{file}: is no DICOM file (no mark DICM after the preamble); convert it to DICOM "
            "Part 10, or remove it"
        )
    except OSError as error:
        return f"{file}: cannot be read ({error.strerror or error}); check permissions and disk"
    except Exception as error:  # pydicom has no one error for damaged bytes
        return f"{file}: its header is truncated or damaged ({error}); {again}"
    return header
