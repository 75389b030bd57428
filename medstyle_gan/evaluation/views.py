"""Slices of a subject in three planes, to look at: scan, translation, truth, difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.config.data_section import Plane
from medstyle_gan.data.preprocessing import display_image, slice_aspect
from medstyle_gan.data.slices import stacked_axis, to_slices
from medstyle_gan.evaluation.chapter import TRANSLATION, Candidate, Subject

PLANES: tuple[Plane, ...] = get_args(Plane)


@dataclass(frozen=True)
class View:
    """One slice of a subject.

    Attributes:
        plane: its plane.
        slice: its number, from 1.
        slices: how many there are.
        images: name → float32 (rows, columns) in [-1, 1], anterior or superior up.
        difference: translation − truth (without truth: − scan), float32 (rows, columns).
        aspect: height over width of a pixel.
    """

    plane: Plane
    slice: int
    slices: int
    images: Mapping[str, NDArray[np.float32]]
    difference: NDArray[np.float32]
    aspect: float


@dataclass(frozen=True)
class SubjectViews:
    """Slices of one subject.

    Attributes:
        name: the subject's.
        views: one a plane.
        against: what the difference is taken from: `truth` or `scan`.
    """

    name: str
    views: tuple[View, ...]
    against: str


def view_subject(subject: Subject, candidates: Mapping[str, Candidate]) -> SubjectViews:
    """The slice of each plane that half of the mask lies on either side of.

    Args:
        subject: whose.
        candidates: the translation is shown.
    """
    translation = candidates[TRANSLATION](subject.scan, subject.mask)
    images = {"scan": subject.scan, TRANSLATION: translation}
    if subject.truth is not None:
        images["truth"] = subject.truth
    against = "scan" if subject.truth is None else "truth"
    views = []
    for plane in PLANES:
        axis = stacked_axis(plane)
        others = tuple(a for a in range(3) if a != axis)
        below = np.cumsum(subject.mask.sum(axis=others))
        index = int(np.searchsorted(below, below[-1] / 2))
        shown = {name: _slice(array, plane, index) for name, array in images.items()}
        views.append(
            View(
                plane=plane,
                slice=index + 1,
                slices=subject.scan.shape[axis],
                images=shown,
                difference=shown[TRANSLATION] - shown[against],
                aspect=slice_aspect(subject.spacing, plane),
            )
        )
    return SubjectViews(subject.name, tuple(views), against)


def _slice(array: NDArray[np.float32], plane: str, index: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(display_image(to_slices(array[None], plane)[index]))
