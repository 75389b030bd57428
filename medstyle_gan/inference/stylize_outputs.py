"""Where a stylised image goes, with what stands beside it: sidecar, loss curve, visible mark."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from nibabel.affines import voxel_sizes

from medstyle_gan.config import Config
from medstyle_gan.data.resampling import ras_grid
from medstyle_gan.data.slices import slice_aspect
from medstyle_gan.errors import UserError
from medstyle_gan.inference.enlarging import enlarged
from medstyle_gan.inference.outputs.committing import take_place
from medstyle_gan.inference.outputs.sidecar import NOTE, PNG_TEXT, refuse_other_json, write_sidecar
from medstyle_gan.inference.picture_stack import (
    refuse_other_files,
    volume_slices,
    write_picture_stack,
)
from medstyle_gan.inference.stylize_inputs import dicom_series
from medstyle_gan.inference.stylizing import Row, Stylized
from medstyle_gan.inference.synthetic_mark import mark_synthetic
from medstyle_gan.volumes import (
    VIDEO_SUFFIX,
    DicomSeries,
    Volume,
    atomic_file,
    ensure_writable_folder,
    is_derived_series,
    is_picture,
    is_volume,
    require_av,
    scratch_folder,
    stem_of,
    write_animation,
    write_derived_series,
    write_picture,
    write_video,
    write_volume,
)

_ANIMATION = ".gif"
_MOVING = (_ANIMATION, VIDEO_SUFFIX)
_FRAMES_A_SECOND = 10
_LEAST_SIDE = 384  # of a video's frames (pixels)
_NO_LOSS = ("slice", "scale", "iteration")


@dataclass(frozen=True)
class Outputs:
    """The files of a stylised image.

    Attributes:
        image: a PNG, NIfTI, GIF or MP4, or the folder of a stack of PNGs or a DICOM series.
        sidecar: JSON.
        curve: CSV of the loss, of a method that iterates.
        chart: PNG of the loss.
        derived_from: the scan's series, where a DICOM series is to be derived from it.
    """

    image: Path
    sidecar: Path
    curve: Path
    chart: Path
    derived_from: DicomSeries | None = None

    def all(self) -> tuple[Path, ...]:
        """The image first."""
        return self.image, self.sidecar, self.curve, self.chart


def plan_outputs(
    content: str | Path,
    out: str | Path,
    picture_output: Literal["nifti", "png"] = "nifti",
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
    dicom_output: Literal["nifti", "dicom"] = "nifti",
) -> Outputs:
    """Decide and check the files before any work is done.

    OUT ending in .png (pictures), .nii, .nii.gz, .gif or .mp4 (volumes) is the file; any other OUT
    is a folder, where the result has the content's name, or its number of a DICOM series, which
    tells nothing of a patient.

    Args:
        content: the content's file, or the folder of a DICOM series.
        out: what was asked for.
        picture_output: what a volume becomes in a folder.
        overwrite: whether files that exist may be replaced.
        inputs: files that must stay.
        dicom_output: what a DICOM series becomes in a folder, where `picture_output` is NIfTI.

    Raises:
        UserError: the content cannot become such a file, something is there already, or the
            folder cannot be written to.
    """
    content, out = Path(content), Path(out)
    series = dicom_series(content)
    volume = series is not None or is_volume(content)
    derived = False
    moving = out.suffix.lower() in _MOVING
    if not out.is_dir() and (is_volume(out) or moving or is_picture(out)):
        _refuse_kind(out, volume)
        image = out
    elif out.exists() and not out.is_dir():
        raise UserError(
            f"{out}: is a file, not a folder, and no .png, .nii, .gif or .mp4; change -o"
        )
    else:
        stem = out / (
            stem_of(content, *_MOVING) if series is None else f"series-{series.number or 0:04d}"
        )
        derived = series is not None and (picture_output, dicom_output) == ("nifti", "dicom")
        ending = ("" if picture_output == "png" or derived else ".nii.gz") if volume else ".png"
        image = stem.with_name(stem.name + ending)
    beside = image.with_name(stem_of(image, *_MOVING))
    outputs = Outputs(
        image,
        beside.with_name(f"{beside.name}.json"),
        beside.with_name(f"{beside.name}_loss.csv"),
        beside.with_name(f"{beside.name}_loss.png"),
        series if derived else None,
    )
    own = () if series is None else series.files
    kept = {os.path.realpath(path) for path in (content, *own, *inputs)}
    for path in outputs.all():
        if os.path.realpath(path) in kept:
            raise UserError(f"{path}: this output would replace an input; choose another with -o")
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already; choose another -o, or --overwrite it")
    ensure_writable_folder(image.parent)
    return outputs


def save_stylized(result: Stylized, outputs: Outputs, mark: bool = True) -> None:
    """Write the image and what stands beside it.

    Args:
        result: what `stylize` gave.
        outputs: see `plan_outputs`.
        mark: draw a visible mark in pictures (voxels of volumes stay as they are). Each PNG, GIF,
            MP4 and DICOM file says in its metadata that it is synthetic, and each image has a
            sidecar, anyway.

    Raises:
        UserError: the files cannot be written.
    """
    path, image = outputs.image, result.image
    voxels = is_volume(path) or outputs.derived_from is not None
    refuse_other_json(outputs.sidecar)
    before = outputs.sidecar.read_bytes() if outputs.sidecar.exists() else None
    # First: no synthetic voxel is ever there without what says so.
    write_sidecar(outputs.sidecar, {**result.facts, "marked": mark and not voxels})
    try:
        if isinstance(image, Volume) and voxels:
            _write_voxels(path, image, outputs.derived_from)
        else:
            _write_shown(path, result, mark)
    except BaseException:
        if before is None:
            outputs.sidecar.unlink(missing_ok=True)
        else:
            with atomic_file(outputs.sidecar) as file:
                file.write(before)
        raise
    if result.curve:
        with atomic_file(outputs.curve) as file:
            file.write(_table(result.curve).encode())
        with atomic_file(outputs.chart) as file:
            file.write(_chart(result.curve))


def _write_voxels(path: Path, volume: Volume, derived_from: DicomSeries | None) -> None:
    if derived_from is None:
        write_volume(path, volume.array, volume.geometry, volume.dtype)
        return
    if path.exists() and not is_derived_series(path):
        raise UserError(
            f"{path}: holds other files than a derived series; remove it or choose another output "
            "folder"
        )
    with scratch_folder(path.parent) as folder:
        part = folder / path.name
        write_derived_series(part, volume, derived_from, description="medstyle_gan stylised")
        take_place(part, path, folder)


def _write_shown(path: Path, result: Stylized, mark: bool) -> None:
    image = result.image
    if isinstance(image, Volume):
        assert result.scale is not None
        pictures = volume_slices(image, result.scale, result.plane)
    else:
        pictures = [image]
    video = path.suffix.lower() == VIDEO_SUFFIX
    anatomy = result.anatomy
    if isinstance(image, Volume) and video:
        aspect = _aspect(image, result.plane)
        pictures = [enlarged(picture, aspect, _LEAST_SIDE) for picture in pictures]
        anatomy = enlarged(anatomy, aspect, _LEAST_SIDE)
    if mark:
        pictures = mark_synthetic(pictures, anatomy)
    if path.suffix.lower() == _ANIMATION:
        write_animation(path, pictures, 1000 // _FRAMES_A_SECOND, comment=NOTE)
    elif video:
        write_video(path, pictures, _FRAMES_A_SECOND, NOTE)
    elif isinstance(image, Volume):
        _replace_stack(path, pictures)
    else:
        write_picture(path, pictures[0], {PNG_TEXT: NOTE})


def _aspect(volume: Volume, plane: str) -> float:
    """Height over width of a pixel of the volume's slices."""
    grid = ras_grid(volume.geometry.spatial_shape, np.asarray(volume.geometry.affine, np.float64))
    return slice_aspect([float(size) for size in voxel_sizes(grid.affine)], plane)


