"""The chapter *visual effect*: do translations look like real images of the style, as a whole?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from medstyle_gan.data.slices import slice_aspect
from medstyle_gan.evaluation.chapter import (
    TRANSLATION,
    Candidate,
    Chapter,
    Figure,
    Picture,
    Subject,
)
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.sharing import shared_out
from medstyle_gan.evaluation.visual_effect.distances import feature_scale, frechet_distance
from medstyle_gan.evaluation.visual_effect.features import InceptionFeatures, VGGLooks
from medstyle_gan.evaluation.visual_effect.looks import DISTANCES, Look, Looker, RealLooks
from medstyle_gan.evaluation.visual_effect.plots import (
    histograms,
    multiples,
    slices_side_by_side,
    spectra,
)
from medstyle_gan.evaluation.visual_effect.reader_study import reader_figures
from medstyle_gan.evaluation.wording import title

_SLICES, _SLICES_QUICK = 12, 6
_STYLE_VOLUMES, _STYLE_VOLUMES_QUICK = 16, 6
_SHOWN, _COLUMNS = 4, 2  # slices of each volume, and volumes of each kind
_TIMES_REAL = "times_real"
_UNITS = {"spectrum_distance": "dB", "slice_spectrum_distance": "dB"}
_Given = tuple[Sequence[Subject], Mapping[str, Candidate], Looker, RealLooks]


def run(
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
) -> Chapter:
    """Compares how candidates and real style volumes look, without pairs.

    Args:
        subjects: held-out scans.
        candidates: the translation first, then the references.
        context: its style volumes are what is compared with. Where it names weights of
            Inception-v3, `kid` and `frechet_distance` are of its features, else of VGG-19's.

    Returns:
        Figures: for each subject `kid`, `sliced_wasserstein`, `gram_distance`,
        `intensity_distance`, `spectrum_distance`, `slice_spectrum_distance` and their
        `times_real`, `slice_consistency` and `checkerboard`; for all subjects together
        `frechet_distance`; and those of `reader_figures` where readers were asked.

    Raises:
        UserError: weights of a feature network are missing or not its own.
        ValueError: there is no subject.
    """
    if not subjects:
        raise ValueError("there is no subject to look at")
    plane = context.config.data.plane
    slices = _SLICES_QUICK if context.quick else _SLICES
    look = Looker(*feature_networks(context), plane, slices)
    real, notes = _real_looks(subjects, context, look)
    told, said = ([], []) if context.reader_study is None else reader_figures(context.reader_study)
    if real is None:
        return Chapter("visual_effect", tuple(told), notes=(*notes, *said))
    looks: dict[str, list[Look]] = {name: [] for name in candidates}
    times: dict[str, dict[str, list[float]]] = {}
    figures: list[Figure] = []
    spacings = []
    among = real.among_themselves  # once, not in every process
    given: _Given = (subjects, candidates, look, real)
    for spacing, found in shared_out(_of_subject, given, len(subjects), context.workers):
        spacings.append(spacing)
        for name, seen, own in found:
            multiples_of = times.setdefault(name, {})
            for figure in own:
                figures.append(figure)
                if figure.name == _TIMES_REAL:
                    multiples_of.setdefault(str(figure.of["distance"]), []).append(figure.value)
            looks[name].append(seen)
    for name, each in looks.items():
        figures.append(Figure("frechet_distance", name, _frechet(each, real), better="lower"))
    pictures = [spectra(looks, real), histograms(looks, real)]
    if among:
        means = {
            name: {metric: _mean(values) for metric, values in metrics.items()}
            for name, metrics in times.items()
        }
        pictures.insert(0, multiples(means))
    aspect = slice_aspect(spacings[0], plane)
    pictures.append(_slices(looks, real, aspect, context.mark))
    notes += _how(look, real, looks, slices, plane)
    notes += _spacing_notes(spacings, context)
    return Chapter(
        "visual_effect", (*figures, *told), tuple(pictures), tuple(dict.fromkeys([*notes, *said]))
    )


def _of_subject(
    given: _Given, index: int
) -> tuple[tuple[float, float, float], list[tuple[str, Look, list[Figure]]]]:
    """A subject's voxel size, and of each candidate its look and what is told of it."""
    subjects, candidates, look, real = given
    subject = subjects[index]
    found = []
    for name, candidate in candidates.items():
        seen = look(candidate(subject.scan, subject.mask), subject.mask)
        own = list(_figures(seen, real, name, subject.name))
        if index >= _COLUMNS:  # of a hundred subjects images would fill the memory
            seen = replace(seen, images=seen.images[:0])
        found.append((name, replace(seen, grams={}), own))
    return subject.spacing, found


def feature_networks(context: EvaluationContext) -> tuple[VGGLooks, InceptionFeatures | None]:
    """The networks that look at images, Inception-v3 where the context names its weights.

    Raises:
        UserError: weights are missing or not the network's own.
    """
    inception = None if context.inception is None else InceptionFeatures(context.inception)
    return VGGLooks(context.vgg.weights), inception


