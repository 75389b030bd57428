"""A subject's slices as one picture, for where there is no page to hold many."""

from __future__ import annotations

import io

from PIL import Image

from medstyle_gan.evaluation.views import SubjectViews
from medstyle_gan.evaluation.visual_effect.drawing import new_chart, png_bytes
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
    chart = new_chart(columns * _PANEL, len(views.views) * _PANEL + 0.3)
    panels = chart.subplots(len(views.views), columns, squeeze=False)
    for line, view in zip(panels, views.views, strict=True):
        images = {title(name): image for name, image in view.images.items()}
        images[f"{title('translation')} − {views.against}"] = view.difference
        for number, (panel, (name, image)) in enumerate(zip(line, images.items(), strict=True)):
            colours = "RdBu_r" if number == columns - 1 else "gray"
            panel.imshow(
                image, cmap=colours, vmin=-1, vmax=1, aspect=view.aspect, interpolation="nearest"
            )
            panel.set(xticks=[], yticks=[])
            if line is panels[0]:
                panel.set_title(name, fontsize=9)
        line[0].set_ylabel(f"{view.plane}, slice {view.slice} of {view.slices}", fontsize=7)
    with Image.open(io.BytesIO(png_bytes(chart))) as drawn:
        return drawn.convert("RGB")
