"""The study of prevalence: a smoke run that resumes, and what its figures are made of."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medstyle_gan.data.phantom import make_phantom
from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("study_prevalence")


@pytest.fixture
def study(script: Any) -> Any:
    return importlib.import_module("bench.prevalence")


@pytest.fixture(scope="module")
def phantoms() -> list[Any]:
    return [
        [make_phantom(seed, (64, 64, 10), lesions) for lesions in (True, False)]
        for seed in (1, 2, 3)
    ]


@pytest.fixture
def twins(study: Any, phantoms: list[Any]) -> list[Any]:
    return [study.HeldOut(*pair) for pair in phantoms]


def test_the_detector_tells_true_style_volumes_apart(study: Any, twins: list[Any]) -> None:
    threshold, accuracy = study.calibrate(twins)
    assert accuracy == 1
    scores = [study.lesion_score(t.with_lesions.style, t) for t in twins]
    assert min(scores) > threshold
    # A gain and an offset, such as a translator's, change nothing.
    again = [study.lesion_score(0.3 * t.with_lesions.style + 20, t) for t in twins]
    np.testing.assert_allclose(again, scores, atol=2e-3)


@pytest.mark.parametrize(
    ("translate", "expected"),
    [
        (lambda study: lambda p: p.style, (1.0, 0.0, 0.5)),
        (lambda study: lambda p: np.zeros(p.style.shape, np.float32), (0.0, 0.0, 0.0)),
    ],
)
def test_the_truth_has_the_true_rate_and_an_eraser_none(
    study: Any, twins: list[Any], translate: Any, expected: tuple[float, float, float]
) -> None:
    threshold, _ = study.calibrate(twins)
    rates = study.lesion_rates(twins, translate(study), threshold)
    assert (rates["with_lesions"], rates["without"], rates["rate"]) == expected


def test_one_that_paints_lesions_into_all_has_the_rate_one(study: Any, twins: list[Any]) -> None:
    threshold, _ = study.calibrate(twins)
    ill = {id(p): t.with_lesions.style for t in twins for p in (t.with_lesions, t.without)}
    assert study.lesion_rates(twins, lambda p: ill[id(p)], threshold)["rate"] == 1


def test_the_slope_is_0_for_a_faithful_translator_and_1_for_one_that_matches(study: Any) -> None:
    shares = [0.0, 0.5, 1.0]
    assert study.slope([{"share": s, "rate": 0.5} for s in shares]) == pytest.approx(0)
    assert study.slope([{"share": s, "rate": s} for s in shares]) == pytest.approx(1)
    assert study.slope([{"share": 0.5, "rate": 0.5}]) is None


def test_collections_differ_by_lesions_alone(study: Any, tmp_path: Path) -> None:
    from medstyle_gan.volumes import read_volume

    count, found = 4, {}
    for share in (0.25, 1.0):
        folder = tmp_path / f"{share}"
        study._write_collection(folder, 1, count, share, (32, 32, 8), "style")
        found[share] = [np.asarray(read_volume(p).array) for p in sorted(folder.iterdir())]
    equal = [np.array_equal(a, b) for a, b in zip(found[0.25], found[1.0], strict=True)]
    assert equal == [False, False, False, True]


def test_a_folder_of_something_else_is_refused(script: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    assert script.main(["--quick", "-o", str(tmp_path)]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_quick_run_draws_a_curve_and_goes_on_where_it_stopped(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "study", tmp_path / "study.json"
    given = ["--quick", "-o", str(out), "training.accelerator=cpu", "training.precision=fp32"]
    assert script.main([*given, "--shares", "1"]) == 0
    trained = (out / "runs" / "share_100" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert script.main([*given, "--json", str(file)]) == 0
    assert (out / "runs" / "share_100" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == trained
    result = json.loads(file.read_text())["prevalence"]
    assert [row["share"] for row in result["shares"]] == [0, 1]
    assert result["slope"] is not None
    assert (out / "prevalence.png").read_bytes().startswith(b"\x89PNG")
    assert "slope" in capsys.readouterr().out
    assert script.main([*given, "--subjects", "3"]) == 2
