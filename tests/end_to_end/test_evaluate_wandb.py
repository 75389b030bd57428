"""`medstyle evaluate --wandb offline`: into the training's run, and nobody's name with it."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from tests.end_to_end.tiny import TINY
from tests.training.wandb_file import OfflineRun, find_records, find_words

CANARY, USER = "Canary^Patient", "canaryuser77"


@pytest.fixture(scope="module")
def folders(
    phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """A run that was logged offline, its report, and the report of its bundle."""
    place = tmp_path_factory.mktemp("logged") / CANARY
    run, pairs = place / "run", place / "pairs"
    shutil.copytree(phantoms.pairs, pairs)
    (subject,) = pairs.iterdir()
    subject.rename(pairs / CANARY)
    collections = ["--scans", str(phantoms.scans), "--style", str(phantoms.style)]
    training = ["train", *collections, "-o", str(run), "--wandb", "offline", *TINY]
    assert main(training) == 0
    bundle = Path(shutil.copytree(run / "model", place / "bundle"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(place / "home"))
        patch.setenv("LOGNAME", USER)  # the real one may be root, a word of style sheets
        for model, report in ((run, "report"), (bundle, "report_of_bundle")):
            asked = ["--pairs", str(pairs), "-o", str(place / report), "--wandb", "offline"]
            asked += ["--show-names", "--chapters", "fidelity", "efficiency"]
            assert main(["evaluate", str(model), *asked]) == 0
    return run, place / "report", place / "report_of_bundle"


def test_it_is_logged_to_the_run_of_the_training(folders: tuple[Path, Path, Path]) -> None:
    run, report, _ = folders
    training, evaluation = (OfflineRun(path) for path in find_records(run))
    assert evaluation.id == training.id
    assert evaluation.config == training.config
    (row,) = evaluation.history
    assert row["step"] == 2
    content = json.loads((report / "report.json").read_text("utf-8"))
    assert row["evaluation/verdict/overall"] == content["verdict"]["overall"]
    means = {
        f"evaluation/fidelity/{s['name']}/{s['candidate']}": s["mean"]
        for s in content["chapters"]["fidelity"]["summary"]
        if not s["of"]
    }
    assert means
    assert {name: row[name] for name in means} == pytest.approx(means)


def test_the_table_and_the_slices_are_there(folders: tuple[Path, Path, Path]) -> None:
    run, report, _ = folders
    path = find_records(run)[-1]
    row = OfflineRun(path).history[0]
    page = (path.parent / "files" / row["evaluation/summary"]["path"]).read_text("utf-8")
    content = json.loads((report / "report.json").read_text("utf-8"))
    assert content["verdict"]["chapters"]["fidelity"]["verdict"] in page
    assert "percentile matching" in page
    (file,) = OfflineRun(path).panels("evaluation/slices")[2]
    assert row["evaluation/slices"]["captions"] == ["subject 1"]
    with Image.open(file) as image:
        assert not image.info
        assert len(np.unique(np.asarray(image))) > 50


def test_a_bundle_has_a_run_of_its_own_in_the_report(folders: tuple[Path, Path, Path]) -> None:
    run, _, report = folders
    (path,) = find_records(report)
    assert OfflineRun(path).id != OfflineRun(find_records(run)[0]).id
    assert OfflineRun(path).history[0]["step"] == 2


def test_nobody_is_named_in_what_may_be_sent(folders: tuple[Path, Path, Path]) -> None:
    run, _, report = folders
    words = [CANARY, "sub-", USER, socket.gethostname(), "/tmp", "T1W", ".nii"]
    words += [str(run.parent), "--pairs"]
    for folder in (run, report):
        assert find_words(folder / "wandb", words) == []
    assert not list((run.parent / "home").rglob("tmp*"))  # no copy in the user's home


def test_nothing_is_logged_unless_asked(
    trained: Path, phantoms: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    asked = ["--pairs", str(phantoms.pairs), "-o", str(tmp_path / "report")]
    assert main(["evaluate", str(trained), *asked, "--chapters", "fidelity"]) == 0
    assert not (trained / "wandb").exists()
    assert not (tmp_path / "report" / "wandb").exists()


def test_online_without_a_login_is_told_before_the_work(
    trained: Path,
    phantoms: PhantomFolders,
    refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = ["--pairs", phantoms.pairs, "-o", tmp_path / "report", "--wandb", "online"]
    assert "wandb login" in refused("evaluate", trained, *asked)
