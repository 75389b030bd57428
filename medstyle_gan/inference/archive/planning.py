"""Which file is translated to which, decided and checked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medstyle_gan.data.words import Direction, domains_of
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.bids import name_derivatives
from medstyle_gan.inference.archive.finding import Found, find_inputs
from medstyle_gan.inference.archive.naming import Pseudonyms, name_outputs
from medstyle_gan.inference.outputs.job import Job, JobKind
from medstyle_gan.inference.outputs.uncertainty_files import uncertainty_path
from medstyle_gan.inference.translator import Translator
from medstyle_gan.volumes import (
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    is_picture,
    is_volume,
    stem_of,
)

_DICOM_ALONE = Pseudonyms()


def plan_translation(
    translator: Translator,
    inputs: Sequence[str | Path],
    out: str | Path,
    direction: Direction = "scan_to_style",
    bids: str | None = None,
    uncertainty: bool = False,
    pseudonyms: Pseudonyms | None = _DICOM_ALONE,
) -> list[Job]:
    """Find the files to translate and where each translation goes.

    A file named in `inputs` goes to OUT/<its name>, a file in a folder to OUT/<its path in
    the folder>, a DICOM series to OUT/<study-a hash>/series-<its number>; see `name_outputs` for
    those that would share a name. The output has the input's format, but for `.mhd`, which
    becomes one `.mha`. Folders are searched as `find_inputs` says. OUT may itself be a file name
    where there is one input.

    Args:
        translator: its model says whether volumes or pictures are translated.
        inputs: files and folders.
        out: folder of the translations.
        direction: which way.
        bids: name translations as BIDS derivatives with this suffix, such as `T2w`; see
            `bids.derivative_name`.
        uncertainty: write the uncertainty beside each translation, see `uncertainty_path`.
        pseudonyms: of inputs whose own names OUT must not tell; of DICOM series by default, None
            keeps all names.

    Returns:
        the jobs, in order of their outputs' names, which is the same in every process. Inputs
        whose outputs cannot be told apart, or that have no BIDS name where these are asked for,
        are among them, with the reason as their `fault`.

    Raises:
        UserError: for an input that does not exist, nothing to translate, an output that is an
            input, no BIDS name at all where these are asked for, and an uncertainty that the
            model, or the format of its outputs, cannot have.
    """
    out = Path(out)
    kind = _job_kind(translator, direction)
    if uncertainty:
        _refuse_pictures(kind)
        translator.uncertainty_over(direction)  # raises where there is only one translation
    found = find_inputs([Path(i) for i in inputs], out, kind)
    if not found:
        wanted = PICTURE_SUFFIXES if kind == "picture" else (*VOLUME_SUFFIXES, "DICOM")
        raise UserError(
            f"{', '.join(str(i) for i in inputs)}: nothing to translate {direction}; this model "
            f"takes {', '.join(wanted)} in this direction"
        )
    if names_a_file(out):
        if len(found) > 1 or not (Path(inputs[0]).is_file() or found[0].series):
            raise UserError(
                f"{out}: is a file's name, but {len(found)} files from "
                f"{', '.join(str(i) for i in inputs)} need a folder; give a folder with -o"
            )
        if bids is not None:
            raise UserError(f"{out}: --bids names the files itself; give a folder with -o")
        if out.name.lower().endswith(".mhd"):
            raise UserError(f"{out}: a translation is one file; name it .mha instead")
        jobs = [_job(found[0], Path(out.name), out.parent, kind, named=True)]
        if uncertainty:
            jobs = [_with_uncertainty(job, False) for job in jobs]
    else:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file, not a folder; give a folder with -o")
        jobs = _named_jobs(found, out, kind, bids, uncertainty, pseudonyms)
    _refuse_to_replace_inputs(jobs)
    return sorted(jobs, key=lambda job: (str(job.output), str(job.input)))


def _named_jobs(
    found: Sequence[Found],
    out: Path,
    kind: JobKind,
    bids: str | None,
    uncertainty: bool,
    pseudonyms: Pseudonyms | None,
) -> list[Job]:
    def jobs_called(names: Sequence[Path]) -> list[Job]:
        jobs = [_job(one, name, out, kind) for one, name in zip(found, names, strict=True)]
        return [_with_uncertainty(job, bids is not None) if uncertainty else job for job in jobs]

    def clashing(names: Sequence[Path]) -> list[list[int]]:
        return _clashes(jobs_called(names))

    names = (
        name_outputs(found, pseudonyms, clashing)
        if bids is None
        else name_derivatives(found, bids, pseudonyms, clashing)
    )
    jobs = [
        replace(job, relative=name, private=pseudonyms is not None and pseudonyms.hides(one))
        for job, name, one in zip(jobs_called(names.outputs), names.inputs, found, strict=True)
    ]
    for group in names.clashes:
        for index, other in zip(group, [*group[1:], group[0]], strict=True):
            job = jobs[index]
            jobs[index] = replace(
                job,
                fault=f"{job.input} and {jobs[other].input} would both be written to "
                f"{job.output}; rename one, or translate each in a call with an -o of its own",
                told="shares its output's name with another input, which the command named at its "
                "end",
            )
    for index, fault in names.faults.items():
        jobs[index] = replace(jobs[index], fault=fault, told="has no BIDS name, which --bids needs")
    return jobs


def _job_kind(translator: Translator, direction: Direction) -> JobKind:
    source, target = domains_of(direction)
    translator.refuse_direction(direction)
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
            "--uncertainty: this model takes pictures in this direction, whose 8 bits from black "
            "to white have no unit that a deviation could be told in, nor room for its float "
            "values; leave it out"
        )
    if kind == "picture_stack":
        raise UserError(
            "--uncertainty: its float values cannot be written as PNGs; leave it out, or set "
            "inference.picture_output=nifti"
        )


def names_a_file(out: Path) -> bool:
    """Whether OUT is one output's name rather than a folder for many."""
    return not out.is_dir() and (is_volume(out) or is_picture(out))


def _job(found: Found, name: Path, out: Path, kind: JobKind, named: bool = False) -> Job:
    """The job of one input; `named` where the user gave the output's own name."""
    series, target = found.series, out / name
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
    files = series.files if series else ()
    return Job(found.path, output, sidecar, kind, Path(found.path.name), files, series)


def _with_uncertainty(job: Job, bids: bool) -> Job:
    return replace(job, uncertainty=uncertainty_path(job.output, bids))


def _clashes(jobs: Sequence[Job]) -> list[list[int]]:
    """Groups of jobs, by their indices, that would write to the same place."""
    writers: dict[str, list[int]] = {}
    for index, job in enumerate(jobs):
        for target in job.targets:
            writers.setdefault(os.path.realpath(target), []).append(index)
    return [list(group) for group in {tuple(w): None for w in writers.values() if len(w) > 1}]


def _refuse_to_replace_inputs(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(file): file for job in jobs for file in (job.input, *job.files)}
    # What fails writes nothing.
    for target in (target for job in jobs if not job.fault for target in job.targets):
        if (real := os.path.realpath(target)) in inputs:
            raise UserError(
                f"{target}: this output would replace the input {inputs[real]}; choose "
                "another output folder with -o"
            )
