"""The same voxels without the patient's text, file by file, under other names where asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file
from medstyle_gan.volumes.checks import unchanged
from medstyle_gan.volumes.dicom_files import is_dicom
from medstyle_gan.volumes.dicom_library import require_pydicom, set_file_meta
from medstyle_gan.volumes.dicom_profile import apply_profile
from medstyle_gan.volumes.dicom_uids import UidMap
from medstyle_gan.volumes.folders import walk_files
from medstyle_gan.volumes.itk_reading import load_itk
from medstyle_gan.volumes.nifti_deidentification import deidentify_nifti
from medstyle_gan.volumes.readers import VOLUME_SUFFIXES, is_volume
from medstyle_gan.volumes.writers import write_volume

_SHOWN = 5
_NAMES = ("new", "original")


@dataclass(frozen=True)
class DeidentifyJob:
    """One file to copy without its text.

    Attributes:
        input: The file.
        output: Its copy.
        kind: How it is copied.
        pseudonym: DICOM's new name and ID of the patient; None for none.
        original: What `output` or `pseudonym` stands for, for the list of names.
    """

    input: Path
    output: Path
    kind: Literal["volume", "dicom"]
    pseudonym: str | None = None
    original: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """The new name and the original, for the list of names."""
        return self.pseudonym or self.output.name, self.original


def plan_deidentification(
    inputs: Sequence[str | Path], out: str | Path, rename: str | None = None
) -> list[DeidentifyJob]:
    """Finds the files and where their copies go.

    A file goes to OUT/<its name>, a file in a folder to OUT/<its path in the folder>: these
    names stay and may themselves name the patient. With `rename` the n-th volume becomes
    OUT/<rename>-000n with its ending, and DICOM OUT/<rename>-000n/series-0n/000n.dcm, numbered
    by patient, series and file; the patient's name and ID become <rename>-000n.

    Args:
        inputs: Files and folders, searched recursively.
        out: Folder of the copies.
        rename: New names' first part.

    Raises:
        UserError: An input does not exist, there is nothing to copy, or a copy would stand
            where something is.
    """
    out = Path(out)
    files = list(_find(inputs, out))
    if not files:
        raise UserError(
            f"{', '.join(str(i) for i in inputs)}: nothing to de-identify; give "
            f"{', '.join(VOLUME_SUFFIXES)} or DICOM files, or folders of them"
        )
    jobs = list(_renamed(files, out, rename) if rename else _named_alike(files, out))
    _refuse_clashes(jobs)
    return jobs


def deidentify(job: DeidentifyJob, uids: UidMap) -> None:
    """Writes one copy, whole or not at all.

    NIfTI is copied byte for byte but for text; NRRD and MetaImage are written anew from voxels
    and place alone; of DICOM the pixels stay as they are, compressed or not, and the header is
    cleaned by the basic profile (see `dicom_profile`).

    Args:
        job: One of `plan_deidentification`.
        uids: One for all files that belong together.

    Raises:
        UserError: The input is damaged or no image, or shows text in its pixels; the output
            exists or cannot be written.
    """
    if job.output.exists():
        raise UserError(f"{job.output}: exists already; choose another output folder")
    if job.kind == "dicom":
        _deidentify_dicom(job, uids)
    elif job.input.name.lower().endswith((".nii", ".nii.gz")):
        deidentify_nifti(job.input, job.output)
    else:
        volume = load_itk(job.input)
        write_volume(job.output, volume.array, volume.geometry, volume.dtype)


def write_names(path: str | Path, names: Iterable[tuple[str, str]], more: bool = False) -> None:
    """Writes which new name stands for what: a CSV that re-identifies, to be kept apart.

    Args:
        path: The file.
        names: New names and originals.
        more: Whether they may be added to those of a list that is there.

    Raises:
        UserError: The file exists, or is no such list, or cannot be written.
    """
    path = Path(path)
    rows = dict.fromkeys(_known_names(path, more) if path.exists() else [])
    rows |= dict.fromkeys(names)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_NAMES, *rows])
    with atomic_file(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


def _known_names(path: Path, more: bool) -> list[tuple[str, str]]:
    if not more:
        raise UserError(f"{path}: exists already; choose another name for the list of names")
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); choose another") from error
    table = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))]
    if table[:1] != [_NAMES] or any(len(row) != len(_NAMES) for row in table):
        raise UserError(f"{path}: exists and is no list of names; choose another for it")
    return [(new, original) for new, original in table[1:]]


def _find(inputs: Sequence[str | Path], out: Path) -> Iterator[tuple[Path, Path, str]]:
    """Each file, its path below its input, and its kind."""
    for path in map(Path, inputs):
        if path.is_dir():
            for file in walk_files(path, skip=out):
                kind = _kind(file)
                if kind:
                    yield file, file.relative_to(path), kind
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder; check the path")
        elif not (kind := _kind(path)):
            raise UserError(
                f"{path}: is neither a volume ({', '.join(VOLUME_SUFFIXES)}) nor DICOM; pictures "
                "and other files cannot be de-identified"
            )
        else:
            yield path, Path(path.name), kind


def _kind(file: Path) -> str:
    if is_volume(file):
        return "volume"
    return "dicom" if not file.name.startswith("._") and is_dicom(file) else ""


def _named_alike(files: list[tuple[Path, Path, str]], out: Path) -> Iterator[DeidentifyJob]:
    for file, relative, kind in files:
        yield DeidentifyJob(file, out / relative, kind)  # type: ignore[arg-type]


def _renamed(
    files: list[tuple[Path, Path, str]], out: Path, rename: str
) -> Iterator[DeidentifyJob]:
    subjects: dict[str, str] = {}
    series: dict[tuple[str, str], int] = {}
    counts: dict[tuple[str, int], int] = {}
    for file, relative, kind in files:
        if kind == "volume":
            name = subjects.setdefault(str(file), f"{rename}-{len(subjects) + 1:04d}")
            ending = next(s for s in VOLUME_SUFFIXES if file.name.lower().endswith(s))
            yield DeidentifyJob(file, out / f"{name}{ending}", "volume", None, str(relative))
            continue
        patient, uid = _whose(file)
        name = subjects.setdefault(f"dicom\0{patient}", f"{rename}-{len(subjects) + 1:04d}")
        known = sum(owner == name for owner, _ in series)
        number = series.setdefault((name, uid), known + 1)
        counts[name, number] = count = counts.get((name, number), 0) + 1
        target = out / name / f"series-{number:02d}" / f"{count:04d}.dcm"
        yield DeidentifyJob(file, target, "dicom", name, patient)


def _whose(file: Path) -> tuple[str, str]:
    """Patient and series of a DICOM file; a damaged one is told when it is copied."""
    tags = ["PatientID", "PatientName", "SeriesInstanceUID"]
    pydicom = require_pydicom()
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
        patient = str(header.get("PatientID") or "") or str(header.get("PatientName") or "")
        return patient, str(header.get("SeriesInstanceUID") or "")
    except Exception:
        return str(file), ""


def _refuse_clashes(jobs: Sequence[DeidentifyJob]) -> None:
    existing = [str(job.output) for job in jobs if job.output.exists()]
    if existing:
        more = f" and {len(existing) - _SHOWN} more" if len(existing) > _SHOWN else ""
        raise UserError(
            f"{', '.join(existing[:_SHOWN])}{more}: exists already, and nothing is overwritten; "
            "choose another output folder"
        )
    written: dict[Path, DeidentifyJob] = {}
    for job in jobs:
        other = written.setdefault(job.output, job)
        if other is not job:
            raise UserError(
                f"{other.input} and {job.input} would both be written to {job.output}; use "
                "--rename, or give the folder above both"
            )


def _deidentify_dicom(job: DeidentifyJob, uids: UidMap) -> None:
    pydicom = require_pydicom()
    file = job.input
    try:
        with unchanged([file]):
            dataset: Any = pydicom.dcmread(file)
            dataset.walk(lambda _, element: element.value)  # what is damaged shows now
    except UserError:
        raise
    except Exception as error:  # pydicom has no one error for damaged bytes
        empty = file.stat().st_size == 0
        what = "is empty (0 bytes)" if empty else f"is no whole DICOM file ({error})"
        raise UserError(f"{file}: {what}; copy or export it again") from error
    if "Rows" not in dataset or "PixelData" not in dataset:
        raise UserError(
            f"{file}: is no image ({dataset.get('Modality') or 'no Modality'}): reports and other "
            "objects are text throughout; leave it out"
        )
    if dataset.get("BurnedInAnnotation") == "YES":
        raise UserError(
            f"{file}: BurnedInAnnotation is YES: its pixels show text, which may name the patient; "
            "blacken it first"
        )
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UserError(f"{file}: has no TransferSyntaxUID in its file meta; export it again")
    apply_profile(dataset, "basic", uids, job.pseudonym)
    set_file_meta(dataset, syntax)
    with atomic_file(job.output) as opened:
        dataset.save_as(opened, enforce_file_format=True)
