"""What every chapter of an evaluation is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]

ChapterName = Literal[
    "fidelity",
    "structure",
    "visual_effect",
    "robustness",
    "efficiency",
    "interpretability",
    "hallucination",
]
CHAPTERS: tuple[ChapterName, ...] = (
    "fidelity",
    "structure",
    "visual_effect",
    "robustness",
    "efficiency",
    "interpretability",
    "hallucination",
)

TRANSLATION = "translation"
"""The candidate's name that is the translator's; the others are references."""

Candidate = Callable[[Array, Mask], Array]
"""(scan (X, Y, Z) in [-1, 1], mask (X, Y, Z)) → its translation (X, Y, Z) in [-1, 1].

The translator and the references (`evaluation.references`) alike; a chapter may call it with any
changed scan. It is deterministic.
"""


@dataclass(frozen=True)
class Subject:
    """One held-out scan and what is known of it; arrays (X, Y, Z), axes R, A, S.

    Attributes:
        name: as it is shown (`subject 1` where names are kept private).
        scan: float32 in [-1, 1], by its own intensity scale.
        mask: bool, the voxels that count (the body).
        mask_given: whether the mask is the user's; else it was made.
        spacing: voxel size (mm).
        truth: the true style volume in [-1, 1], or None where there is no pair.
        labels: integer regions, 0 being none of them, or None.
        lesions: bool, lesions that the user marked, or None.
        native_truth: the true style volume in native units, not clipped, or None.
    """

    name: str
    scan: Array
    mask: Mask
    mask_given: bool
    spacing: tuple[float, float, float]
    truth: Array | None = None
    labels: Labels | None = None
    lesions: Mask | None = None
    native_truth: Array | None = None


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        name: the metric (`psnr`); with `of`, unique in its chapter for a candidate and subject.
        candidate: `translation` or a reference's name.
        value: the number; NaN where it is not defined, with the reason in the chapter's notes.
        unit: `dB`, `mm`, `s`, or empty.
        better: the direction that is better; None where neither is (a share, a count).
        subject: whose; None for a figure of the whole collection.
        of: what it is a figure of, besides: a region, a severity, a size (`{"region": "2"}`).
    """

    name: str
    candidate: str
    value: float
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    subject: str | None = None
    of: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A picture of a chapter for the report.

    Attributes:
        name: a file's name without suffix, unique in the chapter.
        png: the PNG file's bytes.
        caption: one sentence under it.
        alt: what is to be seen, for those who do not see it.
    """

    name: str
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Chapter:
    """The findings of one chapter.

    Attributes:
        name: which chapter.
        figures: every number, of the translation and the references alike.
        pictures: plots and montages.
        notes: sentences on how it was measured and what could not be.
    """

    name: ChapterName
    figures: tuple[Figure, ...]
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
