"""What is done for each kind of job: one function and one line of the table a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.memory import MemoryPlan
from medstyle_gan.inference.archive.naming import NO_SECRET, Pseudonyms
from medstyle_gan.inference.outputs.committing import Write
from medstyle_gan.inference.outputs.job import Job, JobKind
from medstyle_gan.inference.outputs.record import hash_of_model, hash_of_settings
from medstyle_gan.inference.outputs.sidecar import NOTE, PNG_TEXT
from medstyle_gan.inference.picture_stack import (
    refuse_other_files,
    volume_slices,
    write_picture_stack,
)
from medstyle_gan.inference.synthetic_mark import mark_synthetic
from medstyle_gan.inference.translation import Translation
from medstyle_gan.inference.translator import OnProgress, Translator
from medstyle_gan.volumes import (
    Profile,
    UidMap,
    Volume,
    is_derived_series,
    write_derived_series,
    write_picture,
    write_volume,
)


@dataclass(frozen=True)
class Patients:
    """What DICOM translations say of the patient.

    Attributes:
        profile: what is kept, see `volumes.dicom_profile`.
        uids: gives the new UIDs of `basic`, the same for all files of a run.
        names: gives the new names of `basic`.
        files: whether `basic` gives new names to other files than DICOM too.
    """

    profile: Profile = "basic"
    uids: UidMap = field(default_factory=UidMap)
    names: UidMap = NO_SECRET
    files: bool = False

    @property
    def pseudonyms(self) -> Pseudonyms | None:
        """What names the outputs; None where names are kept."""
        return Pseudonyms(self.names, self.files) if self.profile == "basic" else None


@dataclass(frozen=True)
class Setting:
    """What all jobs of a call have in common, and how this one tells its progress.

    Attributes:
        translator: the model.
        direction: which way.
        memory: how much of it there is; None where nobody asks.
        on_progress: takes the share of the job that is done.
        patients: what DICOM translations say of the patient.
        mark: whether pictures carry a visible mark.
    """

    translator: Translator
    direction: Direction
    memory: MemoryPlan | None
    on_progress: OnProgress | None
    patients: Patients
    mark: bool

    def translate(self, job: Job) -> Translation[Volume]:
        """The job's volume, translated within the bounds of memory."""
        translator, workspace = self.translator, None
        if self.memory is not None:
            translator, workspace = self.memory.fitting(job)
        image, uncertain = job.image(workspace), job.uncertainty is not None
        return translator.translate(image, self.direction, self.on_progress, workspace, uncertain)


@dataclass(frozen=True)
class Made:
    """A translation that is ready to be written.

    Attributes:
        translation: what the sidecar tells of.
        dtype: type of the voxels as they are written.
        write: writes the output to a path whose name is the output's; the folder is new.
        write_uncertainty: does so for the uncertainty; None where there is none.
    """

    translation: Translation[Any]
    dtype: str
    write: Write
    write_uncertainty: Write | None = None


@dataclass(frozen=True)
class Kind:
    """How one kind of job is done.

    Attributes:
        make: translates the input.
        refuse_foreign: raises a `UserError` where what stands at the output's name is
            something that not even `overwrite` may replace.
    """

    make: Callable[[Setting, Job], Made]
    refuse_foreign: Callable[[Path], None] = lambda output: None


def _make_volume(setting: Setting, job: Job) -> Made:
    translation = setting.translate(job)

    def writer(volume: Volume) -> Write:
        return lambda path: write_volume(path, volume.array, volume.geometry, volume.dtype)

    volume, spread = translation.image, translation.uncertainty
    return Made(
        translation, str(volume.dtype), writer(volume), None if spread is None else writer(spread)
    )


def _make_series(setting: Setting, job: Job) -> Made:
    source, translator, patients = job.series, setting.translator, setting.patients
    assert source is not None
    if translator.channels[DOMAINS[setting.direction][1]] == 3:
        raise UserError(
            f"{job.input}: a colour translation is no derived series; set "
            "inference.picture_output=png, or name one output file such as -o out.nii.gz"
        )
    translation = setting.translate(job)
    steps = "" if translator.steps is None else f", {translator.steps} steps"
    model = hash_of_model(translator)

    def writer(volume: Volume, uncertainty: bool) -> Write:
        note = "Standard deviation of several translations, no image. " if uncertainty else ""
        made_by = hash_of_settings(translator, setting.direction, uncertainty)

        def write(path: Path) -> None:
            write_derived_series(
                path,
                volume,
                source,
                patients.profile,
                description=f"medstyle_gan {setting.direction}{' uncertainty' * uncertainty}",
                derivation=f"{note}{NOTE} {translator.config.method.name}{steps}, "
                f"model {model[:16]}",
                identity=f"{model} {made_by}",
                uids=patients.uids if patients.profile == "basic" else None,
            )

        return write

    spread = translation.uncertainty
    return Made(
        translation,
        "int16",
        writer(translation.image, False),
        None if spread is None else writer(spread, True),
    )


def _make_picture_stack(setting: Setting, job: Job) -> Made:
    translation = setting.translate(job)

    def write(path: Path) -> None:
        plane = setting.translator.config.data.plane
        pictures = volume_slices(translation.image, translation.output_scale, plane)
        if setting.mark:
            pictures = _marked(pictures)
        write_picture_stack(path, pictures, {PNG_TEXT: NOTE})

    return Made(translation, "uint8", write)


def _make_picture(setting: Setting, job: Job) -> Made:
    translation = setting.translator.translate_picture(job.input, setting.direction)
    picture = translation.image
    if setting.mark:
        (picture,) = _marked([picture[..., 0] if picture.shape[2] == 1 else picture])
    return Made(translation, "uint8", lambda path: write_picture(path, picture, {PNG_TEXT: NOTE}))


def _marked(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """With the visible mark, in the corner that is the quietest in all of them."""
    brightest = np.max(pictures, axis=0)
    return mark_synthetic(pictures, brightest if brightest.ndim == 2 else brightest.max(axis=-1))


def _refuse_other_series(output: Path) -> None:
    if output.exists() and not is_derived_series(output):
        raise UserError(
            f"{output}: holds other files than a derived series; remove it or choose another "
            "output folder"
        )


KINDS: dict[JobKind, Kind] = {
    "volume": Kind(_make_volume),
    "series": Kind(_make_series, _refuse_other_series),
    "picture_stack": Kind(_make_picture_stack, refuse_other_files),
    "picture": Kind(_make_picture),
}
