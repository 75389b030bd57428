"""A patient's name in folders, files and headers gets into nothing that is written."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medstyle_gan.cli import main
from medstyle_gan.volumes import find_series
from tests.volumes.dicom_objects import CANARY, write_enhanced, write_series

from ..conftest import textured_body

ARRAY = textured_body((20, 18, 6)).astype(np.int16)
PATIENT = "DOE^JANE"
WORDS = (PATIENT, "JANE", CANARY, "visit")


def another_patient(dataset: pydicom.Dataset, z: int) -> None:
    dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2.3.4", 9
    if z == 2:
        dataset.PatientID = PATIENT


def enhanced(dataset: pydicom.Dataset, _: int) -> None:
    dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2.3.5", 4


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A patient's series, an enhanced one, one that mixes patients, and a NIfTI beside them."""
    folder = tmp_path / "in" / PATIENT
    write_series(folder / "visit 1/MR", ARRAY, name=f"{PATIENT}_{{:03d}}.dcm")
    write_enhanced(folder / f"visit 2/{PATIENT}_frames.dcm", ARRAY, edit=enhanced)
    write_series(folder / "visit 3", ARRAY, edit=another_patient, name=f"{PATIENT}_{{}}")
    nib.save(nib.Nifti1Image(ARRAY, np.eye(4)), folder / f"{PATIENT}_T1.nii.gz")
    return folder.parent


def told(out: Path) -> list[str]:
    """The words that a name below OUT or the bytes of a file tell."""
    found = []
    for parent, folders, files in os.walk(out):
        texts = [name.encode() for name in (*folders, *files)]
        texts += [Path(parent, name).read_bytes() for name in files]
        found += [word for word in WORDS for text in texts if word.encode() in text]
    return found


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_nothing_tells_the_patient_and_a_list_apart_tells_all(
    tmp_path: Path, model: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, names = tmp_path / "out", tmp_path / "apart/names.csv"
    command = ["translate", str(model), str(archive), "-o", str(out), "--deidentify", "basic"]
    assert main([*command, "--names", str(names)]) == 1
    printed = capsys.readouterr()
    assert "3 translated, 1 failed" in printed.out
    assert f"{PATIENT}_" in printed.err  # the user is told which files mix patients
    assert told(out) == []
    (failed,) = [row for row in rows_of(out) if row["status"] == "failed"]
    assert "mixes" in failed["warnings"]
    assert "file " in failed["warnings"]
    rows = dict(list(csv.reader(names.open(newline="")))[1:])
    assert {out / new for new in rows} == {out / row["output"] for row in rows_of(out)}
    originals = sorted(Path(original).relative_to(archive / PATIENT) for original in rows.values())
    assert [str(path) for path in originals] == [
        f"{PATIENT}_T1.nii.gz",
        "visit 1/MR",
        "visit 2",
        "visit 3",
    ]

    # The names are the same again: what is done is known, and the list keeps what it has.
    before = names.read_bytes()
    assert main([*command, "--names", str(names)]) == 1
    assert "0 translated, 3 skipped" in capsys.readouterr().out
    assert names.read_bytes() == before
    assert main([*command, "--names", str(out / "names.csv")]) == 2
    assert "undo the de-identification" in capsys.readouterr().err


def test_dicom_alone_gets_pseudonyms_by_default_and_nothing_with_the_patient_kept(
    tmp_path: Path, model: Path, archive: Path
) -> None:
    command = ["translate", str(model), str(archive / PATIENT), "-o"]
    assert main([*command, str(tmp_path / "out")]) == 1
    outputs = {row["output"].split("/")[0] for row in rows_of(tmp_path / "out")}
    assert f"{PATIENT}_T1.nii.gz" in outputs  # documented: other formats' names stay
    assert len([name for name in outputs if name.startswith("study-")]) == 1
    assert len(outputs) == 2
    assert main([*command, str(tmp_path / "kept"), "--deidentify", "keep-patient"]) == 1
    kept = {row["output"] for row in rows_of(tmp_path / "kept")}
    assert kept == {
        *(f"{PATIENT}_T1.nii.gz", "visit 1/MR/series-0003"),
        *("visit 2/series-0004", "visit 3/series-0009"),
    }


def test_copies_of_a_series_are_told_apart_by_their_folders(tmp_path: Path, model: Path) -> None:
    write_series(tmp_path / "in/x/a", ARRAY)
    # One copy in two folders, as archives split large series, and a link to the first.
    shutil.copytree(tmp_path / "in/x/a", tmp_path / "in/y/a")
    half = sorted((tmp_path / "in/y/a").iterdir())[:3]
    (tmp_path / "in/y/b").mkdir()
    for file in half:
        file.rename(tmp_path / "in/y/b" / file.name)
    (tmp_path / "in/z").symlink_to(tmp_path / "in/x")
    found = find_series(tmp_path / "in")
    assert [(str(s.folder.relative_to(tmp_path / "in")), len(s.files)) for s in found] == [
        ("x/a", 6),
        ("y", 6),
    ]
    out = tmp_path / "out"
    assert main(["translate", str(model), str(tmp_path / "in"), "-o", str(out)]) == 0
    assert sorted(Path(row["output"]).name for row in rows_of(out)) == [
        "series-0003",
        "series-0003-2",
    ]
    kept = [str(tmp_path / "kept"), "--deidentify", "keep-patient"]
    assert main(["translate", str(model), str(tmp_path / "in"), "-o", *kept]) == 0
    assert sorted(row["output"] for row in rows_of(tmp_path / "kept")) == [
        "x/a/series-0003",
        "y/series-0003",
    ]
