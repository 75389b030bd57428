"""Plots as SVG inside the page, which take its colours and print sharply."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from medstyle_gan.evaluation.chapter import TRANSLATION, Chapter
from medstyle_gan.evaluation.comparing import Comparison
from medstyle_gan.evaluation.summary import Key, Summary, key_of, summarize
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.evaluation.wording import number, title

_LABELS, _WIDTH, _ROW, _TOP = 160, 400, 26, 30  # pixels
_LINE, _LETTER = 17, 8  # of a heading's; a letter of it, rather more than it takes
_PLOT = _WIDTH - _LABELS - 24


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
    heading = _heading(name, better)
    top = _TOP + _LINE * (len(heading) - 1)
    height = top + _ROW * len(rows) + 22
    told = "; ".join(f"{label} {number(s.mean)}" for label, s in rows.items())
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(f"{name}{better}. Means: {told}.")}">',
        *(
            f'<text class="name" x="0" y="{14 + _LINE * line}">{escape(text)}</text>'
            for line, text in enumerate(heading)
        ),
    ]

    def x(value: float) -> float:
        return _LABELS + 4 + (value - low) / (high - low) * _PLOT

    bottom = top + _ROW * len(rows)
    ticks = _ticks(low, high)
    for tick, label in zip(ticks, _tick_labels(ticks), strict=True):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 6}" '
            f'y2="{bottom}"/><text class="tick" x="{x(tick):.1f}" y="{bottom + 15}" '
            f'text-anchor="middle">{label}</text>'
        )
    for index, (label, summary) in enumerate(rows.items()):
        y = top + _ROW * index + _ROW / 2 - 3
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
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, but for rounding
        margin = 0.1 * abs(high) or 1.0
    else:
        margin = 0.06 * (high - low)
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


def _tick_labels(ticks: Sequence[float]) -> list[str]:
    """Each tick with as many decimals as tell it from the next."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else max(abs(ticks[0]), 1e-12)
    decimals = max(0, -math.floor(math.log10(step) + 1e-6))
    if decimals > 4:
        return [number(tick) for tick in ticks]
    return [f"{round(tick, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for tick in ticks]


def _heading(name: str, better: str) -> list[str]:
    """What a plot is of, in lines that its width holds."""
    most = _WIDTH // _LETTER
    if len(name + better) <= most:
        return [name + better]
    return textwrap.wrap(name, most) + [better.removeprefix(", ")] * bool(better)
