"""Several translators on the same subjects: a ranking, and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.stats import rankdata, wilcoxon

from medstyle_gan.evaluation.bootstrap import LEAST_SUBJECTS
from medstyle_gan.evaluation.chapter import TRANSLATION, ChapterName
from medstyle_gan.evaluation.summary import Summary, key_of, summarize
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.evaluation.verdict import Judgement

if TYPE_CHECKING:
    from medstyle_gan.evaluation.evaluating import Evaluation


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon's signed-rank test of two models on the same subjects.

    Attributes:
        models: their labels.
        p: two-sided.
        p_holm: corrected for all pairs of models and all metrics (Holm 1979).
    """

    models: tuple[str, str]
    p: float
    p_holm: float


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of all models.

    Attributes:
        chapter: whose it is.
        name: the metric.
        of: what it is a figure of, besides.
        unit: of the values.
        better: the direction that is better.
        summaries: model → its figures.
        tests: of each pair of models; empty with fewer than 6 subjects.
    """

    chapter: ChapterName
    name: str
    of: Mapping[str, str | float]
    unit: str
    better: Literal["higher", "lower"]
    summaries: Mapping[str, Summary]
    tests: tuple[PairedTest, ...]


@dataclass(frozen=True)
class Ranked:
    """A model's place: the mean over metrics of its rank, 1 being best."""

    label: str
    mean_rank: float
    verdict: Judgement


@dataclass(frozen=True)
class Comparison:
    """Models compared.

    Attributes:
        ranking: best first.
        metrics: those that the thresholds ask for.
        notes: on how it was made.
    """

    ranking: tuple[Ranked, ...]
    metrics: tuple[ComparedMetric, ...]
    notes: tuple[str, ...]


def compare_models(evaluations: Sequence[Evaluation], thresholds: Thresholds) -> Comparison:
    """Ranks models by the metrics that the thresholds judge by.

    Args:
        evaluations: of the same subjects.
        thresholds: what was asked.
    """
    by_model = {
        evaluation.label: {
            (chapter.name, s.key): s
            for chapter in evaluation.chapters
            for s in summarize(chapter.figures, evaluation.seed)
            if s.candidate == TRANSLATION
        }
        for evaluation in evaluations
    }
    metrics: dict[tuple[ChapterName, object], ComparedMetric] = {}
    for chapter, asked in thresholds.items():
        for threshold in asked:
            key = chapter, key_of(threshold.figure, threshold.of)
            found = {label: s[key] for label, s in by_model.items() if key in s}
            first = next(iter(found.values()), None)
            if first is None or first.better is None or len(found) < len(by_model):
                continue
            metrics[key] = ComparedMetric(
                chapter, first.name, first.of, first.unit, first.better, found, ()
            )
    tested, notes = _with_tests(list(metrics.values()))
    ranks = {label: [] for label in by_model}  # type: dict[str, list[float]]
    for metric in tested:
        sign = -1 if metric.better == "higher" else 1
        values = [sign * s.mean for s in metric.summaries.values()]
        if not np.isnan(values).any():
            for label, rank in zip(metric.summaries, rankdata(values), strict=True):
                ranks[label].append(float(rank))
    verdicts = {evaluation.label: evaluation.verdict for evaluation in evaluations}
    ranking = [
        Ranked(label, float(np.mean(own)) if own else float("nan"), verdicts[label])
        for label, own in ranks.items()
    ]
    order = {"pass": 0, "warn": 1, "not judged": 2, "fail": 3}
    # A model that may not be used stands below those that may, however good its means.
    ranking.sort(key=lambda entry: (order[entry.verdict], entry.mean_rank))
    return Comparison(tuple(ranking), tuple(tested), tuple(notes))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down procedure (Holm 1979)."""
    order = np.argsort(p_values)
    corrected, highest = np.empty(len(p_values)), 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        corrected[index] = highest
    return [float(p) for p in corrected]


def _with_tests(metrics: Sequence[ComparedMetric]) -> tuple[list[ComparedMetric], list[str]]:
    notes = [
        "Models are ranked by verdict, then by the mean over the metrics below of their rank in "
        "each."
    ]
    pairs: list[tuple[int, tuple[str, str], float]] = []
    for index, metric in enumerate(metrics):
        for one, other in combinations(metric.summaries, 2):
            p = _wilcoxon(metric.summaries[one], metric.summaries[other])
            if p is not None:
                pairs.append((index, (one, other), p))
    if not pairs:
        notes.append(f"No tests: they need {LEAST_SUBJECTS} subjects or more.")
        return list(metrics), notes
    notes.append(
        "p values are of Wilcoxon's signed-rank test on the subjects' paired figures, two-sided, "
        f"corrected by Holm for all {len(pairs)} tests on this page."
    )
    corrected = holm([p for _, _, p in pairs])
    tests: dict[int, list[PairedTest]] = {}
    for (index, models, p), p_holm in zip(pairs, corrected, strict=True):
        tests.setdefault(index, []).append(PairedTest(models, p, p_holm))
    return [
        ComparedMetric(
            m.chapter, m.name, m.of, m.unit, m.better, m.summaries, tuple(tests.get(index, ()))
        )
        for index, m in enumerate(metrics)
    ], notes


def _wilcoxon(one: Summary, other: Summary) -> float | None:
    shared = [subject for subject in one.values if subject is not None and subject in other.values]
    differences = np.array([one.values[s] - other.values[s] for s in shared])
    if len(shared) < LEAST_SUBJECTS or not np.isfinite(differences).all():
        return None
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)
