"""A reader study as figures: accuracy against chance, quality, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import binomtest

from medstyle_gan.evaluation.chapter import TRANSLATION, Figure
from medstyle_gan.evaluation.visual_effect.reader_study.agreement import agreement
from medstyle_gan.evaluation.visual_effect.reader_study.reading import (
    KINDS,
    QUALITIES,
    Rating,
    ReaderStudy,
)


def reader_figures(study: ReaderStudy) -> tuple[list[Figure], list[str]]:
    """What readers' ratings say.

    Readers are numbered; their codes stay in their files.

    Args:
        study: with any number of readers.

    Returns:
        The figures, and sentences on how they came about. For each reader: `reader_accuracy`,
        the share told rightly, which is best at 0.5 or below; `reader_p`, the exact two-sided
        binomial test against 0.5; `reader_quality` of real and of translated slices (1 to 5). For
        two readers and more: the mean accuracy (reader `all`), and `reader_agreement` on what
        slices are and on their quality, over slices that all have rated.
    """
    figures: list[Figure] = []
    notes: list[str] = []
    accuracies = []
    for number, ratings in enumerate(study.ratings, start=1):
        reader = str(number)
        if not ratings:
            notes.append(f"Reader {reader} has rated no slice.")
            continue
        right = sum(rating.said == study.kinds[name] for name, rating in ratings.items())
        test = binomtest(right, len(ratings), 0.5)
        low, high = test.proportion_ci(0.95, method="exact")
        accuracies.append(right / len(ratings))
        figures += [
            _figure("reader_accuracy", right / len(ratings), "lower", reader=reader),
            _figure("reader_p", float(test.pvalue), None, reader=reader),
        ]
        notes.append(
            f"Reader {reader} told {right} of {len(ratings)} slices rightly (95 % interval "
            f"{low:.2f} to {high:.2f}; by guessing 0.5, exact binomial p = {test.pvalue:.3g})"
            + _left_out(len(study.kinds) - len(ratings))
        )
        for kind in KINDS:
            given = [r.quality for name, r in ratings.items() if study.kinds[name] == kind]
            if given:
                mean = float(np.mean(given))
                figures.append(
                    _figure("reader_quality", mean, "higher", reader=reader, slices=kind)
                )
    if len(accuracies) > 1:
        figures.append(
            _figure("reader_accuracy", float(np.mean(accuracies)), "lower", reader="all")
        )
        figures += _agreements([ratings for ratings in study.ratings if ratings], notes)
    if not study.ratings:
        notes.append("The reader study has no ratings yet: put the readers' files in ratings/.")
    return figures, notes


def _agreements(ratings: Sequence[Mapping[str, Rating]], notes: list[str]) -> list[Figure]:
    common = sorted(set.intersection(*(set(mine) for mine in ratings)))
    which = "Cohen's (quadratic weights for quality)" if len(ratings) == 2 else "Fleiss'"
    notes.append(
        f"Agreement is {which} kappa over the {len(common)} slices that all {len(ratings)} readers "
        "have rated: 1 is full agreement, 0 what chance gives."
    )
    said = [[KINDS.index(mine[name].said) for name in common] for mine in ratings]
    quality = [[QUALITIES.index(mine[name].quality) for name in common] for mine in ratings]
    return [
        _figure("reader_agreement", agreement(said, len(KINDS)), None, on="kind"),
        _figure(
            "reader_agreement", agreement(quality, len(QUALITIES), ordered=True), None, on="quality"
        ),
    ]


def _left_out(count: int) -> str:
    return f"; {count} were left out." if count else "."


def _figure(name: str, value: float, better: object, **of: str) -> Figure:
    return Figure(name, TRANSLATION, value, "", better, None, of)  # type: ignore[arg-type]
