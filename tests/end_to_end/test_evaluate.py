"""`medstyle evaluate` from a trained run to a report."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import medstyle_gan
from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.evaluation.evaluating import Settings

CANARY = "Canary^Patient"


@pytest.fixture(scope="module")
def pairs(phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs in a patient's folder, with other file names."""
    folder = tmp_path_factory.mktemp("pairs") / CANARY
    (subject,) = phantoms.pairs.iterdir()
    for name in (f"{CANARY}_1", f"{CANARY}_2"):
        shutil.copytree(subject, folder / name)
        (folder / name / "scan.nii.gz").rename(folder / name / "T1W.nii.gz")
        (folder / name / "mask.nii.gz").unlink()
    return folder


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def report(trained: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "report"
    options = ["--pairs", pairs, "-o", out, "--fail-on", "fail", "--workers", 2]
    options += ["--chapters", "fidelity", "structure", "efficiency"]
    assert evaluate(trained, *options, "data.pairs.names.scan=T1W") == 3
    return out


def test_the_report_is_whole(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {
        *("report.html", "report.json", "subjects.csv"),
    }
    content = json.loads((report / "report.json").read_text("utf-8"))
    # Two steps of training cannot beat matching histograms.
    assert content["verdict"]["overall"] == "fail"
    assert content["verdict"]["chapters"]["fidelity"]["verdict"] == "fail"
    figures = content["chapters"]["fidelity"]["figures"]
    assert {f["candidate"] for f in figures} == {"translation", *content["references"]}
    assert {f["subject"] for f in figures} == {"subject 1", "subject 2"}
    assert "region" in {key for f in figures for key in f["of"]}
    costs = {f["name"]: f["value"] for f in content["chapters"]["efficiency"]["figures"]}
    assert costs["training_steps"] == 2
    assert costs["parameters"] > 0
    assert content["provenance"]["model_hash"]
    assert any("bring no mask" in note for note in content["provenance"]["notes"])


def test_no_patient_and_no_path_is_in_it(report: Path, trained: Path, pairs: Path) -> None:
    for path in report.iterdir():
        text = path.read_text("utf-8")
        for word in (CANARY, "Canary", str(trained), str(pairs.parent), "T1W", "sub-2", "/tmp/"):
            assert word not in text, (path.name, word)


def test_names_are_shown_where_asked(trained: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    options = ["--pairs", pairs, "-o", out, "--show-names", "--chapters", "fidelity"]
    assert evaluate(trained, *options, "data.pairs.names.scan=T1W") == 0
    rows = csv.DictReader((out / "subjects.csv").open())
    assert {row["subject"] for row in rows} == {f"{CANARY}_1", f"{CANARY}_2"}
    assert f"{CANARY}_1" in (out / "report.html").read_text("utf-8")


def test_scans_and_two_models(
    trained: Path, phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    model = tmp_path / "bundle"
    shutil.copytree(trained / "model", model)
    scan = next(iter(sorted(phantoms.scans.iterdir())))
    options = ["--scans", scan, "--style", phantoms.style, "-o", out]
    assert evaluate(trained, model, *options, "--chapters", "fidelity", "efficiency") == 0
    assert {path.name for path in out.iterdir()} == {
        *("report.html", "report.json", "subjects.csv", "model_1", "model_2"),
    }
    content = json.loads((out / "model_2" / "report.json").read_text("utf-8"))
    assert content["verdict"]["chapters"]["fidelity"]["verdict"] == "not judged"
    assert "no truth" in content["verdict"]["chapters"]["fidelity"]["why"]
    assert f"{model}: pass" in capsys.readouterr().out


def test_python_gives_what_was_found(trained: Path, phantoms: PhantomFolders) -> None:
    (found,) = medstyle_gan.evaluate(
        trained, pairs=phantoms.pairs, settings=Settings(chapters=["fidelity"])
    )
    assert found.verdict == found.verdicts[0].verdict == "fail"
    assert found.chapters[0].figures


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--pairs DIR, or --scans"),
        (["--pairs", "nowhere"], "nowhere is not a folder"),
        # Before any data is read.
        (["--pairs", "nowhere", "vgg.weights=none.pth"], "or leave out what needs these weights"),
        (["--pairs", "nowhere", "--segmenter", "none.onnx"], "none.onnx"),
        (["--chapters", "fidelty"], "--chapters fidelty: there are fidelity"),
        (["--thresholds", "none.yaml"], "none.yaml: cannot be read"),
        (["--workers", "0"], "--workers 0"),
        (["--seed", "-1"], "--seed -1"),
        (["training.steps=3"], "training.steps=3: a trained model brings its own"),
    ],
)
def test_mistakes(trained: Path, refused, tmp_path: Path, options: list[str], told: str) -> None:
    assert told in refused("evaluate", trained, "-o", tmp_path / "out", *options)


def test_a_report_that_exists_is_kept(trained: Path, refused, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("mine")
    told = refused("evaluate", trained, "--pairs", tmp_path, "-o", tmp_path / "report")
    assert "exists already" in told


@pytest.mark.slow
def test_two_workers_find_what_one_finds(trained: Path, pairs: Path, tmp_path: Path) -> None:
    names = ["visual_effect", "interpretability", "robustness"]
    found = []
    for workers in (1, 2):
        out = tmp_path / f"report{workers}"
        options = ["--pairs", pairs, "-o", out, "--quick", "--workers", workers]
        options += ["--chapters", *names, "data.pairs.names.scan=T1W"]
        assert evaluate(trained, *options) == 0
        found.append(json.loads((out / "report.json").read_text("utf-8"))["chapters"])
    one, two = found
    for name in names:
        assert one[name]["notes"] == two[name]["notes"]
        assert len(one[name]["figures"]) == len(two[name]["figures"]) > 0
        for ours, theirs in zip(one[name]["figures"], two[name]["figures"], strict=True):
            value, other = ours.pop("value"), theirs.pop("value")
            assert ours == theirs
            assert other == (None if value is None else pytest.approx(value, rel=1e-3, abs=1e-4))
