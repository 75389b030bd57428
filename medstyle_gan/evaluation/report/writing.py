"""The report's folder, which appears whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.comparing import Comparison, compare_models
from medstyle_gan.evaluation.report.content import comparison_content, report_content
from medstyle_gan.evaluation.report.page import comparison_page, report_page
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.volumes.atomic import atomic_folder

if TYPE_CHECKING:
    from medstyle_gan.evaluation.evaluating import Evaluation

PAGE, CONTENT, TABLE = "report.html", "report.json", "subjects.csv"
STUDY = "reader_study"


def refuse_existing(folder: Path) -> None:
    """Checks before the work that the report can take its place after it.

    Raises:
        UserError: Something is there already.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; choose another -o REPORT or remove it")


def write_report(folder: Path, evaluations: Sequence[Evaluation], thresholds: Thresholds) -> None:
    """Writes `report.html`, `report.json` and `subjects.csv`, and puts a reader study there.

    Of several models each has a folder of its own with these, `model_1`, ..., and the report's
    folder a comparison under the same names.

    Args:
        folder: New or empty; it takes its name once everything in it is complete.
        evaluations: At least one.
        thresholds: What was asked.

    Raises:
        UserError: Something is there already, or the disk refuses it.
    """
    with atomic_folder(folder) as place:
        if len(evaluations) == 1:
            _write_one(place, evaluations[0], thresholds)
            return
        for evaluation in evaluations:
            inner = place / evaluation.label.replace(" ", "_")
            inner.mkdir()
            _write_one(inner, evaluation, thresholds)
        _write_comparison(place, evaluations, compare_models(evaluations, thresholds))


def _write_one(place: Path, evaluation: Evaluation, thresholds: Thresholds) -> None:
    content = report_content(evaluation, thresholds)
    (place / CONTENT).write_text(_json(content), encoding="utf-8")
    (place / TABLE).write_text(_table([evaluation]), encoding="utf-8")
    (place / PAGE).write_text(report_page(evaluation, thresholds), encoding="utf-8")
    if evaluation.study is not None:
        evaluation.study.rename(place / STUDY)


def _write_comparison(
    place: Path, evaluations: Sequence[Evaluation], comparison: Comparison
) -> None:
    content = comparison_content(evaluations, comparison)
    (place / CONTENT).write_text(_json(content), encoding="utf-8")
    (place / TABLE).write_text(_table(evaluations), encoding="utf-8")
    (place / PAGE).write_text(comparison_page(evaluations, comparison), encoding="utf-8")


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _table(evaluations: Sequence[Evaluation]) -> str:
    """Every figure in a line; of the whole collection where the subject is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("model", "chapter", "subject", "candidate", "figure", "of", "value", "unit")
    writer.writerow((*columns, "better"))
    for evaluation in evaluations:
        for chapter in evaluation.chapters:
            for figure in chapter.figures:
                of = "; ".join(f"{key}={value}" for key, value in figure.of.items())
                writer.writerow(
                    (
                        evaluation.label,
                        chapter.name,
                        figure.subject or "",
                        figure.candidate,
                        figure.name,
                        of,
                        repr(float(figure.value)),
                        figure.unit,
                        figure.better or "",
                    )
                )
    return text.getvalue()
