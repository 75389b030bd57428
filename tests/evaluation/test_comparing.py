from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from medstyle_gan.evaluation.chapter import TRANSLATION, Chapter, Figure
from medstyle_gan.evaluation.comparing import compare_models, holm
from medstyle_gan.evaluation.evaluating import Evaluation
from medstyle_gan.evaluation.thresholds import read_thresholds


def evaluation(label: str, psnr: np.ndarray, verdict: str = "pass") -> Evaluation:
    figures = tuple(
        Figure("psnr", TRANSLATION, float(value), "dB", "higher", f"subject {n}")
        for n, value in enumerate(psnr)
    )
    chapters = (Chapter("fidelity", figures),)
    return Evaluation(label, chapters, (), verdict, (), (), {})


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_models_are_ranked_and_tested(rng: np.random.Generator) -> None:
    base = rng.normal(20, 2, 8)
    models = [
        evaluation("model 1", base),
        evaluation("model 2", base + rng.uniform(0.5, 1, 8)),
        evaluation("model 3", base + rng.normal(0, 0.1, 8)),
    ]
    found = compare_models(models, read_thresholds())
    assert found.ranking[0].label == "model 2"
    assert found.ranking[0].mean_rank == 1
    (metric,) = found.metrics
    by_pair = {test.models: test for test in metric.tests}
    first = by_pair["model 1", "model 2"]
    values = [m.chapters[0].figures for m in models]
    expected = wilcoxon(*[[f.value for f in v] for v in values[:2]]).pvalue
    assert first.p == pytest.approx(expected)
    assert first.p_holm == pytest.approx(3 * expected)


def test_no_tests_with_few_subjects(rng: np.random.Generator) -> None:
    models = [evaluation(f"model {n}", rng.normal(20, 2, 5)) for n in (1, 2)]
    found = compare_models(models, read_thresholds())
    assert not found.metrics[0].tests
    assert any("6 subjects" in note for note in found.notes)


def test_one_that_fails_stands_below_one_that_passes(rng: np.random.Generator) -> None:
    base = rng.normal(20, 2, 6)
    models = [evaluation("model 1", base + 5, "fail"), evaluation("model 2", base)]
    found = compare_models(models, read_thresholds())
    assert [entry.label for entry in found.ranking] == ["model 2", "model 1"]
