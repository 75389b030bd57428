"""What is done for each kind of job: one function and one line of the table a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.picture_stack import is_stack, volume_slices, write_picture_stack
from medstyle_gan.inference.planning import Job, JobKind
from medstyle_gan.inference.translation import Translation
from medstyle_gan.inference.translator import OnProgress, Translator
from medstyle_gan.volumes import write_picture, write_volume


@dataclass(frozen=True)
class Made:
    """A translation that is ready to be written.

    Attributes:
        translation: what the sidecar tells of.
        dtype: type of the voxels as they are written.
        write: writes the output to a path whose name is the output's; the folder is new.
    """

    translation: Translation[Any]
    dtype: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """How one kind of job is done.

    Attributes:
        make: translates the input.
        refuse_foreign: raises a `UserError` where what stands at the output's name is
            something that not even `overwrite` may replace.
    """

    make: Callable[[Translator, Job, Direction, OnProgress | None], Made]
    refuse_foreign: Callable[[Path], None] = lambda output: None


def _make_volume(
    translator: Translator, job: Job, direction: Direction, on_progress: OnProgress | None
) -> Made:
    translation = translator.translate(job.input, direction, on_progress)
    volume = translation.image

    def write(path: Path) -> None:
        write_volume(path, volume.array, volume.geometry, volume.dtype)

    return Made(translation, str(volume.dtype), write)


def _make_picture_stack(
    translator: Translator, job: Job, direction: Direction, on_progress: OnProgress | None
) -> Made:
    translation = translator.translate(job.input, direction, on_progress)

    def write(path: Path) -> None:
        plane = translator.config.data.plane
        pictures = volume_slices(translation.image, translation.output_scale, plane)
        write_picture_stack(path, pictures)

    return Made(translation, "uint8", write)


def _make_picture(
    translator: Translator, job: Job, direction: Direction, on_progress: OnProgress | None
) -> Made:
    translation = translator.translate_picture(job.input, direction)
    return Made(translation, "uint8", lambda path: write_picture(path, translation.image))


def _refuse_other_files(output: Path) -> None:
    if output.exists() and not is_stack(output):
        raise UserError(
            f"{output}: holds other files than the slices of a translation; remove it or "
            "choose another output folder"
        )


KINDS: dict[JobKind, Kind] = {
    "volume": Kind(_make_volume),
    "picture_stack": Kind(_make_picture_stack, _refuse_other_files),
    "picture": Kind(_make_picture),
}
