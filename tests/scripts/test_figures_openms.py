from __future__ import annotations

import json
from typing import Any

import pytest

from medstyle_gan.cli import main
from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("figures_openms")


def test_figures_of_a_run_are_printed_and_written(script, tmp_path, capsys, monkeypatch) -> None:
    demo = tmp_path / "demo"
    assert main(["demo", "-o", str(demo), "--quick", "training.steps=1"]) == 0
    capsys.readouterr()
    arguments = ["--pairs", str(demo / "data" / "pairs"), "--scan=scan", "--style-name=style"]
    monkeypatch.setattr("sys.argv", ["figures_openms.py", str(demo / "run"), *arguments])
    assert script.main() == 0
    printed = capsys.readouterr().out
    for name in ("translation", "doing nothing", "histogram matching", "best global map"):
        assert name in printed
    figures = json.loads((demo / "run" / "figures" / "figures.json").read_text())
    by_name = {row["name"]: row for row in figures["rows"] if row["grid"] == "network"}
    # No other rising map can have a smaller squared error than the one fitted on the answer.
    bound = by_name["best_global_map"]["psnr"]
    for name in ("doing_nothing", "percentile_matching", "histogram_matching"):
        assert by_name[name]["psnr"] < bound
    for grid in ("network", "native"):
        assert (demo / "run" / "figures" / f"montage_{grid}.png").stat().st_size > 1000


def test_a_folder_that_is_no_run_is_refused(script, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["figures_openms.py", str(tmp_path), "--pairs", str(tmp_path)])
    assert script.main() == 2
    assert str(tmp_path) in capsys.readouterr().err
