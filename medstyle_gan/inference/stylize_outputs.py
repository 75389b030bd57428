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

from medstyle_gan.errors import UserError
from medstyle_gan.inference.outputs.committing import take_place
from medstyle_gan.inference.outputs.sidecar import NOTE, write_sidecar
from medstyle_gan.inference.picture_stack import (
    refuse_other_files,
    volume_slices,
    write_picture_stack,
)
from medstyle_gan.inference.stylizing import Row, Stylized
from medstyle_gan.inference.synthetic_mark import mark_synthetic
from medstyle_gan.volumes import (
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    Volume,
    atomic_file,
    ensure_writable_folder,
    is_picture,
    is_volume,
    scratch_folder,
    write_animation,
    write_picture,
    write_volume,
)

_ANIMATION = ".gif"
_PNG_TEXT = "Synthetic"
_NO_LOSS = ("slice", "scale", "iteration")


@dataclass(frozen=True)
class Outputs:
    """The files of a stylised image.

    Attributes:
        image: a PNG, NIfTI or GIF, or the folder of a stack of PNGs.
        sidecar: JSON.
        curve: CSV of the loss, of a method that iterates.
        chart: PNG of the loss.
    """

    image: Path
    sidecar: Path
    curve: Path
    chart: Path

    def all(self) -> tuple[Path, ...]:
        """The image first."""
        return self.image, self.sidecar, self.curve, self.chart


def plan_outputs(
    content: str | Path,
    out: str | Path,
    picture_output: Literal["nifti", "png"] = "nifti",
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
) -> Outputs:
    """Decide and check the files before any work is done.

    OUT ending in .png (pictures), .nii, .nii.gz or .gif (volumes) is the file; any other OUT is a
    folder, where the result has the content's name.

    Args:
        content: the content's file.
        out: what was asked for.
        picture_output: what a volume becomes in a folder.
        overwrite: whether files that exist may be replaced.
        inputs: files that must stay.

    Raises:
        UserError: the content cannot become such a file, something is there already, or the
            folder cannot be written to.
    """
    content, out = Path(content), Path(out)
    volume = is_volume(content)
    if is_volume(out) or out.suffix.lower() == _ANIMATION or is_picture(out):
        _refuse_kind(content, out, volume)
        image = out
    elif out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, not a folder, and no .png, .nii or .gif; change -o")
    else:
        stem = out / _stem(content)
        ending = ("" if picture_output == "png" else ".nii.gz") if volume else ".png"
        image = stem.with_name(stem.name + ending)
    beside = image.with_name(_stem(image))
    outputs = Outputs(
        image,
        beside.with_name(f"{beside.name}.json"),
        beside.with_name(f"{beside.name}_loss.csv"),
        beside.with_name(f"{beside.name}_loss.png"),
    )
    kept = {os.path.realpath(path) for path in (content, *inputs)}
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
        mark: draw a visible mark in pictures (voxels of volumes stay as they are). Each PNG and
            GIF says in its metadata that it is synthetic, and each image has a sidecar, anyway.

    Raises:
        UserError: the files cannot be written.
    """
    path, image = outputs.image, result.image
    if isinstance(image, Volume) and is_volume(path):
        write_volume(path, image.array, image.geometry, image.dtype)
    else:
        if isinstance(image, Volume):
            assert result.scale is not None
            pictures = volume_slices(image, result.scale, result.plane)
        else:
            pictures = [image]
        if mark:
            pictures = mark_synthetic(pictures, result.anatomy)
        if path.suffix.lower() == _ANIMATION:
            write_animation(path, pictures, comment=NOTE)
        elif isinstance(image, Volume):
            _replace_stack(path, pictures)
        else:
            write_picture(path, pictures[0], {_PNG_TEXT: NOTE})
    write_sidecar(outputs.sidecar, {**result.facts, "marked": mark and not is_volume(path)})
    if result.curve:
        with atomic_file(outputs.curve) as file:
            file.write(_table(result.curve).encode())
        with atomic_file(outputs.chart) as file:
            file.write(_chart(result.curve))


def _replace_stack(path: Path, pictures: list[np.ndarray]) -> None:
    refuse_other_files(path)
    with scratch_folder(path.parent) as folder:
        write_picture_stack(folder / path.name, pictures, {_PNG_TEXT: NOTE})
        take_place(folder / path.name, path, folder)


def _refuse_kind(content: Path, out: Path, volume: bool) -> None:
    if volume and is_picture(out):
        raise UserError(
            f"{out}: the content is a volume, which does not fit into one picture; give a .nii.gz, "
            "a .gif, or a folder with inference.picture_output=png for a PNG a slice"
        )
    if not volume and not out.name.lower().endswith(".png"):
        raise UserError(f"{out}: a stylised picture is written as .png; change the file's ending")


def _stem(path: Path) -> str:
    endings = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, _ANIMATION)
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name


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
