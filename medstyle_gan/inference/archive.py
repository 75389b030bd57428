"""Many files: each translated, written whole or not at all, and reported; the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.picture_stack import volume_slices, write_picture_stack
from medstyle_gan.inference.planning import Job, plan_translation
from medstyle_gan.inference.sidecar import describe_translation, write_sidecar
from medstyle_gan.inference.translator import OnProgress, Translator
from medstyle_gan.volumes import (
    Volume,
    atomic_file,
    ensure_writable_folder,
    write_picture,
    write_volume,
)


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        input: the file.
        output: what stands there now; None where it failed.
        status: translated, left as it was because the output exists, or failed.
        reason: why it failed or was skipped; empty when done.
        seconds: time it took.
        bad_input: whether it failed for something that the user can mend.
    """

    input: Path
    output: Path | None
    status: Literal["done", "skipped", "failed"]
    reason: str
    seconds: float
    bad_input: bool = False


def translate_files(
    translator: Translator,
    inputs: Sequence[str | Path],
    out: str | Path,
    direction: Direction = "scan_to_style",
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Translate files and folders into a folder; see `plan_translation` for the names.

    What can be refused beforehand is refused by this call, before the first outcome.

    Args:
        translator: the model.
        inputs: files and folders.
        out: folder of the translations, made where missing.
        direction: which way.
        overwrite: translate again what exists in `out`.

    Returns:
        one outcome a file, as each is finished.

    Raises:
        UserError: as `plan_translation` does, and when `out` cannot be written to.
    """
    jobs = plan_translation(translator, inputs, out, direction)
    return run_translation(translator, jobs, direction, overwrite)


def run_translation(
    translator: Translator,
    jobs: Sequence[Job],
    direction: Direction = "scan_to_style",
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Iterator[Outcome]:
    """Do what `plan_translation` planned; the arguments are those of `translate_files`.

    Args:
        on_progress: called with the share of the current file that is done.

    Raises:
        UserError: when an output folder cannot be written to, before the first outcome.
    """
    for folder in {job.output.parent for job in jobs}:
        ensure_writable_folder(folder)
    return (_outcome(translator, job, direction, overwrite, on_progress) for job in jobs)


def _outcome(
    translator: Translator,
    job: Job,
    direction: Direction,
    overwrite: bool,
    on_progress: OnProgress | None,
) -> Outcome:
    start = time.perf_counter()
    if job.output.exists() and not overwrite:
        return Outcome(job.input, job.output, "skipped", "the output exists", 0.0)
    bad_input, reason = False, ""
    try:
        _translate(translator, job, direction, on_progress)
    except UserError as error:
        bad_input, reason = True, str(error)
        if job.input.name not in reason:  # the model's fault is noticed far from the file
            reason = f"{job.input}: {reason}"
    except Exception as error:  # a bug or too little memory must not stop a night's work
        reason = f"{job.input}: unexpected {type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    if reason:
        return Outcome(job.input, None, "failed", reason, seconds, bad_input)
    return Outcome(job.input, job.output, "done", "", seconds)


def _translate(
    translator: Translator, job: Job, direction: Direction, on_progress: OnProgress | None
) -> None:
    if job.kind == "picture":
        drawn = translator.translate_picture(job.input, direction)
        facts = describe_translation(translator, drawn, "uint8")
        _commit(job, facts, lambda: write_picture(job.output, drawn.image))
        return
    translation = translator.translate(job.input, direction, on_progress)
    volume = translation.image
    if job.kind == "picture_stack":
        plane = translator.config.data.plane
        pictures = volume_slices(volume, translation.output_scale, plane)
        facts = describe_translation(translator, translation, "uint8")
        _commit(job, facts, lambda: write_picture_stack(job.output, pictures))
    else:
        facts = describe_translation(translator, translation, str(volume.dtype))
        _commit(job, facts, lambda: _write(job.output, volume))


def _write(path: Path, volume: Volume) -> None:
    write_volume(path, volume.array, volume.geometry, volume.dtype)


def _commit(job: Job, facts: dict[str, object], write_output: Callable[[], None]) -> None:
    """Write sidecar and output; both stand afterwards, or what stood before.

    The sidecar first: a synthetic volume never stands without the mark that it is one.
    """
    before = job.sidecar.read_bytes() if job.sidecar.exists() else None
    write_sidecar(job.sidecar, facts)
    try:
        write_output()
    except BaseException:
        if before is None:
            job.sidecar.unlink(missing_ok=True)
        else:
            with atomic_file(job.sidecar) as file:
                file.write(before)
        raise
