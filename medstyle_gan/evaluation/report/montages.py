"""A subject's slices as one picture, for where there is no page to hold many."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.marking import show_slice
from medstyle_gan.evaluation.views import SubjectViews, View
from medstyle_gan.evaluation.visual_effect.drawing import new_chart
from medstyle_gan.evaluation.wording import title

_PANEL = 2.2  # inches


def views_montage(views: SubjectViews, mark: bool = True) -> Image.Image:
    """A row a plane: the images and the difference; it names no subject.

    Args:
        views: slices in [-1, 1].
        mark: write SYNTHETIC into the translation.

    Returns:
        RGB, with nothing but the pixels.
    """
    columns = len(views.views[0].images) + 1
    heights = [_height(view) for view in views.views]
    chart = new_chart(columns * _PANEL + 0.4, sum(heights) * _PANEL + 0.4)
    panels = chart.subplots(
        len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for row, view in enumerate(views.views):
        for panel, (name, image) in zip(panels[row], view.images.items(), strict=False):
            show_slice(panel, image, view.aspect, mark=mark and name == TRANSLATION)
            panel.set_title(title(name) if row == 0 else "", fontsize=9)
        last = panels[row, -1]
        look = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
        last.imshow(view.difference, aspect=view.aspect, **look)
        if row == 0:
            last.set_title(f"{title(TRANSLATION)} − {views.against}", fontsize=9)
        for panel in panels[row]:
            panel.set(xticks=[], yticks=[])
        panels[row, 0].set_ylabel(f"{view.plane}\n{view.slice} of {view.slices}", fontsize=7)
    canvas = FigureCanvasAgg(chart)
    canvas.draw()
    return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _height(view: View) -> float:
    """Of a row, in panels' widths; enough for its label."""
    rows, columns = view.difference.shape
    return min(max(rows * view.aspect / columns, 0.3), 1.5)
