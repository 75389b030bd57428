"""What `stylize` is given, as tensors the right way up: content, styles and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.preprocessing import Prepared, prepare_volume, to_slices
from medstyle_gan.errors import UserError
from medstyle_gan.inference.images import as_volume
from medstyle_gan.volumes import (
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    DicomSeries,
    Picture,
    Volume,
    find_series,
    is_dicom,
    is_picture,
    is_volume,
    read_picture,
    read_series,
    read_volume,
)
from medstyle_gan.volumes.dicom_reading import only_series

Image = Volume | Picture | str | Path | nib.spatialimages.SpatialImage


@dataclass(frozen=True)
class LoadedStyle:
    """A style as it was given.

    Attributes:
        images: `(1, C, h, w)` in [-1, 1], the right way up: a picture, or slices of a volume.
        masks: where the body is in each of them, `(1, 1, h, w)`; None for a picture.
    """

    images: list[Tensor]
    masks: list[Tensor] | None


def as_image(image: Image, what: str) -> Volume | Picture:
    """Read a picture or a volume by what its file is called.

    Args:
        image: what was given.
        what: the argument, for messages.

    Raises:
        UserError: it is neither, or cannot be used.
    """
    if isinstance(image, Picture | Volume):
        return image
    if isinstance(image, str | Path):
        if not Path(image).exists():
            raise UserError(f"{what} {image}: there is no such file; check the path")
        series = dicom_series(image)
        if series is not None:
            return read_series(series)
        if is_picture(image):
            return read_picture(image)
        if is_volume(image):
            return read_volume(image)
        known = ", ".join((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES, "DICOM"))
        raise UserError(f"{what} {image}: is no picture or volume that can be read ({known})")
    return as_volume(image)


def dicom_series(path: str | Path) -> DicomSeries | None:
    """The DICOM series that a path stands for, or None where it is no DICOM.

    Args:
        path: a folder, which is to hold one series, or a file: one slice, or all of them in an
            enhanced multi-frame object. A file is taken alone, whatever lies beside it.

    Raises:
        UserError: the folder holds no or several series, or pydicom is not installed.
    """
    path = Path(path)
    if path.is_dir():
        return only_series(path)
    if not path.is_file() or is_volume(path) or is_picture(path) or not is_dicom(path):
        return None
    found = find_series(path)
    if not found:
        raise UserError(f"{path}: is a DICOM object, but no scan; give a scan's series")
    return found[0]


def own_grid(data: DataConfig) -> DataConfig:
    """The same settings without resampling: what is stylised stays on its own grid."""
    return data.model_copy(update={"spacing": (None, None, None)})


def picture_tensor(picture: Picture) -> Tensor:
    """`(1, C, H, W)` in [-1, 1]."""
    values = np.moveaxis(picture.array.astype(np.float32), -1, 0)[None]
    return torch.from_numpy(values / np.float32(picture.maximum / 2) - 1)


def upright(slices: np.ndarray) -> Tensor:
    """Slices `(N, C, H, W)` of a volume as they are looked at, `(N, C, rows, columns)`."""
    return torch.from_numpy(np.ascontiguousarray(np.rot90(slices, axes=(2, 3)).astype(np.float32)))


def as_slices(pictures: Tensor) -> np.ndarray:
    """The inverse of `upright`."""
    return np.rot90(pictures.numpy(), k=-1, axes=(2, 3))


def load_style(image: Image, config: Config) -> LoadedStyle:
    """Read a style: a picture, or slices of a volume, evenly over its body.

    Raises:
        UserError: it cannot be used.
    """
    loaded = as_image(image, "style")
    if isinstance(loaded, Picture):
        return LoadedStyle([picture_tensor(loaded)], None)
    prepared = prepare_volume(loaded, own_grid(config.data), "style")
    images = upright(to_slices(prepared.array, config.data.plane))
    body = upright(to_slices(prepared.foreground[None], config.data.plane))
    inside = np.flatnonzero(body.flatten(1).any(dim=1).numpy())
    count = min(config.stylize.style_slices, len(inside))
    # The middle of each of `count` equal parts, so that a single one is the body's middle.
    chosen = inside[((np.arange(count) + 0.5) * len(inside) / count).astype(int)]
    masks = [body[i : i + 1] for i in chosen] if config.stylize.background == "keep" else None
    return LoadedStyle([images[i : i + 1] for i in chosen], masks)


def picture_masks(masks: Sequence[Image], picture: Picture) -> list[np.ndarray]:
    """Bool `(H, W)` masks of a picture: brighter than half.

    Raises:
        UserError: a mask is no picture, has another size, or is empty.
    """
    size = picture.array.shape[:2]
    found = []
    for given in masks:
        name = _named(given)
        named_volume = isinstance(given, str | Path) and is_volume(given)
        mask = None if named_volume else as_image(given, "mask")
        if not isinstance(mask, Picture):
            raise UserError(f"{name}: is a volume, and the content is a picture; give a PNG")
        if mask.array.shape[:2] != size:
            raise UserError(
                f"{name}: has {_by(mask.array.shape[:2])} pixels and the content {_by(size)}; "
                "give a mask of the content's own size"
            )
        inside = mask.array.mean(axis=-1) > mask.maximum / 2
        found.append(_not_empty(inside, name, "brighter than half"))
    return found


def volume_masks(masks: Sequence[Image], volume: Volume) -> list[np.ndarray]:
    """Bool `(X, Y, Z)` masks of a volume, axes along R, A, S: what is not 0.

    Raises:
        UserError: a mask is a picture, lies on another grid, or is empty.
    """
    found = []
    for given in masks:
        name = _named(given)
        if isinstance(given, Picture) or (isinstance(given, str | Path) and is_picture(given)):
            raise UserError(f"{name}: is a picture, and the content is a volume; give a NIfTI mask")
        mask = read_volume(given, True) if isinstance(given, str | Path) else as_volume(given)
        if not mask.geometry.same_grid(volume.geometry):
            raise UserError(
                f"{name}: lies on another grid ({_by(mask.geometry.spatial_shape)} voxels) than "
                f"the content ({_by(volume.geometry.spatial_shape)}), or elsewhere; resample it to "
                "the content's grid"
            )
        turned = apply_orientation(mask.array != 0, io_orientation(volume.geometry.affine))
        found.append(_not_empty(turned, name, "not 0"))
    return found


def refuse_same(content: Tensor, styles: Sequence[LoadedStyle]) -> None:
    """Refuse a single style that is the content itself.

    Raises:
        UserError: it is.
    """
    if len(styles) == 1 and any(torch.equal(content, image) for image in styles[0].images):
        raise UserError(
            "the style is the same picture as the content, so there is nothing to transfer; give "
            "another --style"
        )


def prepare_content(volume: Volume, config: Config) -> Prepared:
    """The volume in [-1, 1] on its own grid, axes along R, A, S."""
    return prepare_volume(volume, own_grid(config.data), "scan")


def _not_empty(mask: np.ndarray, name: str, what: str) -> np.ndarray:
    if not mask.any():
        raise UserError(f"{name}: the mask is empty, nothing in it is {what}; check the file")
    return mask


def _named(image: Image) -> str:
    return f"mask {image}" if isinstance(image, str | Path) else "mask"


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
