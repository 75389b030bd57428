"""A picture of held-out pairs to look at: scan, translation, truth and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from medstyle_gan.data.preprocessing import display_image, slice_aspect
from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.comparison import Comparison
from medstyle_gan.evaluation.marking import show_slice
from medstyle_gan.inference.outputs.sidecar import NOTE, PNG_TEXT
from medstyle_gan.volumes import atomic_file

_TITLES = ("scan", "translation", "truth", "translation − truth")
_PANEL = 2.2  # inches


def write_montage(
    path: str | Path,
    comparisons: Sequence[Comparison],
    rows: int = 4,
    title: str = "",
    mark: bool = True,
) -> None:
    """Draws axial slices, evenly spread over each pair's mask, as a PNG.

    Args:
        path: The PNG; it appears whole or not at all.
        comparisons: At least one; each brings `rows` rows of four panels.
        rows: Slices of each.
        title: One line above.
        mark: Write SYNTHETIC into the translations.

    Raises:
        UserError: The file cannot be written.
    """
    shown = [(c, int(z)) for c in comparisons for z in _spread(c.mask, rows)]
    figure = Figure(
        figsize=(4 * _PANEL + 0.9, len(shown) * _PANEL + 0.6), layout="constrained", dpi=110
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(shown), 4, squeeze=False)
    for line, (comparison, z) in zip(axes, shown, strict=True):
        translation = comparison.candidates[TRANSLATION]
        difference = translation - comparison.truth
        images = (comparison.scan, translation, comparison.truth, difference)
        for panel, image, name in zip(line, images, _TITLES, strict=True):
            shown_slice = display_image(image[None, :, :, z])
            aspect = slice_aspect(comparison.spacing, "axial")
            if image is difference:
                look = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
                panel.imshow(shown_slice, aspect=aspect, **look)
            else:
                show_slice(panel, shown_slice, aspect, mark=mark and image is translation)
            panel.set(xticks=[], yticks=[])
            if panel in axes[0]:
                panel.set_title(name, fontsize=9)
        line[0].set_ylabel(f"{comparison.subject}, slice {z + 1}", fontsize=7)
    figure.colorbar(
        ScalarMappable(Normalize(-1, 1), "RdBu_r"),
        ax=axes[:, 3],
        label="difference ([-1, 1] units)",
        shrink=min(1.0, 2 / len(shown) + 0.3),
    )
    if title:
        figure.suptitle(title, fontsize=10)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", metadata={PNG_TEXT: NOTE})


def _spread(mask: np.ndarray, count: int) -> np.ndarray:
    """Returns the middles of `count` equal parts of the slices that the mask touches."""
    inside = np.flatnonzero(mask.any(axis=(0, 1)))
    positions = (np.arange(count) + 0.5) / count * (len(inside) - 1)
    return np.unique(inside[np.rint(positions).astype(int)])
