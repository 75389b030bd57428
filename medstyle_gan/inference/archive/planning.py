"""Which file is translated to which, decided and checked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.bids import derivative_name
from medstyle_gan.inference.outputs.job import Job, JobKind
from medstyle_gan.inference.outputs.uncertainty_files import (
    is_uncertainty,
    stem_of,
    uncertainty_path,
)
from medstyle_gan.inference.translator import Translator
from medstyle_gan.volumes import (
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    DicomSeries,
    find_series,
    is_dicom,
    is_picture,
    is_volume,
    walk_names,
)

Found = tuple[Path, Path, DicomSeries | None]


def plan_translation(
    translator: Translator,
    inputs: Sequence[str | Path],
    out: str | Path,
    direction: Direction = "scan_to_style",
    bids: str | None = None,
    uncertainty: bool = False,
) -> list[Job]:
    """Find the files to translate and where each translation goes.

    A file named in `inputs` goes to OUT/<its name>, a file in a folder to OUT/<its path in
    the folder>, a DICOM series to OUT/<its folder's path in the folder>/series-<its number>.
    The output has the input's format, but for `.mhd`, which becomes one `.mha`. Folders are
    searched recursively, without hidden files, without OUT and without the uncertainties of
    earlier translations. OUT may itself be a file name where there is one input.

    Args:
        translator: its model says whether volumes or pictures are translated.
        inputs: files and folders.
        out: folder of the translations.
        direction: which way.
        bids: name translations as BIDS derivatives with this suffix, such as `T2w`; see
            `bids.derivative_name`.
        uncertainty: write the uncertainty beside each translation, see `uncertainty_path`.

    Returns:
        the jobs, in order of their outputs' names, which is the same in every process.

    Raises:
        UserError: for an input that does not exist, nothing to translate, two inputs with the
            same output, an output that is an input, names that are not BIDS where asked, and
            an uncertainty that the model, or the format of its outputs, cannot have.
    """
    out = Path(out)
    kind = _job_kind(translator, direction)
    if uncertainty:
        _refuse_pictures(kind)
        translator.uncertainty_over(direction)  # raises where there is only one translation
    files = list(_distinct(_find_files([Path(i) for i in inputs], out, kind)))
    if not files:
        wanted = PICTURE_SUFFIXES if kind == "picture" else (*VOLUME_SUFFIXES, "DICOM")
        raise UserError(
            f"{', '.join(str(i) for i in inputs)}: nothing to translate {direction}; this model "
            f"takes {', '.join(wanted)} in this direction"
        )
    if names_a_file(out):
        if len(files) > 1 or not (Path(inputs[0]).is_file() or files[0][2]):
            raise UserError(
                f"{out}: is a file's name, but {len(files)} files from "
                f"{', '.join(str(i) for i in inputs)} need a folder; give a folder with -o"
            )
        if bids is not None:
            raise UserError(f"{out}: --bids names the files itself; give a folder with -o")
        if out.name.lower().endswith(".mhd"):
            raise UserError(f"{out}: a translation is one file; name it .mha instead")
        jobs = [_job(*files[0][:2], out.parent / out.name, kind, files[0][2], named=True)]
    else:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file, not a folder; give a folder with -o")
        jobs = [
            _job(
                file,
                relative,
                out / (relative if bids is None else derivative_name(file, bids)),
                kind,
                series,
            )
            for file, relative, series in files
        ]
    if uncertainty:
        jobs = [
            replace(job, uncertainty=uncertainty_path(job.output, bids is not None)) for job in jobs
        ]
    _refuse_clashes(jobs)
    return sorted(jobs, key=lambda job: str(job.output))


def _job_kind(translator: Translator, direction: Direction) -> JobKind:
    source, target = DOMAINS[direction]
    if translator.pictures[source]:
        return "picture"
    if translator.config.inference.picture_output == "nifti":
        return "volume"
    if not translator.pictures[target]:
        raise UserError(
            f"inference.picture_output=png: the {target} collection of this model is volumes, "
            "only a style of pictures can be written as PNGs; set it to nifti"
        )
    return "picture_stack"


def _refuse_pictures(kind: JobKind) -> None:
    if kind == "picture":
        raise UserError(
            "--uncertainty: this model takes pictures in this direction, and only volumes have "
            "an uncertainty; leave it out"
        )
    if kind == "picture_stack":
        raise UserError(
            "--uncertainty: its float values cannot be written as PNGs; leave it out, or set "
            "inference.picture_output=nifti"
        )


def _find_files(inputs: Sequence[Path], out: Path, kind: JobKind) -> Iterator[Found]:
    """Each file or series with its path below the output folder."""
    usable = is_picture if kind == "picture" else is_volume
    dicom = []  # files that are named make up their series together
    for path in inputs:
        if path.is_dir():
            for file in walk_names(path, out):
                if usable(file) and not is_uncertainty(file):
                    yield file, file.relative_to(path), None
            if kind != "picture":
                found = find_series(path, skip=out)
                yield from _series((s for s in found if not is_uncertainty(s.folder)), path)
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
            # A file that is named is never left out: an unusable one fails with its reason.
            yield path, Path(path.name), None
    for series in find_series(*dicom):
        yield from _series([series], series.folder)


def _series(found: Iterable[DicomSeries], root: Path) -> Iterator[Found]:
    """Names for series: by their number, which tells nothing of a patient."""
    taken: set[Path] = set()
    for series in found:
        folder = series.folder.relative_to(root)
        name = f"series-{series.number or 0:04d}"
        target, count = folder / name, 1
        while target in taken:  # numbers need not differ, for instance between two studies
            count += 1
            target = folder / f"{name}-{count}"
        taken.add(target)
        yield series.folder, target, series


def _distinct(files: Iterable[Found]) -> Iterator[Found]:
    seen: set[str] = set()
    for file, relative, series in files:
        real = os.path.realpath(series.files[0] if series else file)
        if real not in seen:
            seen.add(real)
            yield file, relative, series


def names_a_file(out: Path) -> bool:
    """Whether OUT is one output's name rather than a folder for many."""
    return not out.is_dir() and (is_volume(out) or is_picture(out))


def _job(
    file: Path,
    relative: Path,
    target: Path,
    kind: JobKind,
    series: DicomSeries | None = None,
    named: bool = False,
) -> Job:
    """The job of one input; `named` where the user gave the output's own name."""
    stem = target.name if series and not named else stem_of(target)
    if kind == "picture_stack":
        output = target.with_name(stem)
    elif kind == "picture":
        output = target if named else target.with_name(f"{stem}.png")
    elif series and not named:
        output, kind = target, "series"
    else:
        output = target.with_name(f"{stem}.mha") if target.suffix.lower() == ".mhd" else target
    sidecar = target.with_name(f"{stem}.json")
    return Job(file, output, sidecar, kind, relative, series.files if series else (), series)


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(file): file for job in jobs for file in (job.input, *job.files)}
    written: dict[str, Job] = {}
    for job in jobs:
        for target in filter(None, (job.output, job.sidecar, job.uncertainty)):
            real = os.path.realpath(target)
            if real in inputs:
                raise UserError(
                    f"{target}: this output would replace the input {inputs[real]}; choose "
                    "another output folder with -o"
                )
            other = written.setdefault(real, job)
            if other is not job:
                raise UserError(
                    f"{other.input} and {job.input} would both be written to {target}; translate "
                    "each in a call with an -o of its own"
                    + ("" if _same_folder(other, job) else ", or give the folder above both")
                )


def _same_folder(one: Job, other: Job) -> bool:
    return one.input.parent.resolve() == other.input.parent.resolve()
