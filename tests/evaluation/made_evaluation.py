"""An evaluation of functions on phantoms, to write reports of."""

from __future__ import annotations

from medstyle_gan.config import Config
from medstyle_gan.evaluation import fidelity_chapter
from medstyle_gan.evaluation.chapter import TRANSLATION, Chapter, Figure, Picture
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.evaluating import Evaluation
from medstyle_gan.evaluation.thresholds import Thresholds
from medstyle_gan.evaluation.verdict import judge, overall
from medstyle_gan.evaluation.views import view_subject
from tests.evaluation.phantom_subjects import all_candidates, phantom_subject

# One grey pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6368000000820081a2bd0dcc0000000049454e44ae426082"
)


def made_evaluation(
    thresholds: Thresholds, name: str = "true", label: str = "model", subjects: int = 2
) -> Evaluation:
    made = [phantom_subject(seed, (48, 48, 8)) for seed in range(subjects)]
    candidates = all_candidates(name, made)
    context = EvaluationContext(Config())
    efficiency = Chapter(
        "efficiency",
        (
            Figure("seconds", TRANSLATION, 1.5, "s", "lower", "subject 0"),
            Figure("peak_memory", TRANSLATION, float("nan"), "GiB", "lower", "subject 0"),
            Figure("parameters", TRANSLATION, 12.0),
        ),
        (Picture("plot", PNG, "A <caption>.", "A 'plot' & \"more\""),),
        ("A note with <b>markup</b>.",),
    )
    chapters = (fidelity_chapter.run(made, candidates, context), efficiency)
    verdicts = tuple(judge(chapter, thresholds) for chapter in chapters)
    return Evaluation(
        label=label,
        chapters=chapters,
        verdicts=verdicts,
        verdict=overall(verdicts),
        views=tuple(view_subject(subject, candidates) for subject in made),
        notes=("2 of 2 subjects bring no mask.",),
        provenance={"model_hash": "0123456789abcdef", "seed": 0, "config": {}},
    )
