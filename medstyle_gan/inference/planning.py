"""Which file is translated to which, decided and checked before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bids import derivative_name
from medstyle_gan.inference.translator import Translator
from medstyle_gan.volumes import PICTURE_SUFFIXES, VOLUME_SUFFIXES, is_picture, is_volume

JobKind = Literal["volume", "picture_stack", "picture"]


@dataclass(frozen=True)
class Job:
    """One file to translate, or one folder that holds one volume.

    Attributes:
        input: the file or folder.
        output: a volume's file, a folder of PNGs, or a PNG.
        sidecar: the JSON beside the output.
        kind: volume → volume, volume → stack of PNGs, or picture → picture; what is done is in
            `kinds.KINDS`.
        relative: the input's name below the folder that was given.
        files: all files of the input, where it is not one file.
    """

    input: Path
    output: Path
    sidecar: Path
    kind: JobKind
    relative: Path = field(default=Path())
    files: tuple[Path, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that the input consists of."""
        return self.files or (self.input,)


def plan_translation(
    translator: Translator,
    inputs: Sequence[str | Path],
    out: str | Path,
    direction: Direction = "scan_to_style",
    bids: str | None = None,
) -> list[Job]:
    """Find the files to translate and where each translation goes.

    A file named in `inputs` goes to OUT/<its name>, a file in a folder to OUT/<its path in
    the folder>. Folders are searched recursively, without hidden files and without OUT. OUT
    may itself be a file name where there is one input file.

    Args:
        translator: its model says whether volumes or pictures are translated.
        inputs: files and folders.
        out: folder of the translations.
        direction: which way.
        bids: name translations as BIDS derivatives with this suffix, such as `T2w`; see
            `bids.derivative_name`.

    Returns:
        the jobs, in order of their outputs' names, which is the same in every process.

    Raises:
        UserError: for an input that does not exist, nothing to translate, two inputs with the
            same output, an output that is an input, and names that are not BIDS where asked.
    """
    out = Path(out)
    kind = _job_kind(translator, direction)
    files = list(_distinct(_find_files([Path(i) for i in inputs], out, kind)))
    if not files:
        wanted = PICTURE_SUFFIXES if kind == "picture" else VOLUME_SUFFIXES
        raise UserError(
            f"{', '.join(str(i) for i in inputs)}: nothing to translate {direction}; this model "
            f"takes {', '.join(wanted)} in this direction"
        )
    if names_a_file(out):
        if len(files) > 1 or not Path(inputs[0]).is_file():
            raise UserError(
                f"{out}: is a file's name, but {len(files)} files from "
                f"{', '.join(str(i) for i in inputs)} need a folder; give a folder with -o"
            )
        if bids is not None:
            raise UserError(f"{out}: --bids names the files itself; give a folder with -o")
        jobs = [_job(*files[0], out.parent / out.name, kind)]
    else:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file, not a folder; give a folder with -o")
        named = files if bids is None else [(f, derivative_name(f, bids)) for f, _ in files]
        jobs = [
            _job(file, relative, out / name, kind)
            for (file, relative), (_, name) in zip(files, named, strict=True)
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


def _find_files(inputs: Iterable[Path], out: Path, kind: JobKind) -> Iterator[tuple[Path, Path]]:
    """Each file with its path below the output folder."""
    usable = is_picture if kind == "picture" else is_volume
    for path in inputs:
        if path.is_dir():
            for file in _walk(path, out):
                if usable(file):
                    yield file, file.relative_to(path)
        elif path.is_symlink() and not path.exists():
            raise UserError(
                f"{path}: is a symbolic link that leads nowhere or back to itself; mend it"
            )
        elif path.exists():
            # A file that is named is never left out: an unusable one fails with its reason.
            yield path, Path(path.name)
        else:
            raise UserError(f"{path}: no such file or folder; check the path")


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    skipped = os.path.realpath(out)
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        # Earlier translations are no inputs; a link back up would never end.
        if real in seen or (real == skipped and Path(parent) != folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)


def _refuse(error: OSError) -> None:
    raise UserError(
        f"{error.filename}: the folder cannot be read ({error.strerror}); change its permissions "
        "or leave it out"
    ) from error


def _distinct(files: Iterable[tuple[Path, Path]]) -> Iterator[tuple[Path, Path]]:
    seen: set[str] = set()
    for file, relative in files:
        real = os.path.realpath(file)
        if real not in seen:
            seen.add(real)
            yield file, relative


def names_a_file(out: Path) -> bool:
    """Whether OUT is one output's name rather than a folder for many."""
    return not out.is_dir() and (is_volume(out) or is_picture(out))


def _job(file: Path, relative: Path, target: Path, kind: JobKind) -> Job:
    stem = _stem(target)
    if kind == "picture_stack":
        output = target.with_name(stem)
    elif kind == "picture":
        output = target.with_name(f"{stem}.png")
    else:
        output = target
    return Job(file, output, target.with_name(f"{stem}.json"), kind, relative)


def _stem(path: Path) -> str:
    for suffix in sorted((*VOLUME_SUFFIXES, *PICTURE_SUFFIXES), key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(job.input): job.input for job in jobs}
    written: dict[str, Job] = {}
    for job in jobs:
        for target in (job.output, job.sidecar):
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
                    "them in two calls, or give the folder above both"
                )
