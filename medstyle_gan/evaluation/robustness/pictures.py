"""Pictures of the chapter: a curve for each corruption, and what the strongest look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medstyle_gan.data.slices import display_image, slice_aspect
from medstyle_gan.evaluation.chapter import Candidate, Picture, Subject
from medstyle_gan.evaluation.comparison import TRANSLATION
from medstyle_gan.evaluation.marking import show_slice
from medstyle_gan.evaluation.robustness.corruptions import CORRUPTIONS
from medstyle_gan.evaluation.robustness.scoring import Curve, middle_slab
from medstyle_gan.evaluation.visual_effect.drawing import lines_of, new_chart, png_bytes, said

_COLUMNS = 4
_SHOWN = 140  # longer side of a slice in the montage (pixels)


def curve_grid(
    found: Sequence[Mapping[tuple[str, str], Curve]], names: Sequence[str], metric: str
) -> Picture:
    """The mean over subjects of each candidate's score under each corruption.

    Args:
        found: of each subject, as `scoring.curves` gives them.
        names: of the candidates, the translation first.
        metric: what the score is.
    """
    rows = -(-len(CORRUPTIONS) // _COLUMNS)
    chart = new_chart(2.3 * _COLUMNS, 1.9 * rows + 0.4)
    grid = chart.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
    styles = lines_of(dict.fromkeys(names))
    for panel, corruption in zip(grid.ravel(), CORRUPTIONS, strict=False):
        for name in reversed(names):
            own = [curves[corruption, name] for curves in found]
            mean = np.nanmean([curve.scores for curve in own], axis=0)
            panel.plot(own[0].severities, mean, marker="o", markersize=3, **styles[name])
        panel.set_title(said(corruption), fontsize=9)
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=7)
    for panel in grid[-1]:
        panel.set_xlabel("severity", fontsize=8)
    for row in grid:
        row[0].set_ylabel(metric, fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    chart.legend(
        handles[::-1], labels[::-1], loc="outside lower center", ncols=len(names), fontsize=8
    )
    slopes = {
        corruption: float(np.nanmean([curves[corruption, names[0]].slope for curves in found]))
        for corruption in CORRUPTIONS
    }
    worst = min(slopes, key=lambda corruption: slopes[corruption])
    return Picture(
        "curves",
        png_bytes(chart),
        f"{metric} of translations as scans get worse, the mean over subjects.",
        f"A curve of {metric} against severity for each of {len(CORRUPTIONS)} corruptions and "
        f"{len(names)} candidates. {said(names[0])} loses most by {said(worst)} "
        f"({slopes[worst]:+.2f}).",
    )


def corrupted_montage(
    subject: Subject, translate: Candidate, seed: int, slices: int | None, mark: bool = True
) -> Picture:
    """A slice of the scan under each corruption at full severity, above its translation.

    Args:
        subject: whose.
        translate: the translator.
        seed: of the corruptions.
        slices: axial ones in the middle of the body that are translated; None for all.
        mark: write SYNTHETIC into the translations.
    """
    slab = middle_slab(subject.mask, slices)
    middle = (slab.stop - slab.start) // 2
    scans = {"clean": subject.scan} | {
        name: corruption(subject.scan, subject.mask, subject.spacing, 1.0, seed)
        for name, corruption in CORRUPTIONS.items()
    }
    per_row = -(-len(scans) // 2)
    chart = new_chart(1.35 * per_row, 1.6 * 4 + 0.2)
    grid = chart.subplots(4, per_row, squeeze=False)
    for panel in grid.ravel():
        panel.axis("off")
    for index, (name, scan) in enumerate(scans.items()):
        block, column = divmod(index, per_row)
        given = np.ascontiguousarray(scan[..., slab])
        translation = translate(given, np.ascontiguousarray(subject.mask[..., slab]))
        for line, array in enumerate((given, translation)):
            panel = grid[2 * block + line, column]
            image = display_image(np.asarray(array[None, :, :, middle]))
            aspect = slice_aspect(subject.spacing, "axial")
            show_slice(panel, image, aspect, mark=mark and line == 1, shown=_SHOWN)
            if line == 0:
                panel.set_title(said(name), fontsize=8)
    return Picture(
        "corrupted_scans",
        png_bytes(chart),
        f"{subject.name}: the scan at full severity of each corruption, above its "
        f"{said(TRANSLATION)}.",
        "Pairs of a corrupted scan and its translation, one for each corruption.",
    )
