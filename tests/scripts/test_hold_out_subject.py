"""Holding a subject out: the lists that are left, and pairs that lie where they should."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medstyle_gan.data.phantom import make_phantom
from medstyle_gan.volumes import Geometry, read_volume, write_volume
from tests.scripts.conftest import LoadScript

SHAPE = (64, 64, 16)
VISIT = r"(sub-\d+_ses-\d+)"


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("hold_out_subject")


def _moved(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift
    return motion


def _write(path: Path, array: np.ndarray, affine: np.ndarray, dtype: Any) -> None:
    write_volume(path, array, Geometry.from_affine(array.shape, affine), dtype)


@pytest.fixture
def collections(tmp_path: Path) -> dict[str, Path]:
    """One phantom with both contrasts, and others with one."""
    folders = {name: tmp_path / name for name in ("scans", "style")}
    for number in (1, 2, 3):
        phantom = make_phantom(number, SHAPE)
        if number != 3:
            name = f"sub-{number}_ses-1_T1w.nii.gz"
            _write(folders["scans"] / name, phantom.scan, phantom.affine, phantom.dtype)
        if number != 2:
            name = f"sub-{number}_ses-1_T2w.nii.gz"
            _write(folders["style"] / name, phantom.style, phantom.affine, phantom.dtype)
    return folders


def _asked(folders: dict[str, Path], out: Path, *more: str) -> list[str]:
    given = ["--scans", str(folders["scans"]), "--style", str(folders["style"])]
    return [*given, "--subject", "sub-1", "--visit", VISIT, "-o", str(out), *more]


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((6.0, -4.0, 5.0), (9.0, -7.0, 6.0))],
    ids=["as it lies", "moved"],
)
def test_a_style_volume_that_moved_comes_back_to_its_scan(
    script: Any,
    collections: dict[str, Path],
    tmp_path: Path,
    degrees: tuple[float, float, float],
    shift: tuple[float, float, float],
) -> None:
    """The file tells another place of the same voxels: how they came there is known exactly."""
    phantom = make_phantom(1, SHAPE)
    motion = _moved(degrees, shift)
    name = collections["style"] / "sub-1_ses-1_T2w.nii.gz"
    _write(name, phantom.style, motion @ phantom.affine, phantom.dtype)
    out = tmp_path / "out"
    report = tmp_path / "told.json"
    assert script.main(_asked(collections, out, "--json", str(report))) == 0

    pair = out / "pairs" / "sub-1_ses-1"
    scan, style, mask = (read_volume(pair / f"{n}.nii.gz") for n in ("scan", "style", "mask"))
    original = read_volume(collections["scans"] / "sub-1_ses-1_T1w.nii.gz")
    np.testing.assert_array_equal(scan.array, original.array)
    for volume in (scan, style, mask):
        assert volume.geometry.same_grid(original.geometry)
    assert style.dtype == phantom.dtype

    inside = phantom.mask & (mask.array > 0)
    assert inside.sum() > 0.9 * phantom.mask.sum()
    after = np.corrcoef(style.array[inside], phantom.style[inside])[0, 1]
    assert after > 0.985
    told = json.loads(report.read_text())["pairs"]["sub-1_ses-1"]
    angle = np.degrees(Rotation.from_matrix(motion[:3, :3]).magnitude())
    assert told["turned_degrees"] == pytest.approx(angle, abs=0.7)
    middle = phantom.affine @ [*[(n - 1) / 2 for n in SHAPE], 1]
    way = np.linalg.norm((motion @ middle - middle)[:3])
    assert told["moved_mm"] == pytest.approx(way, abs=1.0)


def test_what_is_left_is_listed_with_its_subjects(
    script: Any, collections: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert script.main(_asked(collections, out)) == 0
    left = {}
    for name in ("scans", "style"):
        with (out / f"{name}.csv").open(newline="") as file:
            left[name] = [(Path(row["path"]), row["subject"]) for row in csv.DictReader(file)]
    assert left["scans"] == [(collections["scans"] / "sub-2_ses-1_T1w.nii.gz", "sub-2")]
    assert left["style"] == [(collections["style"] / "sub-3_ses-1_T2w.nii.gz", "sub-3")]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--subject", "sub-9"], "--subject sub-9: not in scans, which has sub-1, sub-2"),
        (["--subject", "sub-2"], "--subject sub-2: not in style, which has sub-1, sub-3"),
        (["--visit", "(ses"], "no regular expression"),
        (["--visit", "week"], "--visit 'week' finds nothing in its name"),
    ],
)
def test_what_cannot_be_done_is_told(
    more: list[str],
    told: str,
    script: Any,
    collections: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert script.main(_asked(collections, out, *more)) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_two_scans_of_one_visit_and_a_folder_that_is_there_are_refused(
    script: Any, collections: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(_asked(collections, collections["scans"])) == 2
    assert "is there already" in capsys.readouterr().err
    first = collections["scans"] / "sub-1_ses-1_T1w.nii.gz"
    nib.save(nib.load(first), first.with_name("sub-1_ses-2_T1w.nii.gz"))
    assert script.main(_asked(collections, tmp_path / "out", "--visit", r"(sub-\d+)")) == 2
    assert "is not the only one of sub-1 in scans; give a --visit" in capsys.readouterr().err
