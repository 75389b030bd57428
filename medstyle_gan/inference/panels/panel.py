"""Panels for teaching: original, stylised and labels of chosen slices, side by side.

What a panel shows is made here as plain pictures with words; `figure` sets them as PNG and
PDF, `page` as a web page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medstyle_gan.config import Config
from medstyle_gan.config.panel_section import PanelConfig
from medstyle_gan.errors import UserError
from medstyle_gan.inference.enlarging import enlarged
from medstyle_gan.inference.panels.inputs import PanelImages
from medstyle_gan.inference.synthetic_mark import mark_synthetic

Colour = tuple[int, int, int]

# Okabe & Ito's colours, which colour-blind readers tell apart.
PALETTE: tuple[Colour, ...] = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167), (160, 160, 160)),
)
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a panel.

    Attributes:
        pixels: `(rows, columns, 3)` uint8, square pixels, enlarged where it is small.
        alt: what it shows, in words.
        synthetic: whether it was stylised.
    """

    pixels: np.ndarray
    alt: str
    synthetic: bool


@dataclass(frozen=True, eq=False)
class Panel:
    """What a panel shows.

    Attributes:
        title: line above all; may be empty.
        captions: of the columns.
        rows: what stands beside each row (empty for a picture), and its tiles, all of one size.
        legend: name and colour of each label that is shown.
        orientation: how the images lie, for the reader; empty for pictures.
        marked: whether it visibly says that the stylised images are synthetic.
    """

    title: str
    captions: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Tile, ...]], ...]
    legend: tuple[tuple[str, Colour], ...]
    orientation: str
    marked: bool


def build_panel(images: PanelImages, config: Config, mark: bool = True) -> Panel:
    """Set images side by side.

    Args:
        images: what is shown.
        config: its `panel` section is used.
        mark: draw the visible mark in stylised images.

    Raises:
        UserError: there is another number of captions than of columns.
    """
    settings = config.panel
    captions = _captions(settings, len(images.stylised), images.labels is not None)
    chosen = images.numbers
    original = [_shown(images.original[n], images.aspect, settings.tile) for n in chosen]
    stylised = [
        [_shown(column[n], images.aspect, settings.tile) for n in chosen]
        for column in images.stylised
    ]
    if mark:
        anatomy = np.max([image @ _LUMA for image in original], axis=0)
        stylised = [
            column if marked else mark_synthetic(column, anatomy)
            for column, marked in zip(stylised, images.marked, strict=True)
        ]
    names: dict[int, str] = {}
    drawn: list[np.ndarray] = []
    if images.labels is not None:
        names = _names([images.labels[n] for n in chosen], settings.label_names)
        for picture, n in zip(original, chosen, strict=True):
            values = enlarged(images.labels[n], images.aspect, settings.tile)
            opacity = settings.opacity if settings.label_style == "filled" else None
            drawn.append(overlay(picture, values, opacity))
    rows = []
    for i, n in enumerate(chosen):
        where = "picture" if images.plane is None else f"{images.plane} slice {n}"
        tiles = [Tile(original[i], f"{captions[0]}: {where}", False)]
        for caption, column in zip(captions[1:], stylised, strict=False):
            tiles.append(Tile(column[i], f"{caption}: {where}, synthetic", True))
        if images.labels is not None:
            there = [names[int(v)] for v in np.unique(images.labels[n]) if v]
            alt = f"{captions[-1]}: {where}, {', '.join(there) or 'no label'}"
            tiles.append(Tile(drawn[i], alt, False))
        rows.append(("" if images.plane is None else f"slice {n}", tuple(tiles)))
    return Panel(
        title=settings.title,
        captions=captions,
        rows=tuple(rows),
        legend=tuple((name, label_colour(value)) for value, name in names.items()),
        orientation=_orientation(images.plane),
        marked=mark,
    )


def label_colour(value: int) -> Colour:
    """By the value alone: a label has one colour in all panels."""
    return PALETTE[(value - 1) % len(PALETTE)]


def overlay(picture: np.ndarray, labels: np.ndarray, opacity: float | None = 0.5) -> np.ndarray:
    """Labels over a picture.

    Args:
        picture: `(rows, columns, 3)` uint8.
        labels: `(rows, columns)` whole numbers, 0 being nothing.
        opacity: of the areas, in [0, 1]; None draws their borders alone, inside them.

    Returns:
        `(rows, columns, 3)` uint8.
    """
    shown = picture.astype(np.float64)
    for value in np.unique(labels[labels > 0]):
        where = labels == value
        share = opacity
        if share is None:
            # Two pixels, and none at the picture's rim, where an area only leaves it.
            where = where & ~ndimage.binary_erosion(where, iterations=2, border_value=1)
            share = 1.0
        shown[where] += share * (np.array(label_colour(int(value))) - shown[where])
    return np.rint(shown).astype(np.uint8)


def _captions(settings: PanelConfig, stylised: int, labels: bool) -> tuple[str, ...]:
    numbered = [f"stylised {i + 1}" for i in range(stylised)] if stylised > 1 else ["stylised"]
    usual = ("original", *numbered, *(["labels"] if labels else []))
    if settings.captions is None:
        return usual
    if len(settings.captions) != len(usual):
        raise UserError(
            f"panel.captions has {len(settings.captions)} captions for {len(usual)} columns "
            f"({', '.join(usual)}); give one for each"
        )
    return settings.captions


def _names(labels: list[np.ndarray], given: Mapping[int, str]) -> dict[int, str]:
    """Value → name of the labels that are there."""
    values = sorted({int(value) for image in labels for value in np.unique(image) if value})
    return {value: given.get(value, f"label {value}") for value in values}


def _orientation(plane: str | None) -> str:
    if plane is None:
        return ""
    if plane == "sagittal":
        return "Anterior is on the right, superior is up."
    up = "anterior" if plane == "axial" else "superior"
    return f"The patient's left is on the left, {up} is up."


def _shown(image: np.ndarray, aspect: float, longest: int) -> np.ndarray:
    """`(rows, columns, 3)` uint8 with square pixels."""
    colours = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return enlarged(colours, aspect, longest)
