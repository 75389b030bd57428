from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.cli import main
from tests.volumes.dicom_objects import CANARY, write_series


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with a NIfTI file and a DICOM series, a patient's name in every header."""
    values = np.random.default_rng(0).integers(0, 101, size=(7, 6, 5)).astype(np.int16)
    write_series(tmp_path / "in/dicom", values)
    image = nib.Nifti1Image(values, np.eye(4))
    image.header["descrip"] = CANARY
    nib.save(image, tmp_path / "in/a.nii")
    return tmp_path / "in"


def test_an_archive_is_copied_without_its_text(archive, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["deidentify", str(archive), "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"6 de-identified -> {out}\n")
    assert "--rename" in printed.out
    before = sorted(path.relative_to(archive) for path in archive.rglob("*"))
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    for file in out.rglob("*"):
        assert file.is_dir() or CANARY.encode() not in file.read_bytes()


def test_a_bad_file_gives_exit_1_and_is_listed(archive, tmp_path, capsys):
    (archive / "bad.mha").touch()
    assert main(["deidentify", str(archive), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "6 de-identified, 1 failed" in printed.out
    assert f"{archive / 'bad.mha'}: is empty (0 bytes)" in printed.err
    assert not (tmp_path / "out/bad.mha").exists()


def test_again_into_the_same_folder_is_refused(archive, tmp_path, capsys):
    command = ["deidentify", str(archive), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert main(command) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_names_are_replaced_and_listed_apart(archive, tmp_path, capsys):
    out, names = tmp_path / "out", tmp_path / "names.csv"
    command = ["deidentify", str(archive), "-o", str(out), "--rename", "case"]
    assert main([*command, "--names", str(out / "names.csv")]) == 2
    assert "undo" in capsys.readouterr().err
    assert main([*command, "--names", str(names)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["case-0001.nii", "case-0002"]
    assert names.read_text().splitlines()[1:] == ["case-0001.nii,a.nii", f"case-0002,ID-{CANARY}"]
    assert "--rename" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rename", "a/b"], "--rename"),
        (["--rename", ""], "--rename"),
        (["--names", "n.csv"], "add --rename"),
    ],
)
def test_options_that_cannot_be_are_refused(archive, tmp_path, capsys, options, words):
    assert main(["deidentify", str(archive), "-o", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_when_nothing_could_be_copied_it_is_the_users_mistake(tmp_path, capsys):
    (tmp_path / "a.nii").touch()
    assert main(["deidentify", str(tmp_path / "a.nii"), "-o", str(tmp_path / "out")]) == 2
    assert "is empty" in capsys.readouterr().err
