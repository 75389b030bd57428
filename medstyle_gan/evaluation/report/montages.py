"""A subject's slices as one picture, for where there is no page to hold many."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.views import SubjectViews, View
from medstyle_gan.evaluation.visual_effect.drawing import new_chart
from medstyle_gan.evaluation.wording import title

_PANEL = 2.2  # inches


def views_montage(views: SubjectViews) -> Image.Image:
    """A row a plane: the images and the difference; it names no subject.

    Args:
        views: slices in [-1, 1].

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
        images = {title(name): image for name, image in view.images.items()}
        images[f"{title(TRANSLATION)} − {views.against}"] = view.difference
        for column, (name, image) in enumerate(images.items()):
            panel = panels[row, column]
            colours = "RdBu_r" if column == columns - 1 else "gray"
            panel.imshow(
                image, cmap=colours, vmin=-1, vmax=1, aspect=view.aspect, interpolation="nearest"
            )
            panel.set(xticks=[], yticks=[])
            if row == 0:
                panel.set_title(name, fontsize=9)
        panels[row, 0].set_ylabel(f"{view.plane}\n{view.slice} of {view.slices}", fontsize=7)
    canvas = FigureCanvasAgg(chart)
    canvas.draw()
    return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _height(view: View) -> float:
    """Of a row, in panels' widths; enough for its label."""
    rows, columns = view.difference.shape
    return min(max(rows * view.aspect / columns, 0.3), 1.5)
