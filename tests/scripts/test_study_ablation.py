"""The ablation study: a smoke run that goes on, and what its table is made of."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("study_ablation")


@pytest.fixture
def study(script: Any) -> Any:
    return importlib.import_module("bench.ablation")


_COST = {"cost": {"seconds": 61.4, "peak_memory_mib": None}}


def _run(seed: int, psnr: float, score: float | None) -> dict[str, Any]:
    pair = {"pair": "visit", "psnr": psnr, "ssim": 0.5, "mae": 0.2, "spearman": 0.4}
    validation = {"score": score, "chosen_step": 20, "chosen_psnr": None, "best_psnr": None}
    trust = [{"slice_consistency": 0.9, "lesion_recall": 0.25 + 0.5 * seed}]
    return {"seed": seed, "pairs": [pair], "trust": trust, "validation": validation, **_COST}


def test_the_table_has_means_and_half_the_range_over_seeds(study: Any) -> None:
    machine = {
        "abilities": {"avx2": True, "amx_bf16": False},
        **{"gpu": None, "cpu": "A CPU", "cores": 2, "threads": 1, "torch": "2.0"},
        "gemm_gflops": {"fp32": 1.0, "bf16": 2.0},
    }
    config = {"training.steps": 40}
    entries = {
        "first": {
            "overrides": [],
            "config": config,
            "runs": [_run(0, 13.0, -0.8), _run(1, 14.0, -0.6)],
        },
        "second": {"overrides": ["a=1"], "config": config, "runs": [_run(0, 15.0, None)] * 2},
    }
    result = {
        **{"date": "2026-01-01", "quick": False, "machine": machine, "seeds": [0, 1]},
        **{"overrides": [], "phantoms": False, "entries": entries},
        "nothing": [{"pair": "visit", "psnr": 9.0, "ssim": 0.1, "mae": 0.3, "spearman": -0.2}],
    }
    lines = study.ablation_lines(result)
    assert "## visit" in lines
    assert "| doing nothing | 9.00 | 0.100 | 0.300 | -0.200 |" in lines
    half = "0.500 ± 0.000 | 0.200 ± 0.000 | 0.400 ± 0.000 |"
    assert f"| first | 13.50 ± 0.50 | {half}" in lines
    assert f"| second | 15.00 ± 0.00 | {half}" in lines
    assert "| first | -0.700 ± 0.100 | – | 20 ± 0 | – | – |" in lines
    assert "| second | – | – | 20 ± 0 | – | – |" in lines
    assert "| first | 0.900 ± 0.000 | – | – | 0.500 ± 0.250 | – |" in lines
    assert "| first | 61 ± 0 | – |" in lines
    assert "A CPU, 2 cores, avx2" in "\n".join(lines)


def test_what_is_chosen_without_pairs_is_told_with_them(study: Any, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "validation/psnr", "validation/score_scan_to_style"])
        writer.writerows([[10, 12.5, -0.9], [15, "", ""], [20, 13.0, -0.5], [30, 13.2, -0.7]])
    assert study.validation_figures(path) == {
        **{"score": -0.7, "pseudo_pair_psnr": None},
        **{"chosen_step": 20, "chosen_psnr": 13.0, "best_psnr": 13.2},
    }
    told = csv.DictReader(path.read_text().splitlines())
    on_pseudo_pairs = [15.0, "", 14.0, 14.5]
    rows = [[*row.values(), own] for row, own in zip(told, on_pseudo_pairs, strict=True)]
    with path.open("w", newline="") as file:
        names = ["score_scan_to_style", "pseudo_pair_psnr_scan_to_style"]
        writer = csv.writer(file)
        writer.writerow(["step", "validation/psnr", *(f"validation/{name}" for name in names)])
        writer.writerows(rows)
    assert study.validation_figures(path) == {
        **{"score": -0.7, "pseudo_pair_psnr": 14.5},
        **{"chosen_step": 10, "chosen_psnr": 12.5, "best_psnr": 13.2},
    }
    path.write_text("step,loss/generator\n10,1\n")
    assert set(study.validation_figures(path).values()) == {None}


def test_the_shipped_lists_are_of_settings_that_there_are(study: Any, repository: Path) -> None:
    lists = sorted((repository / "configs" / "studies").iterdir())
    assert [path.stem for path in lists] == ["ablation", "paired_ceiling"]
    every = {path.stem: study.read_entries(path) for path in lists}
    assert len(every["ablation"]) > 5
    for entry in (*every["ablation"], *every["paired_ceiling"]):
        load_config(entry.config or repository / "configs" / "mr_t1_to_t2.yaml", entry.overrides)
    chosen = study.read_entries(lists[0], ["no_vgg", "recipe"])
    assert [entry.name for entry in chosen] == ["no_vgg", "recipe"]


def test_the_cost_is_that_of_all_steps(study: Any, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,samples_per_second,peak_memory_mib\n10,2,100\n12,,\n30,8,120\n")
    assert study.cost_figures(path, batch=2) == {"seconds": 10 + 5, "peak_memory_mib": 120}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "is no list"),
        ("- {overrides: [a=1]}", "entry 1: needs a name"),
        ("- {name: a}\n- {name: a}", "entry 2: the name a is there twice"),
        ("- {name: a, override: [x=1]}", "knows no override"),
        ("- {name: ../a}", "names a folder"),
        ("- {name: a, overrides: {x: 1}}", "is no list of key.path=value"),
        ("- {name: a}", "has no b; there are a"),
        ("[", "cannot be read as YAML"),
    ],
)
def test_mistakes_in_a_list_are_named(study: Any, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        study.read_entries(path, ["b"] if "there are" in said else None)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["training.seed=3"], "training.seed"),
        (["generator.ngff=3"], "recipe: "),
        (["--names", "none"], "has no none"),
        (["--scans", "somewhere"], "give --style too"),
    ],
)
def test_what_cannot_be_studied_is_refused_before_anything_is_trained(
    script: Any, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", "-o", str(tmp_path), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_study_goes_on_where_it_stopped_and_keeps_what_is_trained(
    script: Any, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, Any]] = []
    real = study.train

    def noted(config: Any, run: Path, resume: Any) -> Path:
        trained.append((run.parent.name, resume))
        if len(trained) == 2:
            raise KeyboardInterrupt
        done: Path = real(config, run, resume=resume)
        return done

    monkeypatch.setattr(study, "train", noted)
    out, file, report = tmp_path / "study", tmp_path / "study.json", tmp_path / "table.md"
    given = ["--quick", "-o", str(out), "--names", "recipe,no_vgg", "training.accelerator=cpu"]
    given += ["training.precision=fp32", "training.steps=2", "guards.enabled=false"]
    with pytest.raises(KeyboardInterrupt):
        script.main(given)
    assert script.main([*given, "--json", str(file), "--report", str(report)]) == 0
    # The first was trained once; that which was stopped again, resumed if it had begun.
    assert trained == [("recipe", "if_started")] + [("no_vgg", "if_started")] * 2
    result = json.loads(file.read_text())
    assert list(result["entries"]) == ["recipe", "no_vgg"]
    assert "medstyle_gan" in result["versions"]
    for entry in result["entries"].values():
        (run,) = entry["runs"]
        assert len(run["pairs"]) == 2 * 2  # on two grids
        assert {0 <= own["lesion_recall"] <= 1 for own in run["trust"]} == {True}
        assert {own["true_slice_consistency"] > 0.5 for own in run["trust"]} == {True}
        assert run["validation"]["score"] < 0
        assert run["validation"]["best_psnr"] >= run["validation"]["chosen_psnr"]
        assert str(tmp_path) not in json.dumps(entry["config"])
    assert report.read_text() == (out / "ablation.md").read_text()
    assert "| no_vgg |" in report.read_text()
    # What is measured is not measured again, unless it would be measured otherwise.
    with monkeypatch.context() as patched:
        patched.setattr(study, "_figures", lambda *given: pytest.fail("measured again"))
        assert script.main([*given, "--json", str(file)]) == 0
        assert json.loads(file.read_text())["entries"] == result["entries"]
    monkeypatch.setattr(study, "_FIGURES_VERSION", study._FIGURES_VERSION + 1)
    measured: list[Path] = []

    def figures(translator: Any, run: Path, config: Any) -> dict[str, Any]:
        measured.append(run)
        first: dict[str, Any] = result["entries"]["recipe"]["runs"][0]
        return {**first, "nothing": result["nothing"]}

    monkeypatch.setattr(study, "_figures", figures)
    assert script.main(given) == 0
    assert len(measured) == 2
    # Another setting in the same folder is a mistake, told at once.
    assert script.main([*given, "loss.cycle.weight=3"]) == 2
    assert len(trained) == 3