def grey_for_dicom(config: Config, outputs: Outputs) -> Config:
    """The settings with `stylize.colour` grey where a DICOM series is written.

    Raises:
        UserError: colour was asked for.
    """
    if outputs.derived_from is None:
        return config
    if config.stylize.colour == "rgb":
        raise UserError(
            "stylize.dicom_output=dicom: a derived series is grey; set stylize.colour=grey, or "
            "stylize.dicom_output=nifti"
        )
    return config.model_copy(
        update={"stylize": config.stylize.model_copy(update={"colour": "grey"})}
    )


def _replace_stack(path: Path, pictures: list[np.ndarray]) -> None:
    refuse_other_files(path)
    with scratch_folder(path.parent) as folder:
        write_picture_stack(folder / path.name, pictures, {PNG_TEXT: NOTE})
        take_place(folder / path.name, path, folder)


def _refuse_kind(out: Path, volume: bool) -> None:
    if volume and is_picture(out):
        raise UserError(
            f"{out}: the content is a volume, which does not fit into one picture; give a .nii.gz, "
            "a .gif, an .mp4, or a folder with inference.picture_output=png for a PNG a slice"
        )
    if volume and out.suffix.lower() == VIDEO_SUFFIX:
        require_av()
    if not volume and not out.name.lower().endswith(".png"):
        raise UserError(f"{out}: a stylised picture is written as .png; change the file's ending")


def _table(curve: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    names = list(dict.fromkeys(name for row in curve for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    return text.getvalue()


def _chart(curve: Sequence[Row]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    names = [n for n in dict.fromkeys(n for row in curve for n in row) if n not in _NO_LOSS]
    for name in names:
        values = [float(row.get(name, np.nan)) for row in curve]
        first = next((v for v in values if np.isfinite(v) and v > 0), 1.0)
        axis.plot(np.arange(1, len(values) + 1), np.array(values) / first, label=name)
    axis.set_yscale("log")
    axis.set_xlabel("iteration")
    axis.set_ylabel("loss / first value")
    axis.legend()
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=110)
    return encoded.getvalue()
