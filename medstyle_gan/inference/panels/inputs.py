"""What a teaching panel is given, as slices the right way up: original, stylised, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from medstyle_gan.config import Config
from medstyle_gan.data.resampling import ras_grid, to_ras
from medstyle_gan.data.slices import display_image, slice_aspect, to_slices
from medstyle_gan.errors import UserError
from medstyle_gan.inference.outputs.sidecar import read_facts
from medstyle_gan.inference.picture_stack import volume_slices
from medstyle_gan.inference.pictures import COLOUR_SCALE
from medstyle_gan.inference.stylize_inputs import as_image, dicom_series, prepare_content
from medstyle_gan.volumes import (
    Picture,
    Volume,
    is_picture,
    read_picture,
    read_series,
    read_shown_volume,
    to_dtype,
)

Named = str | Path


@dataclass(frozen=True, eq=False)
class PanelImages:
    """The images of a panel; each list has an item a slice, and one item of a picture.

    Attributes:
        original: `(rows, columns)` or `(rows, columns, 3)` uint8.
        stylised: of each stylised image, likewise.
        labels: `(rows, columns)` whole numbers; None where there are none.
        numbers: the slices that are shown.
        aspect: height over width of a pixel.
        plane: of the slices; None of pictures.
        marked: of each stylised image whether the visible mark is in its pixels already.
    """

    original: list[np.ndarray]
    stylised: list[list[np.ndarray]]
    labels: list[np.ndarray] | None
    numbers: list[int]
    aspect: float
    plane: str | None
    marked: list[bool]


def load_panel_images(
    content: Named, stylised: Sequence[Named], labels: Named | None, config: Config
) -> PanelImages:
    """Read what a panel shows.

    Args:
        content: the original: a picture, a volume or a DICOM series.
        stylised: what was made of it, on its grid.
        labels: whole numbers on its grid, 0 being nothing.
        config: its `panel` section, `data.plane` and `data.intensity.scan` are used.

    Raises:
        UserError: an image cannot be used or lies on another grid, or a slice is not there.
    """
    loaded = as_image(content, "content")
    if isinstance(loaded, Picture):
        return _of_picture(loaded, stylised, labels)
    plane = config.data.plane
    prepared = prepare_content(loaded, config)
    made = []
    for path in stylised:
        volume = _volume(path, loaded, "stylised")
        scale = prepared.scale if volume.array.ndim == 3 else COLOUR_SCALE
        made.append(volume_slices(volume, scale, plane))
    values = None if labels is None else _label_slices(labels, loaded, plane)
    shown = [display_image(image) for image in to_slices(prepared.foreground[None], plane)]
    full = [bool(image.any()) for image in (shown if values is None else values)]
    grid = ras_grid(loaded.geometry.spatial_shape, np.asarray(loaded.geometry.affine, np.float64))
    return PanelImages(
        original=volume_slices(loaded, prepared.scale, plane),
        stylised=made,
        labels=values,
        numbers=_chosen(config, full),
        aspect=slice_aspect([float(size) for size in voxel_sizes(grid.affine)], plane),
        plane=plane,
        marked=[False] * len(made),
    )


def _of_picture(picture: Picture, stylised: Sequence[Named], labels: Named | None) -> PanelImages:
    made = [[_bytes(_drawn(path, picture, "stylised"))] for path in stylised]
    values = None
    if labels is not None:
        drawn = _drawn(labels, picture, "labels").array
        if drawn.shape[2] != 1:
            raise UserError(
                f"labels {labels}: is in colour, where grey levels are label values; save it as a "
                "grey PNG"
            )
        values = [drawn[..., 0].astype(np.int64)]
    # A stylised PNG usually carries the mark; so its sidecar says.
    marked = [
        read_facts(Path(path).with_suffix(".json")).get("marked") is True for path in stylised
    ]
    return PanelImages([_bytes(picture)], made, values, [0], 1.0, None, marked)


def _drawn(path: Named, content: Picture, what: str) -> Picture:
    """A picture of the content's size."""
    if not is_picture(path):
        raise UserError(f"{what} {path}: is no PNG or JPEG, and the content is a picture")
    picture = read_picture(path)
    size, own = picture.array.shape[:2], content.array.shape[:2]
    if size != own:
        raise UserError(
            f"{what} {path}: has {size[0]}x{size[1]} pixels and the content {own[0]}x{own[1]}; "
            "give images of one size"
        )
    return picture


def _volume(path: Named, content: Volume, what: str) -> Volume:
    """A volume on the content's grid, grey or RGB."""
    if is_picture(path):
        raise UserError(f"{what} {path}: is a picture, and the content is a volume; give a volume")
    series = dicom_series(path)
    volume = read_shown_volume(path) if series is None else read_series(series, True)
    if not volume.geometry.same_grid(content.geometry):
        own, other = ("x".join(map(str, v.geometry.spatial_shape)) for v in (content, volume))
        raise UserError(
            f"{what} {path}: lies on another grid ({other} voxels) than the content ({own}), or "
            "elsewhere; give what was made of this content"
        )
    return volume


def _label_slices(path: Named, content: Volume, plane: str) -> list[np.ndarray]:
    array = _volume(path, content, "labels").array
    if array.ndim != 3:
        raise UserError(f"labels {path}: is in colour, where whole numbers are needed")
    whole = np.rint(array)
    if (whole != array).any() or whole.min() < 0:
        raise UserError(
            f"labels {path}: holds values that are no label, which are whole numbers of 0 or more; "
            "give a segmentation"
        )
    turned = to_ras(whole.astype(np.int64), content.geometry.affine)
    return [display_image(image) for image in to_slices(turned[None], plane)]


def _chosen(config: Config, full: list[bool]) -> list[int]:
    """The slices that are asked for, or `count` of them evenly over those with something on."""
    wanted = config.panel.slices
    if wanted is not None:
        if not wanted or max(wanted) >= len(full):
            raise UserError(
                f"panel.slices={list(wanted)}: the content has the {config.data.plane} slices 0 to "
                f"{len(full) - 1}; choose one or more of them"
            )
        return list(wanted)
    inside = np.flatnonzero(full)
    inside = inside if inside.size else np.arange(len(full))
    count = min(config.panel.count, len(inside))
    middles = ((np.arange(count) + 0.5) * len(inside) / count).astype(int)
    return [int(n) for n in inside[middles]]


def _bytes(picture: Picture) -> np.ndarray:
    """8-bit `(rows, columns)` or `(rows, columns, 3)`."""
    levels = picture.array.astype(np.float64) * (255 / picture.maximum)
    pixels = to_dtype(levels, np.dtype(np.uint8))
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
