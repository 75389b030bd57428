"""Slices as images inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.marking import marked_slice
from medstyle_gan.evaluation.views import SubjectViews, View
from medstyle_gan.evaluation.wording import title

_SHOWN_WIDTH = 220  # CSS pixels of the widest slice


@dataclass(frozen=True)
class Panel:
    """An image with what is written around it.

    Attributes:
        source: a data URI.
        alt: what is to be seen.
        caption: short.
        windowed: whether the window control acts on it.
        width, height: as it is shown (CSS pixels).
        marked: whether SYNTHETIC is written into it.
    """

    source: str
    alt: str
    caption: str
    windowed: bool
    width: int
    height: int
    marked: bool = False


@dataclass(frozen=True)
class SubjectFigure:
    """A subject's panels, a row a plane."""

    name: str
    against: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def view_figures(views: SubjectViews, mark: bool = True) -> SubjectFigure:
    """A subject's slices ready for the page.

    Args:
        views: slices in [-1, 1].
        mark: write SYNTHETIC into the translation.
    """
    widest = max(view.difference.shape[1] for view in views.views)
    tallest = max(view.difference.shape[0] * view.aspect for view in views.views)
    scale = _SHOWN_WIDTH / max(widest, tallest)
    rows = tuple((_plane(view), _panels(view, views, scale, mark)) for view in views.views)
    return SubjectFigure(views.name, views.against, rows)


def _plane(view: View) -> str:
    return f"{view.plane}, slice {view.slice} of {view.slices}"


def _panels(view: View, views: SubjectViews, scale: float, mark: bool) -> tuple[Panel, ...]:
    height, width = view.difference.shape
    size = max(1, round(width * scale)), max(1, round(height * view.aspect * scale))
    where = f"of {views.name}, {_plane(view)}"
    images = dict(view.images)
    if mark:
        images[TRANSLATION] = marked_slice(images[TRANSLATION], view.aspect, max(size))
    panels = [
        Panel(
            _grey(image),
            f"{title(name)} {where}",
            title(name),
            True,
            *size,
            marked=mark and name == TRANSLATION,
        )
        for name, image in images.items()
    ]
    what = f"translation − {views.against}"
    alt = f"Difference {what} {where}: red where the translation is brighter, blue where darker"
    panels.append(Panel(_coloured(view.difference), alt, what, False, *size))
    return tuple(panels)


def _grey(image: NDArray[np.float32]) -> str:
    """A PNG of [-1, 1], as a data URI."""
    levels = np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
    return _uri(Image.fromarray(levels))


def _coloured(difference: NDArray[np.float32]) -> str:
    """A PNG of [-1, 1] from blue over white to red."""
    colours = colormaps["RdBu_r"]((np.clip(difference, -1, 1) + 1) / 2)[..., :3]
    levels = np.rint(colours * 255).astype(np.uint8)
    return _uri(Image.fromarray(levels).quantize(256))


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
