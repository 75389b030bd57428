"""What `report.json` holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medstyle_gan.evaluation.chapter import Chapter
from medstyle_gan.evaluation.comparing import Comparison
from medstyle_gan.evaluation.references import REGISTERED_MAP
from medstyle_gan.evaluation.summary import Summary, summarize
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.evaluation.verdict import ChapterVerdict

if TYPE_CHECKING:
    from medstyle_gan.evaluation.evaluating import Evaluation

_REFERENCES = {
    "doing_nothing": "the scan's own values in [-1, 1]",
    "percentile_matching": "one linear map, from the scan's 2nd and 98th body percentile to the "
    "style collection's typical ones",
    "histogram_matching": "the rising map that gives the scan's body the pooled histogram of the "
    "style collection",
    REGISTERED_MAP: "the mean style intensity of each scan intensity in pseudo-pairs, "
    "scans with style volumes of other subjects registered to them",
}


def references_of(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """What stands beside the translations, by name: the learned one only where there is one."""
    shown = {f.candidate for e in evaluations for chapter in e.chapters for f in chapter.figures}
    return {
        name: text for name, text in _REFERENCES.items() if name != REGISTERED_MAP or name in shown
    }


def report_content(evaluation: Evaluation, thresholds: Thresholds) -> dict[str, Any]:
    """Plain values, with the keys `verdict`, `chapters`, `references` and `provenance`.

    A value that JSON cannot hold is null where it is not defined, and "inf" or "-inf".

    Args:
        evaluation: of one model.
        thresholds: what was asked.
    """
    by_chapter = {verdict.chapter: verdict for verdict in evaluation.verdicts}
    return {
        "verdict": {
            "overall": evaluation.verdict,
            "chapters": {name: _verdict(v) for name, v in by_chapter.items()},
        },
        "chapters": {
            chapter.name: _chapter(chapter, evaluation.seed) for chapter in evaluation.chapters
        },
        "references": references_of([evaluation]),
        "provenance": {
            **evaluation.provenance,
            "notes": list(evaluation.notes),
            "thresholds": {
                name: [t.model_dump(mode="json", by_alias=True) for t in asked]
                for name, asked in thresholds.items()
            },
        },
    }


def comparison_content(evaluations: Sequence[Evaluation], comparison: Comparison) -> dict[str, Any]:
    """Of several models: the same keys, with one entry a model in `verdict` and `provenance`.

    `chapters` holds for each chapter the figures compared; each model's own report has them all.
    """
    return {
        "verdict": {
            "ranking": [
                {"model": entry.label, "mean_rank": entry.mean_rank, "overall": entry.verdict}
                for entry in comparison.ranking
            ],
            "notes": list(comparison.notes),
        },
        "chapters": {
            chapter: [
                {
                    "name": metric.name,
                    "of": dict(metric.of),
                    "unit": metric.unit,
                    "better": metric.better,
                    "models": {
                        label: {
                            "mean": _plain(summary.mean),
                            "interval": _interval(summary),
                            "subjects": len(summary.values),
                        }
                        for label, summary in metric.summaries.items()
                    },
                    "tests": [
                        {
                            "models": list(test.models),
                            "p": _plain(test.p),
                            "p_holm": _plain(test.p_holm),
                        }
                        for test in metric.tests
                    ],
                }
                for metric in comparison.metrics
                if metric.chapter == chapter
            ]
            for chapter in dict.fromkeys(metric.chapter for metric in comparison.metrics)
        },
        "references": references_of(evaluations),
        "provenance": {e.label: {**e.provenance, "notes": list(e.notes)} for e in evaluations},
    }


def _verdict(verdict: ChapterVerdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "why": verdict.why,
        "checks": [
            {"figure": check.figure, "verdict": check.verdict, "why": check.why}
            for check in verdict.checks
        ],
    }


def _chapter(chapter: Chapter, seed: int) -> dict[str, Any]:
    return {
        "summary": [
            {
                "name": s.name,
                "of": dict(s.of),
                "candidate": s.candidate,
                "unit": s.unit,
                "better": s.better,
                "mean": _plain(s.mean),
                "interval": _interval(s),
                "subjects": 0 if s.of_collection else len(s.values),
            }
            for s in summarize(chapter.figures, seed)
        ],
        "figures": [
            {
                "name": figure.name,
                "of": dict(figure.of),
                "candidate": figure.candidate,
                "subject": figure.subject,
                "value": _plain(figure.value),
                "unit": figure.unit,
                "better": figure.better,
            }
            for figure in chapter.figures
        ],
        "notes": list(chapter.notes),
    }


def _interval(summary: Summary) -> list[float] | None:
    return None if summary.interval is None else list(summary.interval)


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)
