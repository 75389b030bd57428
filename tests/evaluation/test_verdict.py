from __future__ import annotations

import math
from pathlib import Path

import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import CHAPTERS, TRANSLATION, Chapter, Figure
from medstyle_gan.evaluation.thresholds import read_thresholds
from medstyle_gan.evaluation.verdict import judge, overall


def chapter(
    translation: list[float],
    reference: list[float] | None = None,
    better: str = "higher",
    notes: tuple[str, ...] = (),
) -> Chapter:
    figures = [
        Figure("psnr", TRANSLATION, value, "dB", better, f"subject {n}")
        for n, value in enumerate(translation)
    ]
    figures += [
        Figure("psnr", "histogram_matching", value, "dB", better, f"subject {n}")
        for n, value in enumerate(reference or [])
    ]
    return Chapter("fidelity", tuple(figures), notes=notes)


def thresholds(tmp_path: Path, entry: str):
    path = tmp_path / "thresholds.yaml"
    path.write_text(f"fidelity:\n  - {entry}\n")
    return read_thresholds(path)


@pytest.mark.parametrize(
    ("entry", "value", "verdict"),
    [
        ("{figure: psnr, at_least: {pass: 20, warn: 15}, references: ignore}", 20, "pass"),
        ("{figure: psnr, at_least: {pass: 20, warn: 15}, references: ignore}", 19.9, "warn"),
        ("{figure: psnr, at_least: {pass: 20, warn: 15}, references: ignore}", 14, "fail"),
        ("{figure: psnr, at_most: {pass: 1, warn: 2}, references: ignore}", 1, "pass"),
        ("{figure: psnr, at_most: {pass: 1, warn: 2}, references: ignore}", 1.5, "warn"),
        ("{figure: psnr, at_most: {pass: 1, warn: 2}, references: ignore}", math.inf, "fail"),
        ("{figure: psnr, at_most: {pass: 1, warn: 2}, references: ignore}", math.nan, "warn"),
    ],
)
def test_limits(tmp_path: Path, entry: str, value: float, verdict: str) -> None:
    assert judge(chapter([value]), thresholds(tmp_path, entry)).verdict == verdict


@pytest.mark.parametrize(
    ("own", "reference", "how", "better", "verdict"),
    [
        ([10.0], [9.0], "beat", "higher", "pass"),
        ([10.0], [10.0], "beat", "higher", "fail"),
        ([10.0], [10.0], "match", "higher", "pass"),
        ([9.0], [10.0], "match", "higher", "fail"),
        ([9.0], [10.0], "beat", "lower", "pass"),
        ([11.0], [10.0], "match", "lower", "fail"),
        ([math.inf], [10.0], "beat", "higher", "pass"),
        ([9.0], [10.0], "match, worse: warn", "higher", "warn"),
    ],
)
def test_a_translator_worse_than_a_reference_never_passes(
    tmp_path: Path, own: list[float], reference: list[float], how: str, better: str, verdict: str
) -> None:
    asked = thresholds(tmp_path, f"{{figure: psnr, references: {how}}}")
    found = judge(chapter(own, reference, better), asked)
    assert found.verdict == verdict
    assert "histogram matching" in found.why


def test_a_loss_that_may_be_chance_warns(tmp_path: Path) -> None:
    asked = thresholds(tmp_path, "{figure: psnr}")
    reference = [10.0, 12, 14, 16, 18, 20]
    unsure = [r + d for r, d in zip(reference, [2, -2.5, 2, -2, 1.5, -2], strict=True)]
    sure = [r - d for r, d in zip(reference, [2, 2.5, 2, 2, 1.5, 2], strict=True)]
    assert judge(chapter(unsure, reference), asked).verdict == "warn"
    assert judge(chapter(sure, reference), asked).verdict == "fail"
    assert judge(chapter(unsure[:5], reference[:5]), asked).verdict == "pass"
    assert judge(chapter(unsure[1:5], reference[1:5]), asked).verdict == "fail"


@pytest.mark.parametrize(("statistic", "verdict"), [("mean", "pass"), ("worst", "fail")])
def test_statistics(tmp_path: Path, statistic: str, verdict: str) -> None:
    entry = f"{{figure: psnr, statistic: {statistic}, at_least: {{pass: 10, warn: 8}}}}"
    assert judge(chapter([4.0, 20.0, 21.0]), thresholds(tmp_path, entry)).verdict == verdict


def test_what_was_not_measured_is_not_judged(tmp_path: Path) -> None:
    asked = thresholds(tmp_path, "{figure: psnr}")
    found = judge(Chapter("fidelity", (), notes=("There is no truth.",)), asked)
    assert found.verdict == "not judged"
    assert found.why == "There is no truth."
    assert overall([found]) == "not judged"
    passed = judge(chapter([10.0], [9.0]), asked)
    assert overall([found, passed]) == "pass"


def test_why_is_one_sentence(tmp_path: Path) -> None:
    why = judge(chapter([9.0], [10.0]), thresholds(tmp_path, "{figure: psnr}")).why
    assert why == "PSNR 9 dB is worse than the best reference (histogram matching, 10 dB)."


def test_the_packages_own_thresholds_are_of_chapters() -> None:
    assert set(read_thresholds()) <= set(CHAPTERS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fidelity: [{figure: psnr, at_most: {pass: 3, warn: 2}}]", "pass must not be above warn"),
        ("fidelity: [{figure: psnr, at_least: {pass: 1, warn: 2}}]", "pass must not be below"),
        ("fidelity: [{figure: psnr, references: ignore}]", "asks nothing"),
        ("fidelity: [{figure: psnr, at_mots: {pass: 3, warn: 2}}]", "at_mots"),
        ("fidelty: []", "fidelty"),
        ("fidelity: [", "line"),
        ("[1, 2]", "the file"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=told) as error:
        read_thresholds(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_thresholds(tmp_path / "none.yaml")
