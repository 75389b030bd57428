"""An output and its sidecar, put in place together: both stand afterwards, or what stood before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError
from medstyle_gan.inference.outputs.hashing import hash_output
from medstyle_gan.inference.outputs.job import Job
from medstyle_gan.inference.outputs.sidecar import read_sidecar, refuse_other_json, write_sidecar
from medstyle_gan.inference.outputs.uncertainty_files import UNCERTAINTY_HASH, earlier_uncertainty
from medstyle_gan.volumes import atomic_file, scratch_folder

Write = Callable[[Path], None]


def commit(
    job: Job, facts: dict[str, Any], write: Write, write_uncertainty: Write | None = None
) -> str:
    """Write an output and its sidecar, and the uncertainty where there is one.

    The output is complete under a hidden name before the sidecar takes its place, and takes
    its own name after it: a synthetic volume never stands without the mark that it is one, and
    a process killed at any moment leaves no half of one. The uncertainty takes its place in
    between. That of an earlier translation goes with it, unless somebody has changed it.

    Args:
        job: says where.
        facts: of the sidecar, to which the hashes of what is written are added.
        write: writes the output to the path it is given.
        write_uncertainty: does so for the uncertainty.

    Returns:
        the output's sha256.

    Raises:
        UserError: as `write` does, naming the output.
    """
    refuse_other_json(job.sidecar)
    with scratch_folder(job.output.parent) as scratch:
        digest = _make(write, job.output, scratch)
        hashes = {"output_sha256": digest}
        if write_uncertainty is not None:
            assert job.uncertainty is not None
            hashes[UNCERTAINTY_HASH] = _make(write_uncertainty, job.uncertainty, scratch)
        earlier = earlier_uncertainty(job.output, read_sidecar(job.sidecar))
        before = job.sidecar.read_bytes() if job.sidecar.exists() else None
        write_sidecar(job.sidecar, facts | hashes)
        try:
            with _uncertainty_in_place(job.uncertainty, earlier, scratch):
                take_place(scratch / job.output.name, job.output, scratch)
        except BaseException:
            if before is None:
                job.sidecar.unlink(missing_ok=True)
            else:
                with atomic_file(job.sidecar) as file:
                    file.write(before)
            raise
    return digest


def _make(write: Write, target: Path, scratch: Path) -> str:
    part = scratch / target.name
    try:
        write(part)
        return hash_output(part)
    except UserError as error:  # the user knows the output's own name
        said = str(error).replace(str(part), str(target))
        raise UserError(said.replace(str(scratch), str(target.parent))) from error


@contextmanager
def _uncertainty_in_place(new: Path | None, earlier: Path | None, scratch: Path) -> Iterator[None]:
    """The new uncertainty instead of what stood there; undone where the output fails."""
    aside: list[tuple[Path, Path]] = []
    placed: Path | None = None
    try:
        for number, old in enumerate({path for path in (new, earlier) if path is not None}):
            if old.exists():
                kept = scratch / f"before-{number}"
                _rename(old, kept)
                aside.append((kept, old))
        if new is not None:
            _rename(scratch / new.name, new)
            placed = new
        yield
    except BaseException:
        if placed is not None:
            placed.rename(scratch / "undone")
        for kept, old in aside:
            kept.rename(old)
        raise


def _rename(part: Path, target: Path) -> None:
    try:
        part.rename(target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be put in place ({error.strerror}); choose another output folder"
        ) from error


def take_place(part: Path, output: Path, scratch: Path) -> None:
    """Give a complete output its name, in place of what stands there.

    Args:
        part: the output, a file or a folder.
        output: its name; what was there stays where this fails.
        scratch: a folder on the same disk that goes afterwards.

    Raises:
        UserError: the name cannot be taken.
    """
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
