"""One page to look at before training: slices of both collections and their histograms."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medstyle_gan.data.inspection import CollectionReport
from medstyle_gan.data.slices import display_image
from medstyle_gan.volumes import atomic_file

_COLOURS = {"scan": "tab:blue", "style": "tab:orange"}


def contact_sheet(reports: Sequence[CollectionReport], path: Path) -> None:
    """Write a PNG with slices of several subjects of each collection and their histograms.

    Slices are shown after preprocessing, -1 black and 1 white, with the body outlined.

    Args:
        reports: of both collections.
        path: the PNG.

    Raises:
        UserError: it cannot be written.
    """
    columns = max(1, *(len(report.thumbnails) for report in reports))
    lines = [max([1, *(len(t.images) for t in report.thumbnails)]) for report in reports]
    size = 2.1 if columns > 3 else 3.0
    heights = [*(size * count for count in lines), 3.0]
    figure = Figure(figsize=(max(11.0, size * columns + 0.5), sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    *pages, charts = parts
    for page, report, count in zip(pages, reports, lines, strict=True):
        page.supylabel(report.domain, fontsize=12, color=_COLOURS[report.domain])
        grid = page.subplots(count, columns, squeeze=False)
        for axis in grid.ravel():
            axis.set_axis_off()
        for column, shown in enumerate(report.thumbnails):
            grid[0][column].set_title(shown.subject[:24], fontsize=8)
            for row, (image, mask) in enumerate(zip(shown.images, shown.masks, strict=True)):
                _show(grid[row][column], image, mask, shown.aspect)
    axes = charts.subplots(1, len(reports) + 1)
    for axis, report in zip(axes, reports, strict=False):
        _histogram(axis, report, report.native, None)
        axis.set_title(f"{report.domain}: native intensities in the body", fontsize=9)
    for report in reports:
        _histogram(axes[-1], report, report.unit, (-1.0, 1.0))
    axes[-1].set_title("both, as networks see them", fontsize=9)
    axes[-1].legend(fontsize=8)
    encoded = BytesIO()
    figure.savefig(encoded, format="png", dpi=110)
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())


def _show(axis: Any, image: np.ndarray, mask: np.ndarray, aspect: float) -> None:
    shown = display_image((image + 1) / 2)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect=aspect)
    if mask.any() and not mask.all():
        axis.contour(display_image(mask[None]), [0.5], colors="tab:red", linewidths=0.5)


def _histogram(
    axis: Any, report: CollectionReport, values: np.ndarray, limits: tuple[float, float] | None
) -> None:
    if limits is None and values.size:  # a few bright voxels would squeeze all the others
        lower, upper = (float(q) for q in np.percentile(values, (0.1, 99.9)))
        limits = (lower, upper) if upper > lower else None
    axis.hist(
        values,
        bins=80,
        range=limits,
        density=bool(values.size),
        histtype="stepfilled",
        alpha=0.5,
        color=_COLOURS[report.domain],
        label=report.domain,
    )
    axis.set_yticks([])
    axis.tick_params(labelsize=8)
