"""What is bad about files as files: empty, changing, linked in a circle, oddly named."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import (
    Geometry,
    find_series,
    read_header,
    read_picture,
    read_series,
    read_volume,
    unchanged,
    walk_files,
    write_picture,
    write_volume,
)
from tests.volumes.dicom_objects import write_series

VOLUMES = ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"]
NAMES = ["with space", 'it\'s "quoted"', "Größe-患者", "-o", "a;b&c $HOME", "new\nline", "%03d"]


def write(path: Path, values: np.ndarray) -> Path:
    write_volume(path, values, Geometry.from_affine(values.shape, np.eye(4)), np.int16)
    return path


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize("read", [read_volume, read_header])
def test_an_empty_file_is_refused_as_empty(tmp_path, name, read):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"empty \(0 bytes\)") as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_an_empty_dicom_file_is_refused_as_empty(tmp_path, values):
    write_series(tmp_path, values.astype(np.int16))
    (tmp_path / "IM999.dcm").touch()
    faulty = [series for series in find_series(tmp_path) if series.fault]
    with pytest.raises(UserError, match=r"IM999.dcm: is empty \(0 bytes\)"):
        read_series(faulty[0])


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize("read", [read_volume, read_header])
def test_a_link_that_leads_to_itself_is_refused(tmp_path, name, read):
    (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read") as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_picture_or_folder_that_links_to_itself_is_refused(tmp_path):
    for name in ("a.png", "folder"):
        (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match=r"a\.png"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="folder"):
        find_series(tmp_path / "folder")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mhd", "", ".png"])
def test_any_name_that_the_disk_takes_works(tmp_path, values, name, ending):
    path = tmp_path / f"in {name}" / f"{name}{ending}"
    if ending == ".png":
        write_picture(path, values[..., 0].astype(np.uint8))
        read = read_picture(path).array[..., 0]
        np.testing.assert_array_equal(read, values[..., 0])
        return
    if ending == ".mhd" and set(name) & set("%\n"):  # its header cannot name the .raw
        with pytest.raises(UserError, match=r"use \.mha"):
            write(path, values)
        return
    if ending:
        write(path, values)
    else:
        write_series(path, values.astype(np.int16))
    np.testing.assert_array_equal(read_volume(path).array, values)


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize("change", ["longer", "touched", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path, values, name, change, monkeypatch
):
    path = write(tmp_path / name, values)
    changed = path.with_suffix(".raw") if name == "a.mhd" else path
    module = "nifti_reading" if ".nii" in name else "itk_reading"

    def and_meanwhile(array: np.ndarray, *_: object) -> None:
        if change == "longer":
            with changed.open("ab") as file:
                file.write(b"more")
        elif change == "touched":
            os.utime(changed, ns=(1, 1))
        elif change == "replaced":
            times = changed.stat()
            (tmp_path / "new").write_bytes(changed.read_bytes()[::-1])
            os.utime(tmp_path / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
            (tmp_path / "new").replace(changed)
        else:
            changed.unlink()

    if name == "a.mhd":  # the voxels' file, while SimpleITK has it open
        import SimpleITK as sitk

        execute = sitk.ImageFileReader.Execute

        def slow(self: sitk.ImageFileReader) -> sitk.Image:
            image = execute(self)
            and_meanwhile(values)
            return image

        monkeypatch.setattr(sitk.ImageFileReader, "Execute", slow)
    else:
        monkeypatch.setattr(f"medstyle_gan.volumes.{module}.check_values", and_meanwhile)
    with pytest.raises(UserError, match="changed while it was read") as caught:
        read_volume(path)
    assert str(changed) in str(caught.value)


def test_a_picture_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_picture(path, np.arange(256, dtype=np.uint8).reshape(16, 16))

    def slow(image: Image.Image) -> Image.Image:
        os.utime(path, ns=(1, 1))
        return image

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", slow)
    with pytest.raises(UserError, match="changed while it was read"):
        read_picture(path)


def test_what_fails_inside_tells_its_own_reason_and_a_still_file_none(tmp_path):
    path = tmp_path / "a"
    path.write_text("a")
    with unchanged([path, tmp_path / "missing"]):
        pass

    def fail() -> None:
        path.write_text("longer")
        raise KeyError

    with pytest.raises(KeyError), unchanged([path]):
        fail()


@pytest.mark.parametrize("walk", [walk_files, find_series], ids=["files", "series"])
def test_a_folder_that_cannot_be_read_is_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walk: Callable[..., Iterable[object]]
) -> None:
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def deny(folder: str) -> object:
        if str(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)  # root, who may run tests, can read everything
    with pytest.raises(UserError, match=r"closed: the folder cannot be read"):
        list(walk(tmp_path))
