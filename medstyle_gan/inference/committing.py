"""An output and its sidecar, put in place together: both stand afterwards, or what stood before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError
from medstyle_gan.inference.hashing import hash_output
from medstyle_gan.inference.planning import Job
from medstyle_gan.inference.sidecar import refuse_other_json, write_sidecar
from medstyle_gan.volumes import atomic_file, scratch_folder


def commit(job: Job, facts: dict[str, Any], write: Callable[[Path], None]) -> str:
    """Write an output and its sidecar.

    The output is complete under a hidden name before the sidecar takes its place, and takes
    its own name after it: a synthetic volume never stands without the mark that it is one, and
    a process killed at any moment leaves no half of one.

    Args:
        job: says where.
        facts: of the sidecar, to which the output's hash is added.
        write: writes the output to the path it is given.

    Returns:
        the output's sha256.

    Raises:
        UserError: as `write` does, naming the output.
    """
    refuse_other_json(job.sidecar)
    with scratch_folder(job.output.parent) as scratch:
        part = scratch / job.output.name
        try:
            write(part)
            digest = hash_output(part)
        except UserError as error:  # the user knows the output's own name
            said = str(error).replace(str(part), str(job.output))
            raise UserError(said.replace(str(scratch), str(job.output.parent))) from error
        before = job.sidecar.read_bytes() if job.sidecar.exists() else None
        write_sidecar(job.sidecar, facts | {"output_sha256": digest})
        try:
            _take_place(part, job.output, scratch)
        except BaseException:
            if before is None:
                job.sidecar.unlink(missing_ok=True)
            else:
                with atomic_file(job.sidecar) as file:
                    file.write(before)
            raise
    return digest


def _take_place(part: Path, output: Path, scratch: Path) -> None:
    try:
        if output.is_dir() and part.is_dir():  # a folder takes no other's name
            output.rename(scratch / "before")
            try:
                part.rename(output)
            except BaseException:
                (scratch / "before").rename(output)
                raise
            shutil.rmtree(scratch / "before", ignore_errors=True)
        else:
            part.replace(output)
    except OSError as error:
        raise UserError(
            f"{output}: cannot be put in place ({error.strerror}); choose another output folder"
        ) from error
