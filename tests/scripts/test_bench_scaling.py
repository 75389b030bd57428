"""The scaling benchmark: a smoke run, and what its figures are made of. Nothing is timed here."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("bench_scaling")


@pytest.fixture
def scaling(script: Any) -> Any:
    return importlib.import_module("bench.scaling")


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="two processes need two cores",
)
def test_a_quick_run_prints_and_writes_every_figure(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scaling.json"
    assert script.main(["--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert result["machine"]["cpu"] in printed
    figures = result["scaling"]
    assert [len(figures["processes"][n]["samples_per_second"]) for n in ("1", "2")] == [1, 1]
    (ratio,) = figures["ratios"]
    one, two = (figures["processes"][n]["samples_per_second"][0] for n in ("1", "2"))
    assert ratio["value"] == pytest.approx(two / one)
    assert figures["steps_each"] % 4 == 0
    assert len(set(figures["cores"])) == 2
    assert ratio["name"] in printed
    assert "smoke test" in printed


def test_turns_alternate_and_the_ratio_is_that_of_the_medians(
    scaling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    rates = {1: iter([1.0, 9.0, 2.0]), 2: iter([3.0, 3.4, 0.1])}

    def turn(config: Any, processes: int, *others: Any) -> dict[str, Any]:
        turns.append(processes)
        rate = next(rates[processes])
        return {"samples_per_second": rate, "step_ms": 1 / rate, "precision": "fp32"}

    monkeypatch.setattr(scaling, "_turn", turn)
    monkeypatch.setattr(scaling, "distinct_cores", lambda: [0, 1])
    result = scaling.measure_scaling([], True, 3, 1, lambda line: None)
    assert turns == [1, 2, 2, 1, 1, 2]
    assert result["ratios"][0]["value"] == 3.0 / 2.0
    assert "MISSED" in scaling.scaling_lines(result)[-1]


def test_one_core_is_too_few(
    scaling: Any, script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scaling, "distinct_cores", lambda: [0])
    assert script.main(["--quick"]) == 2
    assert "two" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["training.devices=2"], "training.devices"), (["generator.ngff=3"], "generator.ngf")],
)
def test_settings_that_cannot_be_compared_are_refused(
    script: Any, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", *arguments]) == 2
    assert named in capsys.readouterr().err
