"""Figures of many subjects in one line each: mean, interval, number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medstyle_gan.evaluation.bootstrap import confidence_interval
from medstyle_gan.evaluation.chapter import Figure

Key = tuple[str, tuple[tuple[str, str | float], ...]]


@dataclass(frozen=True)
class Summary:
    """One metric of one candidate over all subjects.

    Attributes:
        name: the metric.
        of: what it is a figure of, besides.
        candidate: whose.
        unit: of the values.
        better: the direction that is better.
        values: subject → value; of a figure of the whole collection the only key is None.
        interval: 95 % bootstrap interval of the mean, see `confidence_interval`.
    """

    name: str
    of: Mapping[str, str | float]
    candidate: str
    unit: str
    better: Literal["higher", "lower"] | None
    values: Mapping[str | None, float]
    interval: tuple[float, float] | None

    @property
    def key(self) -> Key:
        """What it is a summary of, whoever's it is."""
        return key_of(self.name, self.of)

    @property
    def mean(self) -> float:
        """Over the subjects; NaN where any of them is."""
        return float(np.mean(list(self.values.values())))

    @property
    def of_collection(self) -> bool:
        """Whether it is a figure of the whole collection, which has no subjects to resample."""
        return None in self.values


def key_of(name: str, of: Mapping[str, str | float]) -> Key:
    """A metric's name and what it is of, as a key."""
    return name, tuple(sorted(of.items(), key=lambda entry: entry[0]))


def summarize(figures: Iterable[Figure], seed: int = 0) -> list[Summary]:
    """One summary for each metric and candidate, in order of appearance.

    Args:
        figures: of a chapter.
        seed: of the bootstrap.
    """
    groups: dict[tuple[Key, str], list[Figure]] = {}
    for figure in figures:
        key = key_of(figure.name, figure.of), figure.candidate
        groups.setdefault(key, []).append(figure)
    return [_summary(group, seed) for group in groups.values()]


def _summary(group: Sequence[Figure], seed: int) -> Summary:
    first = group[0]
    values = {figure.subject: figure.value for figure in group}
    of_subjects = [value for subject, value in values.items() if subject is not None]
    return Summary(
        name=first.name,
        of=dict(first.of),
        candidate=first.candidate,
        unit=first.unit,
        better=first.better,
        values=values,
        interval=None if None in values else confidence_interval(of_subjects, seed),
    )
