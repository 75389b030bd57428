"""Pictures of the chapter: differences, attribution, intensity maps, losses, noise, uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from medstyle_gan.data.slices import display_image, slice_aspect, stacked_axis, to_slices
from medstyle_gan.evaluation.chapter import TRANSLATION, Array, Picture, Subject
from medstyle_gan.evaluation.interpretability.attribution import Map
from medstyle_gan.evaluation.interpretability.intensity_map import EDGES, IntensityMap
from medstyle_gan.evaluation.interpretability.region import Region
from medstyle_gan.evaluation.interpretability.regularizers import LossParts
from medstyle_gan.evaluation.interpretability.steganography import JUDGED, CycleUnderNoise
from medstyle_gan.evaluation.interpretability.uncertainty import Calibration
from medstyle_gan.evaluation.marking import show_slice
from medstyle_gan.evaluation.visual_effect.body_slices import body_positions
from medstyle_gan.evaluation.visual_effect.drawing import INK, PAPER, lines_of, new_chart, png_bytes

_UNIT = "[-1, 1] units"
_ROWS = 3


def difference_maps(
    subject: Subject,
    translation: Array,
    plane: str,
    native: float | None = None,
    mark: bool = True,
) -> Picture:
    """What the translation changed, and where it is wrong, with one colour bar for all.

    Args:
        subject: its scan, and the truth where there is one.
        translation: (X, Y, Z) in [-1, 1].
        plane: of the slices.
        native: Hounsfield units that 1 in [-1, 1] stands for; None where they are not.
        mark: write SYNTHETIC into the translation.
    """
    differences = {"translation − scan": translation - subject.scan}
    images = {"scan": subject.scan, "translation": translation}
    if subject.truth is not None:
        images["truth"] = subject.truth
        differences["translation − truth"] = translation - subject.truth
    inside = np.concatenate([np.abs(d[subject.mask]) for d in differences.values()])
    limit = max(0.1, math.ceil(float(np.percentile(inside, 99.5)) * 10) / 10)
    columns = images | differences
    places = body_positions(subject.mask, plane, _ROWS)
    chart = new_chart(2.0 * len(columns) + 1.0, 2.1 * len(places) + 0.4)
    panels: Any = chart.subplots(len(places), len(columns), squeeze=False)
    aspect = slice_aspect(subject.spacing, plane)
    shown: Any = None
    for panel, name in zip(panels[0], columns, strict=True):
        panel.set_title(name, fontsize=9)
    for row, place in zip(panels, places, strict=True):
        for panel, (name, volume) in zip(row, columns.items(), strict=True):
            image = display_image(to_slices(volume[None], plane)[place])
            if name in differences:
                look: Any = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
                shown = panel.imshow(image, aspect=aspect, interpolation="nearest", **look)
            else:
                show_slice(panel, image, aspect, mark=mark and name == TRANSLATION)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"slice {place + 1}", fontsize=8)
    beyond = float((inside > limit).mean())
    bar = chart.colorbar(
        shown,
        ax=panels[:, -len(differences) :],
        extend="both" if beyond else "neither",
        label=f"difference ({_UNIT}" + (")" if native is None else f"; 1 is {native:.4g} HU)"),
    )
    bar.ax.tick_params(labelsize=8)
    sizes = ", ".join(
        f"{name}: mean absolute {np.abs(d[subject.mask]).mean():.3f}, 99th percentile "
        f"{np.percentile(np.abs(d[subject.mask]), 99):.3f}"
        for name, d in differences.items()
    )
    return Picture(
        "difference_maps",
        png_bytes(chart),
        f"{subject.name}: red is brighter, blue darker in the translation. In the body, {sizes} "
        f"({_UNIT}); {beyond:.1%} of differences are beyond the colour bar.",
        f"{len(places)} slices of {', '.join(columns)}; the differences in red and blue.",
    )


def attribution_maps(
    subject: Subject,
    translation: Array,
    region: Region,
    plane: str,
    maps: Mapping[str, tuple[Map, float]],
    mark: bool = True,
) -> Picture:
    """What a region of the translation hangs on in the scan.

    Args:
        subject: whose.
        translation: (X, Y, Z) in [-1, 1].
        region: of which the maps are.
        plane: of its slice.
        maps: name → map over the slice (H, W) and its reach (mm).
        mark: write SYNTHETIC into the translation.
    """
    chart = new_chart(2.7 * (2 + len(maps)), 3.1)
    panels: Any = chart.subplots(1, 2 + len(maps))
    aspect = slice_aspect(subject.spacing, plane)
    rotated = subject.scan.shape[[a for a in range(3) if a != stacked_axis(plane)][1]]
    for panel, (name, volume) in zip(
        panels, {"scan": subject.scan, "translation": translation}.items(), strict=False
    ):
        image = display_image(to_slices(volume[None], plane)[region.slice])
        show_slice(panel, image, aspect, mark=mark and name == TRANSLATION)
        panel.set_title(name, fontsize=9)
    for panel, (name, (values, reach)) in zip(panels[2:], maps.items(), strict=True):
        # Few voxels hold most of a gradient: its root can be seen, and the bar tells its values.
        peak = float(values.max()) or 1.0
        image = display_image(np.sqrt(values / peak)[None])
        made = panel.imshow(
            image, cmap="magma", vmin=0, vmax=1, aspect=aspect, interpolation="nearest"
        )
        panel.set_title(f"{name}\n90 % within {reach:.0f} mm", fontsize=9)
        ticks = np.array([0, 0.1, 0.4, 1.0])
        bar = chart.colorbar(made, ax=panel, ticks=np.sqrt(ticks), shrink=0.8)
        bar.ax.set_yticklabels([f"{peak * tick:.2g}" for tick in ticks], fontsize=7)
    for panel in panels:
        panel.set(xticks=[], yticks=[])
        # display_image turns by a quarter: the second axis goes up.
        (left, right), (bottom, top) = region.rows, region.columns
        corner = (left - 0.5, rotated - top - 0.5)
        panel.add_patch(
            Rectangle(
                corner, right - left, top - bottom, fill=False, color="#00c8ff", linewidth=1.2
            )
        )
    return Picture(
        "attribution",
        png_bytes(chart),
        f"{subject.name}, slice {region.slice + 1}: what the mean of the translation in the "
        "marked square hangs on. Gradient: change for a change of one voxel; occlusion: change "
        f"when a part of the scan is covered ({_UNIT}).",
        "The scan and its translation with a marked square, and maps of "
        f"{' and '.join(maps)} around it.",
    )


def intensity_maps(maps: Mapping[str, IntensityMap]) -> Picture:
    """Joint histograms of scan and translation with the mean curve.

    Args:
        maps: what each is of (`body`, a region) → the map.
    """
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    chart = new_chart(2.6 * columns + 0.6, 2.6 * rows + 0.5)
    panels: Any = chart.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    for panel in panels.ravel()[len(maps) :]:
        panel.set_axis_off()
    for panel, (name, of) in zip(panels.ravel(), maps.items(), strict=False):
        share = of.counts.T / max(1, of.counts.max())
        panel.imshow(
            np.ma.masked_equal(np.sqrt(share), 0),
            origin="lower",
            extent=(-1, 1, -1, 1),
            cmap="Blues",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        panel.plot(middles, of.mean, color="#d55e00", linewidth=1.8)
        panel.plot([-1, 1], [-1, 1], color=INK, linewidth=0.7, linestyle=":")
        panel.set_title(f"{name}: {of.explained:.0%} explained", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.set_facecolor(PAPER)
    chart.supxlabel(f"scan ({_UNIT})", fontsize=9)
    chart.supylabel(f"translation ({_UNIT})", fontsize=9)
    return Picture(
        "intensity_maps",
        png_bytes(chart),
        "What the translator makes of each intensity, over all subjects: voxels in blue, their "
        "mean in orange; the dotted line is no change. What is not explained by intensity comes "
        "from the surroundings.",
        f"Joint histograms of scan and translation intensities for {', '.join(maps)}.",
    )


def loss_shares(parts: LossParts) -> Picture:
    """Each term's share of the generators' loss over training.

    Args:
        parts: as `loss_parts` gives them.
    """
    chart = new_chart(8.0, 3.4)
    panel: Any = chart.subplots()
    shares = parts.shares
    if len(parts.steps) > 1:
        colours = [line["color"] for line in lines_of(shares).values()]
        panel.stackplot(
            parts.steps,
            *shares.values(),
            labels=[name.replace("_", " ") for name in shares],
            colors=colours,
            edgecolor=PAPER,
            linewidth=0.5,
        )
        panel.set_xlim(parts.steps[0], parts.steps[-1])
    else:
        names = [name.replace("_", " ") for name in shares]
        panel.bar(names, [float(share[0]) for share in shares.values()], color="#0072b2")
    panel.set_ylim(0, 1)
    panel.set_xlabel("step", fontsize=9)
    panel.set_ylabel("share of the weighted loss", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.set_facecolor(PAPER)
    if len(parts.steps) > 1:
        handles, labels = panel.get_legend_handles_labels()
        panel.legend(
            handles[::-1], labels[::-1], fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5)
        )
    return Picture(
        "loss_shares",
        png_bytes(chart),
        "What each term made up of the generators' loss while it trained (weight times value). A "
        "small share may still pull hard: shares of a loss are not shares of its gradient.",
        f"Shares of {', '.join(shares)} in the loss over {parts.steps[-1]} steps.",
    )


def noise_curves(cycles: Mapping[str, CycleUnderNoise]) -> Picture:
    """Error of the reconstruction against noise on the translation.

    Args:
        cycles: subject → how its cycle fared.
    """
    chart = new_chart(6.5, 3.4)
    panel: Any = chart.subplots()
    for number, cycle in enumerate(cycles.values()):
        panel.plot(
            cycle.noise,
            cycle.error,
            color="#d55e00",
            marker="o",
            markersize=3,
            linewidth=1.2,
            alpha=0.8,
            label="reconstruction" if number == 0 else None,
        )
    contrast = float(np.mean([cycle.contrast for cycle in cycles.values()]))
    panel.axhline(contrast, color=INK, linewidth=1, linestyle="--", label="knows only the mean")
    panel.axvline(JUDGED, color="0.6", linewidth=1, linestyle=":", label="judged here")
    panel.set_ylim(bottom=0)
    panel.set_xlabel(f"noise added to the translation (standard deviation, {_UNIT})", fontsize=9)
    panel.set_ylabel("error of the reconstruction\n(root mean square)", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.set_facecolor(PAPER)
    panel.legend(fontsize=8)
    return Picture(
        "cycle_under_noise",
        png_bytes(chart),
        "The way back from a translation with faint noise on it, one line a subject. A steep rise "
        "at the left means that the scan was hidden in the translation; the error without noise "
        "is no figure of fidelity.",
        "A line chart of reconstruction error against noise.",
    )


def calibration_curves(curves: Mapping[str, Calibration]) -> Picture:
    """Error against spread, in tenths of the voxels.

    Args:
        curves: subject → how spread and error go together.
    """
    chart = new_chart(4.6, 4.2)
    panel: Any = chart.subplots()
    largest = 0.0
    for curve in curves.values():
        panel.plot(
            curve.spread,
            curve.error,
            color="#0072b2",
            marker="o",
            markersize=3,
            linewidth=1.1,
            alpha=0.8,
        )
        largest = max(largest, float(curve.spread.max()), float(curve.error.max()))
    panel.plot([0, largest], [0, largest], color=INK, linewidth=1, linestyle=":")
    panel.set_xlim(0, largest * 1.05 or 1)
    panel.set_ylim(0, largest * 1.05 or 1)
    panel.set_xlabel(f"spread of translations ({_UNIT})", fontsize=9)
    panel.set_ylabel(f"error ({_UNIT})", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.set_facecolor(PAPER)
    return Picture(
        "uncertainty",
        png_bytes(chart),
        "Error against spread of the translations, in tenths of each subject's voxels; on the "
        "dotted line the spread is the error's size, above it the translator is surer than right.",
        f"A chart of error against spread for {len(curves)} subjects.",
    )


def mean_map(maps: Sequence[IntensityMap]) -> IntensityMap:
    """The map of all voxels of several maps.

    Args:
        maps: at least one.
    """
    counts = np.sum([of.counts for of in maps], axis=0)
    weights = np.stack([of.counts.sum(axis=1) for of in maps]).astype(np.float64)
    means = np.stack([np.nan_to_num(of.mean) for of in maps])
    squares = np.stack(
        [np.nan_to_num(of.deviation) ** 2 + np.nan_to_num(of.mean) ** 2 for of in maps]
    )
    total = weights.sum(axis=0)
    safe = np.where(total == 0, 1, total)
    mean = (weights * means).sum(axis=0) / safe
    variance = np.maximum(0, (weights * squares).sum(axis=0) / safe - mean**2)
    overall = (total * mean).sum() / total.sum()
    within = (total * variance).sum()
    between = (total * (mean - overall) ** 2).sum()
    empty = total == 0
    return IntensityMap(
        counts,
        np.where(empty, np.nan, mean),
        np.where(empty, np.nan, np.sqrt(variance)),
        float(between / (within + between)) if within + between > 0 else float("nan"),
    )
