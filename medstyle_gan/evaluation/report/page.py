"""The HTML pages, whole in themselves: no script, style, font or image from anywhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from medstyle_gan.evaluation.comparing import Comparison
from medstyle_gan.evaluation.report.content import references_of
from medstyle_gan.evaluation.report.images import view_figures
from medstyle_gan.evaluation.report.plots import model_plots, strip_plots
from medstyle_gan.evaluation.report.tables import chapter_tables, comparison_table
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.evaluation.wording import number, title

if TYPE_CHECKING:
    from medstyle_gan.evaluation.evaluating import Evaluation

# Whole words for the badges, which must be understood without their colour.
SYMBOLS = {"pass": "✓", "warn": "!", "fail": "✕", "not judged": "–"}
MEANING = {
    "pass": "Every chapter that could be judged passes.",
    "warn": "Usable with care: at least one chapter warns.",
    "fail": "Do not use this translator: at least one chapter fails.",
    "not judged": "Nothing could be judged.",
}


def report_page(evaluation: Evaluation, thresholds: Thresholds) -> str:
    """The page of one model.

    Args:
        evaluation: what was found.
        thresholds: what was asked.
    """
    verdicts = {verdict.chapter: verdict for verdict in evaluation.verdicts}
    chapters = [
        {
            "name": chapter.name,
            "title": title(chapter.name).capitalize(),
            "verdict": verdicts[chapter.name],
            "tables": chapter_tables(chapter, evaluation.seed),
            "plots": strip_plots(chapter, thresholds, evaluation.seed),
            "pictures": [
                {"source": _png(picture.png), "caption": picture.caption, "alt": picture.alt}
                for picture in chapter.pictures
            ],
            "notes": chapter.notes,
        }
        for chapter in evaluation.chapters
    ]
    return _render(
        "report.html.j2",
        evaluation=evaluation,
        meaning=MEANING[evaluation.verdict],
        chapters=chapters,
        subjects=[view_figures(views, evaluation.mark) for views in evaluation.views],
        references={title(name): text for name, text in references_of([evaluation]).items()},
        provenance=_flat(evaluation.provenance),
        volumes=evaluation.volumes,
        volumes_json=Markup(
            json.dumps(
                [
                    {name: base64.b64encode(file).decode() for name, file in v.files.items()}
                    for v in evaluation.volumes
                ]
            )
        ),
        # A script ends at the first closing tag, wherever that stands in it.
        viewer=Markup(evaluation.viewer.replace("</script", "<\\/script")),
    )


def summary_page(evaluation: Evaluation) -> str:
    """The verdicts and each chapter's main table alone; it names no subject."""
    tables = [
        (title(chapter.name).capitalize(), table)
        for chapter in evaluation.chapters
        for table in chapter_tables(chapter, evaluation.seed)
        if not table.title
    ]
    return _render("summary.html.j2", evaluation=evaluation, tables=tables)


def comparison_page(evaluations: Sequence[Evaluation], comparison: Comparison) -> str:
    """The page that compares several models, and leads to each one's own."""
    return _render(
        "comparison.html.j2",
        comparison=comparison,
        folders={e.label: e.label.replace(" ", "_") for e in evaluations},
        hashes={e.label: str(e.provenance.get("model_hash") or "")[:12] for e in evaluations},
        table=comparison_table(comparison),
        plots=model_plots(comparison),
        notes=list(dict.fromkeys(note for e in evaluations for note in e.notes)),
    )


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Provenance as lines; the config is in `report.json` only."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        if key == "config":
            continue
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            lines += _flat(value, f"{name}, ")
        else:
            lines.append((name, _said(value)))
    return lines


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _png(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _template(name: str) -> str:
    return files("medstyle_gan.evaluation.report").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["title_of"] = title
    environment.globals["style"] = Markup(_template("style.css"))
    environment.globals["script"] = Markup(_template("window.js"))
    environment.globals["viewer_script"] = Markup(_template("viewer.js"))
    environment.globals["symbols"] = SYMBOLS
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
