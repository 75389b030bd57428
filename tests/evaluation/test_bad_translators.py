"""The chapters must catch what they are for, and let the true mapping pass."""

from __future__ import annotations

import pytest

from medstyle_gan.config import Config
from medstyle_gan.evaluation import fidelity_chapter, structure
from medstyle_gan.evaluation.chapter import TRANSLATION, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.thresholds import read_thresholds
from medstyle_gan.evaluation.verdict import judge
from tests.evaluation.phantom_subjects import all_candidates, phantom_subject

CAUGHT = "warn or fail"
# Translator → the verdicts of both chapters, and why.
EXPECTED = {
    # Nothing has moved, and all is as it should be.
    "true": ("pass", "pass"),
    # No better than doing nothing, as it does nothing; nothing has moved.
    "nothing": (CAUGHT, "pass"),
    # Less alike in structure than what keeps the scan's details; small edges have run together, and
    # the body's rim is washed out.
    "blur": (CAUGHT, CAUGHT),
    "shift": (CAUGHT, CAUGHT),
    # Edges inside do not show it, their magnitudes are the same; that the rim is another does.
    "invert": (CAUGHT, CAUGHT),
    # Another subject's volume: neither its values nor its edges are this one's.
    "copy": (CAUGHT, CAUGHT),
}


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [phantom_subject(seed) for seed in (1, 2)]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_is_judged_for_what_it_does(name: str, subjects: list[Subject]) -> None:
    candidates = all_candidates(name, subjects)
    context, thresholds = EvaluationContext(Config()), read_thresholds()
    own = {TRANSLATION: candidates[TRANSLATION]}  # structure is not judged by references
    for run, given, expected in zip(
        (fidelity_chapter.run, structure.run), (candidates, own), EXPECTED[name], strict=True
    ):
        verdict = judge(run(subjects, given, context), thresholds)
        assert (verdict.verdict == "pass") == (expected == "pass"), verdict.why
