"""Pictures of the chapter: spectra, histograms, distances and slices side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from medstyle_gan.data.slices import display_image
from medstyle_gan.evaluation.chapter import Array, Picture
from medstyle_gan.evaluation.marking import show_slice
from medstyle_gan.evaluation.visual_effect.drawing import (
    INK,
    PAPER,
    REAL,
    legend_beside,
    lines_of,
    new_chart,
    png_bytes,
    said,
)
from medstyle_gan.evaluation.visual_effect.looks import Look, RealLooks
from medstyle_gan.evaluation.visual_effect.spectrum import FREQUENCIES

_BINS = 64
_SHOWN = 190  # longer side of a slice side by side with others (pixels)


def spectra(looks: Mapping[str, Sequence[Look]], real: RealLooks) -> Picture:
    """Power by frequency in the plane and along the slices, of candidates and real volumes.

    Args:
        looks: candidate → its volumes.
        real: the real ones.
    """
    chart = new_chart(11.0, 3.8)
    panels: Any = chart.subplots(1, 2)
    lines = lines_of(looks)
    along = {
        name: [look.slice_spectrum for look in each if look.slice_spectrum is not None]
        for name, each in looks.items()
    }
    in_plane = {name: [look.spectrum for look in each] for name, each in looks.items()}
    real_along = [look.slice_spectrum for look in real.looks if look.slice_spectrum is not None]
    sides = (
        (panels[0], in_plane, [look.spectrum for look in real.looks], "in the slice", "pixel"),
        (panels[1], along, real_along, "along the slices", "slice"),
    )
    for panel, each, real_each, title, unit in sides:
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(f"cycles per {unit}", fontsize=9)
        panel.set_ylabel("power (dB)", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
        panel.set_facecolor(PAPER)
        if real_each:
            levels = _decibel(np.stack(real_each))
            panel.fill_between(
                FREQUENCIES,
                levels.min(axis=0),
                levels.max(axis=0),
                color="0.75",
                label="real, lowest to highest",
            )
            panel.plot(
                FREQUENCIES, _decibel(np.mean(real_each, axis=0)), color=REAL, label="real, mean"
            )
        for name, spectra_of in each.items():
            if spectra_of:
                panel.plot(FREQUENCIES, _decibel(np.mean(spectra_of, axis=0)), **lines[name])
        if not real_each:
            panel.text(0.5, 0.5, "too few slices", ha="center", transform=panel.transAxes)
    legend_beside(chart, panels[0])
    return Picture(
        "spectra",
        png_bytes(chart),
        "Power spectra inside the body: what lies under the grey band is blurred, what lies above "
        "it is noise, flicker or a pattern.",
        "Two line charts of power against spatial frequency, in the slice and along the slices, "
        f"for {_list(looks)} beside the range of real style volumes.",
    )


def histograms(looks: Mapping[str, Sequence[Look]], real: RealLooks) -> Picture:
    """Intensities in the body, of candidates and real volumes.

    Args:
        looks: candidate → its volumes.
        real: the real ones.
    """
    chart = new_chart(8.6, 3.4)
    panel: Any = chart.subplots()
    edges = np.linspace(-1, 1, _BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2

    def density(each: Sequence[Look]) -> np.ndarray:
        # Quantiles at even steps are a sample of their distribution.
        values = np.concatenate([look.quantiles for look in each]).clip(-1, 1)
        return np.histogram(values, edges, density=True)[0]

    panel.fill_between(middles, density(real.looks), color="0.75", step="mid", label="real")
    for name, line in lines_of(looks).items():
        panel.step(middles, density(looks[name]), where="mid", **line)
    panel.set_xlabel("intensity ([-1, 1] units)", fontsize=9)
    panel.set_ylabel("share of the body", fontsize=9)
    panel.set_yticks([])
    panel.tick_params(labelsize=8)
    panel.set_facecolor(PAPER)
    legend_beside(chart, panel)
    return Picture(
        "histograms",
        png_bytes(chart),
        "Intensities in the body; histogram matching has the real ones by construction.",
        f"Histograms of intensities in the body for {_list(looks)} beside real style volumes.",
    )


def multiples(times: Mapping[str, Mapping[str, float]]) -> Picture:
    """Each distance as a multiple of what real volumes have among themselves.

    Args:
        times: candidate → distance's name → multiple; NaN is left out.
    """
    names = list(next(iter(times.values())))
    chart = new_chart(9.6, 0.55 * len(names) + 1.5)
    panel: Any = chart.subplots()
    lines = lines_of(times)
    height = 0.8 / len(times)
    for place, (candidate, values) in enumerate(times.items()):
        at = np.arange(len(names)) + (place - (len(times) - 1) / 2) * height
        widths = [values[name] for name in names]
        bars = panel.barh(
            at,
            np.nan_to_num(widths),
            height,
            color=lines[candidate]["color"],
            label=said(candidate),
        )
        labels = [f"{width:.1f}" if np.isfinite(width) else "not measured" for width in widths]
        panel.bar_label(bars, labels, fontsize=7, padding=2, color=INK)
    panel.axvline(1, color=REAL, linewidth=1.2)
    panel.set_yticks(range(len(names)), [said(name) for name in names], fontsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.set_xlabel("times the distance of real volumes among themselves (the line)", fontsize=9)
    panel.tick_params(axis="x", labelsize=8)
    panel.set_facecolor(PAPER)
    legend_beside(chart, panel)
    return Picture(
        "multiples",
        png_bytes(chart),
        "Distances to the style collection as multiples of what its own volumes have from each "
        "other; a bar that ends near the line cannot be told from a real volume by that distance.",
        f"A bar chart of {len(names)} distances for {_list(times)}.",
    )


def slices_side_by_side(
    columns: Sequence[tuple[str, Sequence[Array]]],
    aspect: float = 1.0,
    made: Collection[str] = (),
) -> Picture:
    """Slices of the translation under each other beside real ones.

    Args:
        columns: what each column shows and its slices (h, w), of any sizes.
        aspect: height over width of a pixel.
        made: columns that are marked as synthetic.
    """
    rows = max(len(slices) for _, slices in columns)
    chart = new_chart(1.9 * len(columns) + 0.2, 1.9 * rows + 0.5)
    panels: Any = chart.subplots(rows, len(columns), squeeze=False)
    for panel in panels.ravel():
        panel.set_axis_off()
    for column, (heading, slices) in enumerate(columns):
        panels[0][column].set_title(heading, fontsize=9)
        for row, image in enumerate(slices):
            panel, shown = panels[row][column], display_image(image[None])
            show_slice(panel, shown, aspect, mark=heading in made, shown=_SHOWN)
    return Picture(
        "slices",
        png_bytes(chart),
        "Slices from the lower to the upper part of the body, black around it; −1 is black, 1 "
        "white. The real slices are of other subjects.",
        f"{rows} slices each of {', '.join(heading for heading, _ in columns)}.",
    )


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power + 1e-12)


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(said(name) for name in names)
