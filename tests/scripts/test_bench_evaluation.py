"""The evaluation's benchmark: a smoke run, and what its figures are made of. Nothing is timed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

CHAPTERS = ("around the chapters", "fidelity", "robustness", "visual_effect")


@pytest.fixture
def script(load_script):
    return load_script("bench_evaluation")


@pytest.fixture
def part(script, monkeypatch: pytest.MonkeyPatch):
    """The parts, with a model that is not trained and processes that are not started."""
    module = importlib.import_module("bench.evaluation")
    folders = SimpleNamespace(pairs=Path("pairs"), style=Path("style"))
    monkeypatch.setattr(module, "_trained", lambda *given: (Path("run"), folders))
    return module


def test_translation_is_told_apart_and_robustness_has_a_target_of_its_own(part, monkeypatch):
    turns = iter((10.0, 30.0, 20.0))

    def run_program(name: str, *arguments: object, environment: object) -> dict:
        seconds = next(turns)
        return {
            "threads": 2,
            "seconds": dict.fromkeys(CHAPTERS, seconds),
            "translating": {"fidelity": 4.0, "robustness": 5.0},
            "peak_mib": 1024 * seconds,
            "page_mib": 3.0,
        }

    monkeypatch.setattr(part, "run_program", run_program)
    result = part.measure_one_pair([], True, (40, 40, 8), 2, 3, lambda line: None)
    values = [ratio["value"] for ratio in result["ratios"]]
    assert values == [20 + 16 + 20, 15, 30, 3]
    assert any("visual_effect" in line for line in part.one_pair_lines(result))


def test_two_workers_are_compared_with_one_on_as_many_cores(part, monkeypatch):
    asked = []

    def run_program(name: str, *arguments: object, environment: object) -> dict:
        *_, workers, cores = arguments
        asked.append((workers, len(str(cores).split(","))))
        return {"seconds": {"fidelity": 40.0 if workers == "1" else 25.0}}

    monkeypatch.setattr(part, "run_program", run_program)
    monkeypatch.setattr(part, "distinct_cores", lambda: [0, 1, 2])
    result = part.measure_workers([], True, (40, 40, 8), 2, 2, 2, lambda line: None)
    assert asked == [("1", 1), ("2", 2), ("2", 2), ("1", 1)]
    (ratio,) = result["ratios"]
    assert ratio["value"] == 1.6
    assert ratio["at_least"]


@pytest.mark.slow
def test_a_quick_run_prints_and_writes_the_pair(script, tmp_path: Path, capsys) -> None:
    file = tmp_path / "bench.json"
    assert script.main(["--quick", "--parts", "pair", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    pair = json.loads(file.read_text())["pair"]
    assert set(pair["seconds"]) == {"around the chapters", "fidelity", "robustness"}
    assert pair["translating"]["robustness"] > 0
    for ratio in pair["ratios"]:
        assert ratio["value"] > 0
        assert ratio["name"] in printed
