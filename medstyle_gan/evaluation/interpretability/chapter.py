"""The chapter *interpretability*: what a translator does, what it looks at, and what it hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.candidates import found_body
from medstyle_gan.evaluation.chapter import (
    TRANSLATION,
    Array,
    Candidate,
    Chapter,
    Figure,
    Mask,
    Picture,
    Subject,
)
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.interpretability import plots
from medstyle_gan.evaluation.interpretability.attribution import input_gradient, occlusion, reach
from medstyle_gan.evaluation.interpretability.intensity_map import IntensityMap, intensity_map
from medstyle_gan.evaluation.interpretability.region import (
    most_unexplained,
    network_input,
    region_at,
)
from medstyle_gan.evaluation.interpretability.regularizers import loss_parts
from medstyle_gan.evaluation.interpretability.steganography import (
    JUDGED,
    CycleUnderNoise,
    cycle_under_noise,
)
from medstyle_gan.evaluation.interpretability.uncertainty import (
    Calibration,
    calibration,
    flip_spread,
)
from medstyle_gan.evaluation.sharing import shared_out
from medstyle_gan.evaluation.visual_effect.body_slices import body_positions
from medstyle_gan.inference import Translator
from medstyle_gan.inference.network.arithmetic import arithmetic
from medstyle_gan.inference.uncertainty import translate_with_spread

_LEAST_VOXELS = 100  # of a region that an intensity map is told for
_MOST_REGIONS = 7
_CYCLE_SLICES = 12
_CELLS, _CELLS_QUICK = 8, 5  # along the longer side of what occlusion covers


@dataclass
class _Findings:
    """What is found subject by subject."""

    figures: list[Figure] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # in order, each once

    def add(
        self,
        name: str,
        value: float,
        subject: str | None = None,
        candidate: str = TRANSLATION,
        unit: str = "",
        better: object = None,
        **of: str,
    ) -> None:
        self.figures.append(
            Figure(name, candidate, value, unit, better, subject, of)  # type: ignore[arg-type]
        )

    def note(self, text: str) -> None:
        self.notes[text] = None

    def join(self, other: _Findings) -> None:
        self.figures += other.figures
        self.pictures += other.pictures
        self.notes |= other.notes


@dataclass
class _OfSubject:
    """What is found of one subject; `maps` has `body` and `region 2`."""

    name: str
    paired: bool
    findings: _Findings = field(default_factory=_Findings)
    maps: dict[str, IntensityMap] = field(default_factory=dict)
    cycle: CycleUnderNoise | None = None
    curve: Calibration | None = None


_Given = tuple[
    Sequence[Subject], Mapping[str, Candidate], EvaluationContext, tuple[int, int, int] | None
]


def run(
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
    voxel: tuple[int, int, int] | None = None,
) -> Chapter:
    """Looks into the translator.

    Args:
        subjects: held-out scans; pictures are of the first.
        candidates: the translation (`translation`) and the references.
        context: its translator gives gradients, the way back and the uncertainty, its metrics
            the losses; what it does not have is left out and said so.
        voxel: of the first subject, the middle of the region whose origin is looked for; None
            for where intensities explain the translation least.

    Returns:
        Figures: `intensity_explained` (for each candidate and subject, and for the translation's
        labelled regions); with truth `uncertainty_correlation` and
        `uncertainty_miscalibration`; with a translator `cycle_collapse`, `cycle_noise_gain`,
        `gradient_reach` and `occlusion_reach`; with a run `loss_share`.

    Raises:
        ValueError: there is no subject, or the voxel lies outside the first one's scan.
    """
    if not subjects:
        raise ValueError("there is no subject to look at")
    if voxel is not None:
        shape = subjects[0].scan.shape
        if not all(0 <= place < side for place, side in zip(voxel, shape, strict=True)):
            raise ValueError(f"voxel {voxel} lies outside a scan of {shape}")
    found = _Findings()
    maps: dict[str, list[IntensityMap]] = {}
    cycles: dict[str, CycleUnderNoise] = {}
    curves: dict[str, Calibration] = {}
    paired = False
    given: _Given = (subjects, candidates, replace(context, workers=1), voxel)
    for own in shared_out(_of_subject, given, len(subjects), context.workers):
        found.join(own.findings)
        for region, of in own.maps.items():
            maps.setdefault(region, []).append(of)
        paired |= own.paired
        if own.curve is not None:
            curves[own.name] = own.curve
        if own.cycle is not None:
            cycles[own.name] = own.cycle
    found.pictures.append(
        plots.intensity_maps({name: plots.mean_map(each) for name, each in maps.items()})
    )
    if not paired:
        found.note("There is no truth to compare the uncertainty with: it needs pairs.")
    if cycles:
        found.pictures.append(plots.noise_curves(cycles))
    if curves:
        found.pictures.append(plots.calibration_curves(curves))
    _add_losses(found, context)
    return Chapter(
        "interpretability", tuple(found.figures), tuple(found.pictures), tuple(found.notes)
    )


def _of_subject(given: _Given, index: int) -> _OfSubject:
    subjects, candidates, context, voxel = given
    subject = subjects[index]
    own = _OfSubject(subject.name, paired=subject.truth is not None)
    found = own.findings
    translation = candidates[TRANSLATION](subject.scan, subject.mask)
    for name, candidate in candidates.items():
        made = candidate(subject.scan, subject.mask)
        of = intensity_map(subject.scan, made, subject.mask)
        found.add("intensity_explained", of.explained, subject.name, name)
        if name == TRANSLATION:
            own.maps["body"] = of
    _add_regions(found, own.maps, subject, translation)
    if own.paired:
        own.curve = _uncertainty(found, subject, translation, candidates[TRANSLATION], context)
    own.cycle = _cycle(found, subject, translation, context)
    if index == 0:
        plane = context.config.data.plane
        maps = plots.difference_maps(subject, translation, plane, _native(context), context.mark)
        found.pictures.append(maps)
        _attribute(found, subject, translation, context, voxel)
    return own


def _add_regions(
    found: _Findings, maps: dict[str, IntensityMap], subject: Subject, translation: Array
) -> None:
    """The intensity map of each labelled region."""
    if subject.labels is None:
        return
    labels = [int(label) for label in np.unique(subject.labels[subject.mask]) if label]
    for label in labels[:_MOST_REGIONS]:
        region = subject.mask & (subject.labels == label)
        if np.count_nonzero(region) < _LEAST_VOXELS:
            found.note(
                f"Regions of fewer than {_LEAST_VOXELS} voxels have no intensity map of their own."
            )
            continue
        of = intensity_map(subject.scan, translation, region)
        maps[f"region {label}"] = of
        found.add("intensity_explained", of.explained, subject.name, region=str(label))
    if len(labels) > _MOST_REGIONS:
        found.note(f"Of the labelled regions the first {_MOST_REGIONS} are shown.")


def _uncertainty(
    found: _Findings,
    subject: Subject,
    translation: Array,
    candidate: Candidate,
    context: EvaluationContext,
) -> Calibration | None:
    assert subject.truth is not None
    if context.translator is None:
        spread = flip_spread(candidate, subject.scan, subject.mask)
        found.note("The uncertainty is the spread over the scan as it is and mirrored.")
    else:
        try:
            networks = context.translator.networks("scan_to_style")
            prepared = _prepared(context.translator, subject.scan, subject, "scan_to_style")
            spread = translate_with_spread(networks, prepared)[1][0]
        except UserError as error:
            found.note(f"No uncertainty: {error}.")
            return None
        found.note(
            "The uncertainty is that of `medstyle translate --uncertainty`: the spread over "
            f"mirrored scans and {len(networks)} generator{'s' if len(networks) > 1 else ''}."
        )
    try:
        curve = calibration(spread, translation - subject.truth, subject.mask)
    except ValueError as error:
        found.note(f"No calibration of the uncertainty: {error}.")
        return None
    found.add("uncertainty_correlation", curve.correlation, subject.name, better="higher")
    found.add("uncertainty_miscalibration", curve.miscalibration, subject.name, better="lower")
    if not np.isfinite([curve.correlation, curve.miscalibration]).all():
        found.note("Where several translations are equal there is no uncertainty to judge.")
    return curve


def _cycle(
    found: _Findings, subject: Subject, translation: Array, context: EvaluationContext
) -> CycleUnderNoise | None:
    translator = context.translator
    if translator is None or "style_to_scan" not in translator.generators:
        found.note(
            "Whether the cycle hides the scan in the translation could not be told: that needs "
            "the generator of the way back."
        )
        return None
    data = context.config.data
    cut = _middle_slices(subject.mask, data.plane, None if data.dims == 3 else _CYCLE_SLICES)
    scan, mask, forward = subject.scan[cut], subject.mask[cut], translation[cut]

    def backward(array: Array, body: Mask) -> Array:
        prepared = _prepared(translator, array, subject, "style_to_scan", body)
        return translator.translate_unit(prepared, "style_to_scan")[0]

    cycle = cycle_under_noise(scan, mask, lambda _, __: forward, backward, context.seed)
    found.add("cycle_collapse", cycle.collapse, subject.name, better="lower")
    found.add("cycle_noise_gain", cycle.gain, subject.name)
    found.note(
        f"Cycle collapse is the share of what the reconstruction knew of the scan that noise of "
        f"{JUDGED} ([-1, 1] units) on the translation takes away (Chu et al. 2017), in the "
        f"{'whole volume' if data.dims == 3 else f'middle {_CYCLE_SLICES} slices'}. The error of "
        "the cycle itself says nothing of the translation and is not given."
    )
    if np.isnan(cycle.collapse):
        found.note("A reconstruction that is worse than one grey knows nothing that it could lose.")
    return cycle


def _middle_slices(mask: Mask, plane: str, count: int | None) -> tuple[slice, ...]:
    cut = [slice(None)] * 3
    if count is not None:
        axis = stacked_axis(plane)
        places = body_positions(mask, plane, mask.shape[axis])
        first = places[max(0, (len(places) - count) // 2)]
        cut[axis] = slice(first, first + count)
    return tuple(cut)


def _attribute(
    found: _Findings,
    subject: Subject,
    translation: Array,
    context: EvaluationContext,
    voxel: tuple[int, int, int] | None,
) -> None:
    """Gradient and occlusion of a region of the first subject."""
    plane = context.config.data.plane
    if context.translator is None:
        found.note("What the network looked at could not be told: that needs the network.")
        return
    if voxel is None:
        region = most_unexplained(subject.scan, translation, subject.mask, plane)
        found.note("The region looked into is where intensities explain the translation least.")
    else:
        region = region_at(voxel, subject.scan.shape, plane)
    network = context.translator.network("scan_to_style")
    given = network_input(network, subject.scan, subject.mask, region)
    axis = stacked_axis(plane)
    first, second = (side for place, side in enumerate(subject.spacing) if place != axis)
    maps = {}
    try:
        values = input_gradient(given)
        maps["gradient"] = (values, reach(values, region.centre, (first, second)))
    except ValueError as error:
        found.note(f"No map of gradients: {error}.")
    cells = _CELLS_QUICK if context.quick else _CELLS
    cell = -(-max(given.image.shape[2:]) // cells)
    with arithmetic(network.device, network.precision):
        values = occlusion(given, cell, float(np.median(subject.scan[subject.mask])))
    maps["occlusion"] = (values, reach(values, region.centre, (first, second)))
    for name, (_, radius) in maps.items():
        found.add(f"{name}_reach", radius, subject.name, unit="mm")
    found.note(
        f"Occlusion covers {cell} × {cell} pixels of the body at a time with its median; reach is "
        "the radius around the region that holds 90 % of a map."
    )
    shown = plots.attribution_maps(subject, translation, region, plane, maps, context.mark)
    found.pictures.append(shown)


def _add_losses(found: _Findings, context: EvaluationContext) -> None:
    parts = loss_parts(context.metrics, context.config.loss)
    if parts is None or not parts.parts:
        found.note(
            "What each regulariser contributed is not known: the model is no run with losses."
        )
        return
    last = slice(-max(1, len(parts.steps) // 10), None)
    for term, share in parts.shares.items():
        found.add("loss_share", float(share[last].mean()), term=term)
    found.note("Shares of the loss are means over the last tenth of the training.")
    if parts.unknown:
        found.note(
            f"Logged losses whose weight is not known are left out: {', '.join(parts.unknown)}."
        )
    found.pictures.append(plots.loss_shares(parts))


def _native(context: EvaluationContext) -> float | None:
    """Native units that 1 in [-1, 1] stands for; those of MR have no meaning of their own."""
    if context.style_scale is None or not context.hounsfield:
        return None
    return float(context.style_scale.half_range)


def _prepared(
    translator: Translator,
    array: Array,
    subject: Subject,
    direction: Direction,
    body: Mask | None = None,
) -> Prepared:
    """An array in [-1, 1] as the translator takes volumes, its body found as translation does."""
    if body is None:
        body = found_body(array, translator.scales["scan"]) | subject.mask
    outside = array[~body]
    return Prepared(
        array=np.array(array[None], dtype=np.float32, order="C"),
        affine=np.diag([*subject.spacing, 1.0]),
        foreground=body,
        scale=FittedScale(center=0.0, half_range=1.0, clip=False),
        integer=False,
        background=float(np.median(outside)) if outside.size else float(array.min()),
    )
