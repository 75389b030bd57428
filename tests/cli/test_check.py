from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.cli import main

SMALL = ["data.spacing=[null,null,null]", "data.sample_size=[24,24]"]


@pytest.fixture
def volumes(tmp_path: Path) -> Callable[..., str]:
    def write(folder: str, *names: str) -> str:
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            rng = np.random.default_rng([number, *folder.encode()])
            array = np.zeros((24, 26, 6), dtype=np.int16)
            array[5:19, 4:22, 1:5] = rng.integers(200, 900, size=(14, 18, 4))
            nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1])), tmp_path / folder / name)
        return str(tmp_path / folder)

    return write


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)

    def run(scans: str, style: str, *options: str) -> int:
        return main(["check", "--scans", scans, "--style", style, "-o", "report", *options, *SMALL])

    return run


def test_good_collections_give_a_table_a_sheet_and_figures(
    volumes: Callable[..., str],
    check: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = volumes("a", "sub-01.nii", "sub-02.nii.gz"), volumes("b", "sub-02_T2.nii", "sub-04.nii")
    assert check(a, b) == 0
    out = capsys.readouterr().out
    assert "24x26x6" in out
    assert "warning: 1 subjects occur in both collections (sub-02)" in out
    assert {p.name for p in (tmp_path / "report").iterdir()} == {"check.json", "contact_sheet.png"}
    figures = json.loads((tmp_path / "report/check.json").read_text())
    assert figures["scan"]["subjects"] == ["sub-01", "sub-02"]
    assert len(figures["style"]["usable"]) == 2
    assert len(figures["warnings"]) == 1


def test_unusable_files_are_named_and_the_exit_code_says_so(
    volumes: Callable[..., str], check: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = volumes("a", "sub-01.nii", "sub-02.nii"), volumes("b", "sub-03.nii")
    Path(a, "sub-05.nii.gz").write_bytes(b"")
    assert check(a, b) == 1
    assert "unusable scan: " in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["empty", "missing", "unreadable", "same"])
def test_a_collection_that_cannot_be_used_is_the_users_mistake(
    broken: str,
    volumes: Callable[..., str],
    check: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a = volumes("a", "sub-01.nii", "sub-02.nii")
    b = {"same": str(tmp_path / "a" / "*.nii")}.get(broken, str(tmp_path / "b"))
    if broken in ("empty", "unreadable"):
        (tmp_path / "b").mkdir()
    if broken == "unreadable":
        (tmp_path / "b/sub-09.nii").write_bytes(b"junk")
    assert check(a, b) == 2
    captured = capsys.readouterr()
    assert captured.err.count("medstyle: error:") == 1
    assert "Traceback" not in captured.err


def test_several_specs_and_overrides_may_follow_each_other(
    volumes: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b, c = volumes("a", "x.nii"), volumes("b", "y.nii"), volumes("cc", "z.nii")
    code = main(["check", "--style", c, *SMALL, "--scans", a, b, "data.plane=coronal", "-o", "r"])
    assert code == 0
    assert json.loads((tmp_path / "r/check.json").read_text())["scan"]["files"] == 2


def test_an_unwritable_report_folder_is_known_before_reading(
    volumes: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = volumes("a", "x.nii"), volumes("b", "y.nii")
    (tmp_path / "file").write_text("")
    assert main(["check", "--scans", a, "--style", b, "-o", str(tmp_path / "file/r")]) == 2
    assert "intensity" not in capsys.readouterr().out


def test_nothing_to_check_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "--scans and --style" in capsys.readouterr().err
