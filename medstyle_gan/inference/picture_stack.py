"""A translated volume as a folder of PNGs, one a slice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.slices import display_image, to_slices
from medstyle_gan.errors import UserError
from medstyle_gan.inference.pictures import COLOUR_SCALE
from medstyle_gan.volumes import Volume, to_dtype, write_picture

_SLICE = re.compile(r"slice_\d{4,}\.png")


def volume_slices(volume: Volume, scale: FittedScale, plane: str) -> list[np.ndarray]:
    """The slices of a volume as pictures, one pixel a voxel, the right way up.

    Args:
        volume: `(X, Y, Z)` or `(X, Y, Z, 3)` in native units, any orientation.
        scale: its ends become black and white.
        plane: `axial`, `coronal` or `sagittal`.

    Returns:
        `(rows, columns)` or `(rows, columns, 3)` uint8, anterior or superior up, in order
        towards superior, anterior or right.
    """
    array = apply_orientation(volume.array, io_orientation(volume.geometry.affine))
    array = array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0)
    pixels = to_dtype(COLOUR_SCALE.from_unit(scale.to_unit(array)), np.dtype(np.uint8))
    return [display_image(image) for image in to_slices(pixels, plane)]


def write_picture_stack(
    folder: Path, pictures: list[np.ndarray], text: Mapping[str, str] | None = None
) -> None:
    """Write pictures as `slice_0000.png` and on into a new folder.

    Args:
        folder: where; made.
        pictures: `(rows, columns[, 3])` uint8.
        text: keyword → text of each PNG's text chunks.

    Raises:
        UserError: it cannot be written.
    """
    for index, picture in enumerate(pictures):
        write_picture(folder / f"slice_{index:04d}.png", picture, text)


def refuse_other_files(folder: Path) -> None:
    """Refuse to replace what is no such folder.

    Raises:
        UserError: something stands there that is no folder, or holds more than slices.
    """
    if folder.exists() and not _is_stack(folder):
        raise UserError(
            f"{folder}: holds other files than slices; remove it or choose another output folder"
        )


def _is_stack(folder: Path) -> bool:
    return folder.is_dir() and all(_SLICE.fullmatch(file.name) for file in folder.iterdir())