def _figures(look: Look, real: RealLooks, candidate: str, subject: str) -> Iterator[Figure]:
    """What is told of one volume."""
    distances = real.distances(look)
    for name, value in distances.items():
        yield Figure(name, candidate, value, _UNITS.get(name, ""), "lower", subject)
    for name, value in _times_real(distances, real.among_themselves).items():
        yield Figure(_TIMES_REAL, candidate, value, "× real", "lower", subject, {"distance": name})
    yield Figure("checkerboard", candidate, real.checkerboard(look), "dB", "lower", subject)
    yield Figure("slice_consistency", candidate, real.slice_consistency(look), "", None, subject)


def _real_looks(
    subjects: Sequence[Subject], context: EvaluationContext, look: Looker
) -> tuple[RealLooks | None, list[str]]:
    """The style collection's looks; the true style volumes' where there is no collection."""
    most = _STYLE_VOLUMES_QUICK if context.quick else _STYLE_VOLUMES
    notes: list[str] = []
    if context.style:
        middles = (np.arange(most) + 0.5) / most * len(context.style) - 0.5
        places = np.unique(np.rint(middles).clip(0, len(context.style) - 1).astype(int))
        if len(context.style) > most:
            notes.append(
                f"Of {len(context.style)} style volumes {len(places)}, evenly spread over the "
                "list, stand for the collection."
            )
        chosen = [context.style[place] for place in places]
        found = [look(*volume.load()) for volume in chosen]
        return RealLooks(found, [volume.subject for volume in chosen], context.seed), notes
    truths: dict[str, Look] = {}
    for subject in subjects:
        if subject.truth is not None and len(truths) < most:
            truths[subject.name] = look(subject.truth, subject.mask)
    if not truths:
        return None, ["There is no real style volume to compare with, so nothing was measured."]
    notes.append(
        "There is no style collection: the true style volumes of the same subjects stand for it, "
        "so that distances are smaller than to volumes of others."
    )
    return RealLooks(list(truths.values()), list(truths), context.seed), notes


def _times_real(distances: Mapping[str, float], among: Mapping[str, float]) -> dict[str, float]:
    return {
        name: distances[name] / among[name] if among[name] > 0 else float("nan")
        for name in DISTANCES
        if name in among
    }


def _frechet(looks: Sequence[Look], real: RealLooks) -> float:
    features = torch.cat([look.features for look in looks])
    if min(len(features), len(real.features)) < 2:
        return float("nan")
    scale = feature_scale(real.features)
    return frechet_distance(features / scale, real.features / scale)


def _slices(
    looks: Mapping[str, Sequence[Look]], real: RealLooks, aspect: float, mark: bool
) -> Picture:
    first = next(iter(looks))
    columns = [(first, looks[first][:_COLUMNS]), ("real", real.looks[:_COLUMNS])]
    shown = []
    for heading, each in columns:
        for look in each:
            count = len(look.images)
            places = np.unique(np.linspace(0, count - 1, min(_SHOWN, count)).round().astype(int))
            shown.append((heading, [look.images[place, 0].numpy() for place in places]))
    return slices_side_by_side(shown, aspect, {TRANSLATION} if mark else ())


def _how(
    looker: Looker,
    real: RealLooks,
    looks: Mapping[str, Sequence[Look]],
    slices: int,
    plane: str,
) -> list[str]:
    candidate = next(iter(looks.values()))
    images, features = sum(len(look.features) for look in candidate), real.features.shape[1]
    notes = [
        f"Up to {slices} {plane} slices of each volume are compared, evenly spread over the body, "
        "cut to its box and black around it.",
        f"Features: {looker.features_name}, divided by their root mean square in real images; "
        "their distances compare with each other, not with those of other networks.",
        f"The Fréchet distance is of all subjects together and has no interval; with {images} "
        f"translated and {len(real.features)} real slices for {features} features it is biased "
        "upwards, alike for all candidates.",
        "Histogram matching has the smallest intensity distance by construction, and doing nothing "
        "has its own slices' real order: to lose to a reference in one distance alone says little.",
    ]
    among = real.among_themselves
    if among:
        told = ", ".join(
            f"{title(name)} {value:.3g}{' dB' if name in _UNITS else ''}"
            for name, value in among.items()
        )
        notes.append(
            f"Real volumes have from those of the other subjects ({len(real.looks)} volumes): "
            f"{told}."
        )
    else:
        notes.append(
            "All style volumes are of one subject, so that there is no telling how far real "
            "volumes are from each other (times real)."
        )
    if real.peaks is None:
        notes.append("Slices under 16 pixels show no checkerboard: not measured.")
    if real.slice_spectrum is None:
        notes.append("No spectrum along the slices: volumes have fewer than 8 that overlap.")
    return notes


def _spacing_notes(
    spacings: Sequence[tuple[float, float, float]], context: EvaluationContext
) -> list[str]:
    """Textures compare only where pixels are of one size."""
    if not context.style:
        return []
    ours = np.median(spacings, axis=0)
    real = np.median([volume.spacing for volume in context.style], axis=0)
    if np.abs(np.log(ours / real)).max() < 0.1:
        return []
    return [
        f"Voxels of scans ({_size(ours)} mm) and of style volumes ({_size(real)} mm) differ: "
        "textures, spectra and slice consistency compare what is not on one grid."
    ]


def _size(spacing: np.ndarray) -> str:
    return " × ".join(f"{side:.2f}" for side in spacing)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
