from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.contact_sheet import contact_sheet
from medstyle_gan.data.doubts import find_doubts
from medstyle_gan.data.inspection import CollectionReport, inspect_collection
from medstyle_gan.volumes import read_volume

DataSettings = Callable[..., DataConfig]
PATTERN = r"(sub-[A-Za-z0-9]+)"


@pytest.fixture
def inspect(data_settings: DataSettings) -> Callable[..., CollectionReport]:
    def run(folder: Path, domain: Any = "scan", **data: Any) -> CollectionReport:
        return inspect_collection(
            find_collection(str(folder), PATTERN), data_settings(**data), domain
        )

    return run


def test_figures_are_those_of_the_files(
    folders: Any, inspect: Callable[..., CollectionReport]
) -> None:
    report = inspect(folders.scans)
    assert report.subjects == ("sub-01", "sub-02", "sub-03")
    for file in report.files:
        values = read_volume(file.path).array
        assert file.facts.shape == (40, 44, 14)
        assert file.facts.dtype == "int16"
        expected = np.quantile(values, [0, 0.01, 0.25, 0.5, 0.75, 0.99, 1])
        np.testing.assert_allclose(file.facts.quantiles, expected)
        assert file.foreground_share == pytest.approx((values > 100).mean(), abs=0.08)
        assert file.room == (40, 44)
    table = report.table()
    assert table["files"] == ["4"]
    assert table["subjects"] == ["3"]
    assert table["shape"] == ["40x44x14"]
    assert table["spacing (mm)"] == ["2x2x3"]
    json.dumps(report.as_dict())


def test_sampled_intensities_are_native_and_unclipped(
    folders: Any, inspect: Callable[..., CollectionReport]
) -> None:
    report = inspect(folders.scans)
    body = np.concatenate([v[v > 100] for v in (read_volume(f.path).array for f in report.files)])
    assert np.median(report.native[report.native > 100]) == pytest.approx(np.median(body), rel=0.05)
    assert report.native.max() > np.percentile(body, 99.7)
    assert report.unit.min() >= -1
    assert report.unit.max() <= 1


def test_unusable_files_are_listed_and_the_others_reported(
    head: Callable[..., np.ndarray],
    write_nifti: Callable[..., Path],
    tmp_path: Path,
    inspect: Callable[..., CollectionReport],
) -> None:
    write_nifti(tmp_path / "sub-01.nii.gz", head(0))
    write_nifti(tmp_path / "sub-02.nii.gz", np.zeros((5, 5, 5), dtype=np.int16))
    (tmp_path / "sub-03.nii.gz").write_bytes((tmp_path / "sub-01.nii.gz").read_bytes()[:900])
    report = inspect(tmp_path)
    assert [file.subject for file in report.files] == ["sub-01"]
    reasons = {path.name: reason for path, reason in report.unusable}
    assert set(reasons) == {"sub-02.nii.gz", "sub-03.nii.gz"}
    assert "constant" in reasons["sub-02.nii.gz"] or "same value" in reasons["sub-02.nii.gz"]
    assert report.table()["unusable"] == ["2"]


def test_a_collection_without_usable_files_still_reports(
    tmp_path: Path, inspect: Callable[..., CollectionReport], folders: Any
) -> None:
    (tmp_path / "sub-03.nii.gz").write_bytes(b"junk")
    report = inspect(tmp_path)
    assert report.files == ()
    assert report.table()["shape"] == ["-"]
    contact_sheet([report, inspect(folders.style, "style")], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_thumbnails_are_few_however_many_subjects(
    head: Callable[..., np.ndarray],
    write_nifti: Callable[..., Path],
    tmp_path: Path,
    inspect: Callable[..., CollectionReport],
) -> None:
    for number in range(9):
        write_nifti(tmp_path / f"sub-{number}.nii", head(number, (20, 22, 6)))
    thumbnails = inspect(tmp_path).thumbnails
    assert len(thumbnails) == len({t.subject for t in thumbnails}) == 6


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_the_sheet_shows_both_collections(
    folders: Any, inspect: Callable[..., CollectionReport], tmp_path: Path, plane: str
) -> None:
    reports = [
        inspect(folders.scans, plane=plane),
        inspect(folders.pictures, "style", plane=plane),
    ]
    contact_sheet(reports, tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 600
    upper, lower = np.array_split(pixels[:, 80:], 2)
    grey_share = (np.ptp(upper[: len(upper) // 2], axis=2) < 10).mean()
    assert grey_share > 0.8  # scans
    assert (np.ptp(pixels, axis=2) > 60).mean() > 0.02  # colour pictures, histograms
    assert lower.std() > 20


def test_doubts_name_shared_subjects_ct_single_subjects_and_samples_too_large(
    head: Callable[..., np.ndarray],
    write_nifti: Callable[..., Path],
    tmp_path: Path,
    inspect: Callable[..., CollectionReport],
    data_settings: DataSettings,
) -> None:
    write_nifti(tmp_path / "a/sub-01.nii", head(0) * 2 - 1000)
    write_nifti(tmp_path / "b/sub-01.nii", head(1), np.diag([1.0, 1.0, 2.0, 1.0]))
    reports = [inspect(tmp_path / "a"), inspect(tmp_path / "b", "style")]
    doubts = find_doubts(*reports, data_settings(sample_size=(90, 90)))
    assert len(doubts) == 7
    for part in (
        "1 subjects occur in both collections (sub-01)",
        "the scan collection has one subject",
        "the style collection has one subject",
        "looks like CT",
        "larger than every volume of the scan",
        "larger than every volume of the style",
        "differ in size",
    ):
        assert sum(part in doubt for doubt in doubts) == 1, part


def test_two_good_collections_raise_no_doubts(
    folders: Any, inspect: Callable[..., CollectionReport], data_settings: DataSettings
) -> None:
    reports = [inspect(folders.scans), inspect(folders.style, "style")]
    assert find_doubts(*reports, data_settings()) == ()


def test_for_patches_volumes_tell_their_grid_and_pictures_cannot_be_used(
    folders: Any, inspect: Callable[..., CollectionReport]
) -> None:
    patches = {"dims": 3, "sample_size": (16, 16, 8)}
    assert {file.room for file in inspect(folders.scans, **patches).files} == {(40, 44, 14)}
    pictures = inspect(folders.pictures, "style", **patches)
    assert not pictures.files
    assert len(pictures.unusable) == 3
    assert all("no third axis" in reason for _, reason in pictures.unusable)


@pytest.mark.parametrize("dims", [2, 3])
def test_slices_of_another_thickness_are_a_doubt_for_patches_alone(
    dims: int,
    head: Callable[..., np.ndarray],
    write_nifti: Callable[..., Path],
    tmp_path: Path,
    inspect: Callable[..., CollectionReport],
    data_settings: DataSettings,
) -> None:
    for number, (folder, thickness) in enumerate((("a", 3.0), ("b", 5.0))):
        for subject in range(2):
            path = tmp_path / folder / f"sub-{number}{subject}.nii"
            write_nifti(path, head(subject), np.diag([2.0, 2.0, thickness, 1.0]))
    settings: dict[str, Any] = {"spacing": (2.0, 2.0, None)}
    if dims == 3:
        settings = {"dims": 3, "sample_size": (16, 16, 8)}
    reports = [inspect(tmp_path / "a", **settings), inspect(tmp_path / "b", "style", **settings)]
    doubts = find_doubts(*reports, data_settings(**settings))
    assert [doubt for doubt in doubts if "differ in size" in doubt] == list(doubts)
    assert len(doubts) == (dims == 3)
