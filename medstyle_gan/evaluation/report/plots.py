"""Plots as SVG inside the page, which take its colours and print sharply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from medstyle_gan.evaluation.chapter import TRANSLATION, Chapter
from medstyle_gan.evaluation.comparing import Comparison
from medstyle_gan.evaluation.summary import Key, Summary, key_of, summarize
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.evaluation.wording import number, title

_LABELS, _WIDTH, _ROW, _TOP = 136, 400, 26, 30  # pixels
_PLOT = _WIDTH - _LABELS - 16


def strip_plots(chapter: Chapter, thresholds: Thresholds, seed: int = 0) -> list[Markup]:
    """A plot for each figure that the chapter is judged by: every subject of every candidate."""
    asked = {key_of(t.figure, t.of) for t in thresholds.get(chapter.name, ())}
    metrics: dict[Key, dict[str, Summary]] = {}
    for summary in summarize(chapter.figures, seed):
        if summary.key in asked:
            metrics.setdefault(summary.key, {})[summary.candidate] = summary
    return [
        _strips({title(c): s for c, s in found.items()}, title(TRANSLATION))
        for found in metrics.values()
        if len(found) > 1
    ]


def model_plots(comparison: Comparison) -> list[Markup]:
    """A plot for each compared metric, with a row a model."""
    best = comparison.ranking[0].label if comparison.ranking else ""
    order = [entry.label for entry in comparison.ranking]
    return [
        _strips({label: metric.summaries[label] for label in order}, best)
        for metric in comparison.metrics
    ]


def _strips(rows: Mapping[str, Summary], accented: str) -> Markup:
    """Dots for subjects, a bar for the interval and a line for the mean, a row a candidate."""
    first = next(iter(rows.values()))
    values = [v for s in rows.values() for v in s.values.values() if math.isfinite(v)]
    values += [end for s in rows.values() if s.interval for end in s.interval]
    low, high = _limits(values)
    name = title(first.name, first.of) + (f" ({first.unit})" if first.unit else "")
    better = f", {first.better} is better" if first.better else ""
    height = _TOP + _ROW * len(rows) + 22
    told = "; ".join(f"{label} {number(s.mean)}" for label, s in rows.items())
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(f"{name}{better}. Means: {told}.")}">',
        f'<text class="name" x="0" y="14">{escape(name + better)}</text>',
    ]

    def x(value: float) -> float:
        return _LABELS + 4 + (value - low) / (high - low) * _PLOT

    bottom = _TOP + _ROW * len(rows)
    for tick in _ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 6}" '
            f'y2="{bottom}"/><text class="tick" x="{x(tick):.1f}" y="{bottom + 15}" '
            f'text-anchor="middle">{number(tick)}</text>'
        )
    for index, (label, summary) in enumerate(rows.items()):
        y = _TOP + _ROW * index + _ROW / 2 - 3
        parts.append(
            f'<g class="{"own" if label == accented else "other"}">'
            f'<text x="{_LABELS - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
        if summary.interval:
            start, end = summary.interval
            parts.append(
                f'<rect x="{x(start):.1f}" y="{y - 5:.1f}" rx="2" '
                f'width="{max(1.0, x(end) - x(start)):.1f}" height="10"/>'
            )
        parts += [
            f'<circle cx="{x(value):.1f}" cy="{y:.1f}" r="3.5"/>'
            for value in summary.values.values()
            if math.isfinite(value)
        ]
        if math.isfinite(summary.mean):
            mean = x(summary.mean)
            parts.append(
                f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 8:.1f}" '
                f'y2="{y + 8:.1f}"/>'
            )
        parts.append("</g>")
    parts.append("</svg>")
    return Markup("".join(parts))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or 0.1 * max(abs(high), 1e-3)
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between the limits."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    for factor in (5, 2):
        if (high - low) / (factor * step) >= 3:
            step *= factor
            break
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]
