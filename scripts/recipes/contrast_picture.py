"""The picture of the recipe for contrast enhancement: slices beside each other, figures below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medstyle_gan.data.preprocessing import display_image, slice_aspect
from medstyle_gan.evaluation import Comparison
from medstyle_gan.volumes import atomic_file
from recipes.contrast_figures import NETWORK, TRUTH, Row

_SHOWN = {
    "doing_nothing": "low-contrast scan",
    "histogram_matching": "histogram matching",
    "CLAHE": "CLAHE",
    "smoothing": "smoothing",
    NETWORK: "network alone (synthetic)",
    "translation": "translation (synthetic)",
    TRUTH: "true high contrast",
}
_CAPTION = (
    "CNR: contrast-to-noise ratio of grey and white matter. "
    "Edges: gradient correlation with the scan / with the true high-contrast volume."
)


def draw(path: Path, comparisons: Mapping[str, Sequence[Comparison]], rows: Sequence[Row]) -> None:
    """Draws a middle slice of the first held-out subject of each data set, as a PNG.

    Args:
        path: The PNG; it appears whole or not at all.
        comparisons: Data set → its comparisons.
        rows: The figures of all candidates.

    Raises:
        UserError: The file cannot be written.
    """
    figure = Figure(figsize=(16.8, 3.0 * len(comparisons) + 0.4), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(comparisons), len(_SHOWN), squeeze=False)
    by_name = {(row.data, row.name): row for row in rows}
    for line, (data, compared) in zip(axes, comparisons.items(), strict=True):
        comparison = compared[0]
        inside = np.flatnonzero(comparison.mask.any(axis=(0, 1)))
        z = int(inside[int(0.6 * (len(inside) - 1))])
        for panel, (name, title) in zip(line, _SHOWN.items(), strict=True):
            image = comparison.candidates[name][None, :, :, z]
            panel.imshow(
                display_image(image),
                cmap="gray",
                vmin=-1,
                vmax=1,
                aspect=slice_aspect(comparison.spacing, "axial"),
                interpolation="nearest",
            )
            row = by_name[data, name]
            panel.set(xticks=[], yticks=[])
            panel.set_title(title, fontsize=10)
            panel.set_xlabel(
                f"CNR {row.grey_white:.2f}, edges {row.kept:.2f} / {row.true_edges:.2f}",
                fontsize=9,
            )
        line[0].set_ylabel(f"{data}, {comparison.subject}, slice {z + 1}", fontsize=9)
    figure.supxlabel(_CAPTION, fontsize=9)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")
