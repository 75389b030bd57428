"""Pictures of the chapter: recall by size, inserted lesions and false lesions of one subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Circle

from medstyle_gan.data.slices import display_image, slice_aspect
from medstyle_gan.evaluation.chapter import TRANSLATION, Array, Figure, Picture, Subject
from medstyle_gan.evaluation.hallucination.blob_detection import Detection
from medstyle_gan.evaluation.hallucination.subject_findings import Shown, SubjectFindings
from medstyle_gan.evaluation.marking import show_slice
from medstyle_gan.evaluation.visual_effect.drawing import lines_of, new_chart, png_bytes

Ring = tuple[tuple[int, int, int], float]
"""A middle voxel and a diameter (mm)."""

_PANEL = 2.4  # inches
_ROWS = 3


def draw_pictures(
    subject: Subject,
    found: SubjectFindings,
    figures: Sequence[Figure],
    mark: bool = True,
) -> tuple[Picture, ...]:
    """Every picture that there is something to show in.

    Args:
        subject: who is shown.
        found: what was found in it, with `shown` where there is a translation.
        figures: of the whole chapter.
        mark: write SYNTHETIC into translations.
    """
    pictures = [_recall_by_size(figures)]
    if found.shown is not None:
        pictures.append(_inserted(subject, found.shown, mark))
        false = found.candidates[TRANSLATION].false
        pictures.append(_false(subject, found.shown.translation, false, mark))
    return tuple(picture for picture in pictures if picture is not None)


def _recall_by_size(figures: Sequence[Figure]) -> Picture | None:
    curves: dict[str, dict[float, float]] = {}
    for figure in figures:
        if figure.name == "lesion_recall" and "size_mm" in figure.of:
            curves.setdefault(figure.candidate, {})[float(figure.of["size_mm"])] = figure.value
    if not curves:
        return None
    chart = new_chart(5.2, 3.2)
    axes = chart.subplots()
    for name, style in reversed(lines_of(curves).items()):
        own = curves[name]
        axes.plot(list(own), list(own.values()), marker="o", markersize=4, **style)
    axes.set(xlabel="diameter (mm)", ylabel="share of lesions kept", ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    ours = curves.get(TRANSLATION, {})
    said = ", ".join(f"{value:.2f} at {size:g} mm" for size, value in ours.items())
    return Picture(
        "lesion_recall_by_size",
        png_bytes(chart),
        "Share of inserted lesions that are still there after translation, by their diameter.",
        f"Curves of recall against lesion diameter. Translation: {said}.",
    )


def _inserted(subject: Subject, shown: Shown, mark: bool) -> Picture | None:
    if shown.with_lesions is None or shown.changed is None:
        return None
    columns = {
        "scan with lesions": shown.with_lesions,
        "its translation": shown.changed,
        "translation without them": shown.translation,
        "difference": shown.changed - shown.translation,
    }
    made = ["its translation", "translation without them"] if mark else []
    return Picture(
        "inserted_lesions",
        _montage(subject, columns, shown.rings, made),
        f"{subject.name}: balls added to the scan (rings), and what of them the translation shows.",
        "Slices of the scan with added lesions, its translation, the translation of the scan "
        "without them, and the difference of both translations.",
    )


def _false(
    subject: Subject, translation: Array, found: Sequence[Detection], mark: bool
) -> Picture | None:
    if not found:
        return None
    columns = {"scan": subject.scan, "translation": translation}
    if subject.truth is not None:
        columns["truth"] = subject.truth
    rings = [(blob.center, blob.diameter) for blob in found]
    made = ["translation"] if mark else []
    return Picture(
        "false_lesions",
        _montage(subject, columns, rings, made),
        f"{subject.name}: blobs of the translation that the scan does not show (rings), "
        f"{len(found)} in all; the slices with most.",
        "Slices of the scan and the translation with rings around false lesions.",
    )


def _montage(
    subject: Subject, columns: Mapping[str, Array], rings: Iterable[Ring], made: Sequence[str]
) -> bytes:
    """The axial slices with most rings; columns named `difference` in red and blue.

    Columns in `made` are marked as synthetic.
    """
    shown: dict[int, list[Ring]] = {}
    for center, diameter in rings:
        shown.setdefault(center[2], []).append((center, diameter))
    chosen = sorted(sorted(shown, key=lambda z: (-len(shown[z]), z))[:_ROWS])
    chart = new_chart(len(columns) * _PANEL, len(chosen) * _PANEL + 0.4)
    grid = chart.subplots(len(chosen), len(columns), squeeze=False)
    for row, z in zip(grid, chosen, strict=True):
        for panel, (title, array) in zip(row, columns.items(), strict=True):
            image = display_image(np.asarray(array[None, :, :, z]))
            aspect = slice_aspect(subject.spacing, "axial")
            if title == "difference":
                look = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
                panel.imshow(image, aspect=aspect, **look)
            else:
                show_slice(panel, image, aspect, mark=title in made)
            panel.set(xticks=[], yticks=[])
            if z == chosen[0]:
                panel.set_title(title, fontsize=9)
            for center, diameter in shown[z]:
                _ring(panel, center, diameter, subject, array.shape[1])
        row[0].set_ylabel(f"slice {z + 1}", fontsize=8)
    return png_bytes(chart)


def _ring(
    panel: Any, center: tuple[int, int, int], diameter: float, subject: Subject, rows: int
) -> None:
    """A ring around a voxel of a slice that `display_image` has turned."""
    radius = (diameter / 2 + 3.0) / subject.spacing[0]
    place = (center[0], rows - 1 - center[1])
    panel.add_patch(Circle(place, radius, fill=False, color="#e69f00", linewidth=1.1))
