"""Figures as the rows and cells of the report's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medstyle_gan.evaluation.chapter import Chapter
from medstyle_gan.evaluation.comparing import Comparison
from medstyle_gan.evaluation.summary import Key, Summary, summarize
from medstyle_gan.evaluation.wording import number, title

_SINGLE_VALUES = 5  # shown in a cell where there is no interval


@dataclass(frozen=True)
class Cell:
    """One candidate's figure.

    Attributes:
        value: the mean, or the only value.
        detail: its interval, or the single values.
        best: whether no other candidate is better.
    """

    value: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One metric: its name with unit, which way is better, and a cell a column."""

    name: str
    better: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table of a chapter.

    Attributes:
        title: what it is of; empty for the main one.
        columns: candidates.
        rows: metrics.
        count: what stands behind the means: `3 subjects`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    count: str


def chapter_tables(chapter: Chapter, seed: int = 0) -> list[Table]:
    """The main table, and one for each thing that figures are of, such as regions."""
    summaries = summarize(chapter.figures, seed)
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(
            " and ".join(k.removesuffix("_mm").replace("_", " ") for k in summary.of), []
        ).append(summary)
    return [
        _table(f"By {of}" if of else "", group)
        for of, group in sorted(groups.items(), key=lambda entry: entry[0] != "")
    ]


def _table(name: str, summaries: Sequence[Summary]) -> Table:
    columns = tuple(dict.fromkeys(s.candidate for s in summaries))
    metrics: dict[Key, dict[str, Summary]] = {}
    for summary in summaries:
        metrics.setdefault(summary.key, {})[summary.candidate] = summary
    rows = []
    for found in metrics.values():
        first = next(iter(found.values()))
        unit = f" ({first.unit})" if first.unit else ""
        better = {"higher": "higher is better", "lower": "lower is better", None: ""}[first.better]
        best = _best(list(found.values()))
        cells = tuple(
            _cell(found[c], c in best and len(found) > 1) if c in found else Cell("")
            for c in columns
        )
        rows.append(Row(title(first.name, first.of) + unit, better, cells))
    counts = [len(s.values) for s in summaries if not s.of_collection]
    most = max(counts, default=0)
    count = "the whole collection" if not most else f"{most} subject{'s' if most > 1 else ''}"
    return Table(name, tuple(title(c) for c in columns), tuple(rows), count)


def _best(summaries: Sequence[Summary]) -> set[str]:
    better = summaries[0].better
    means = {s.candidate: s.mean for s in summaries if not math.isnan(s.mean)}
    if better is None or not means:
        return set()
    best = max(means.values()) if better == "higher" else min(means.values())
    return {candidate for candidate, mean in means.items() if mean == best}


def _cell(summary: Summary, best: bool) -> Cell:
    values = list(summary.values.values())
    detail = ""
    if summary.interval is not None:
        low, high = summary.interval
        detail = f"{number(low)} to {number(high)}"
    elif 1 < len(values) <= _SINGLE_VALUES:
        detail = "; ".join(map(number, values))
    elif len(known := [value for value in values if not math.isnan(value)]) > 1:
        detail = f"{number(min(known))} to {number(max(known))} (range)"
    return Cell(number(summary.mean), detail, best)


def comparison_table(comparison: Comparison) -> Table:
    """Every compared metric with a column a model; p values in the last one where there are."""
    labels = [entry.label for entry in comparison.ranking]
    tested = any(metric.tests for metric in comparison.metrics)
    rows = []
    for metric in comparison.metrics:
        summaries = [metric.summaries[label] for label in labels]
        sign = 1 if metric.better == "higher" else -1
        known = [sign * s.mean for s in summaries if not math.isnan(s.mean)]
        cells = [
            _cell(s, bool(known) and sign * s.mean == max(known) and len(set(known)) > 1)
            for s in summaries
        ]
        if tested:
            lines = [
                f"{test.models[0]} / {test.models[1]}: {number(test.p_holm)}"
                for test in metric.tests
            ]
            cells.append(Cell("" if lines else "–", "; ".join(lines)))
        unit = f" ({metric.unit})" if metric.unit else ""
        name = f"{title(metric.chapter)}: {title(metric.name, metric.of)}{unit}"
        rows.append(Row(name, f"{metric.better} is better", tuple(cells)))
    columns = (*labels, "p (Holm)") if tested else tuple(labels)
    return Table("", columns, tuple(rows), "")
