"""Collections of other formats than NIfTI: NRRD and MetaImage as files, DICOM a folder a series."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medstyle_gan.data.collection import check_distinct, find_collection
from medstyle_gan.data.content_index import ContentIndex
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, read_volume, write_volume
from medstyle_gan.volumes.hashing import hash_content
from tests.volumes.dicom_objects import write_series

PATTERN = r"(sub-\d+)"


@pytest.fixture
def archive(tmp_path: Path, head: Callable[..., np.ndarray]) -> Path:
    """Two DICOM subjects, one of MetaImage, one of NRRD."""
    geometry = Geometry.from_affine((12, 10, 4), np.eye(4))
    for number in (1, 2):
        array = head(number, (12, 10, 4))
        write_series(tmp_path / f"scans/sub-0{number}/T1", array, series=f"1.2.{number}")
    for number, ending in ((3, "mha"), (4, "nrrd")):
        write_volume(
            tmp_path / f"scans/sub-0{number}.{ending}", head(number, (12, 10, 4)), geometry
        )
    return tmp_path / "scans"


def test_a_series_is_one_volume_of_the_subject_that_its_folders_name(archive: Path) -> None:
    collection = find_collection(str(archive), PATTERN)
    assert [item.path.relative_to(archive).as_posix() for item in collection] == [
        *("sub-01/T1", "sub-02/T1", "sub-03.mha", "sub-04.nrrd")
    ]
    assert collection.subjects == ("sub-01", "sub-02", "sub-03", "sub-04")
    assert all(read_volume(item.path).array.shape == (12, 10, 4) for item in collection)
    alone = find_collection(str(archive / "sub-02/T1"), PATTERN)
    assert [item.path for item in alone] == [archive / "sub-02/T1"]


def test_two_series_in_a_folder_are_refused(archive: Path, head: Callable[..., np.ndarray]) -> None:
    write_series(archive / "sub-01", head(9, (12, 10, 4)), series="1.2.9")
    with pytest.raises(UserError, match="a folder of its own"):
        find_collection(str(archive), PATTERN)


def test_the_same_series_in_both_collections_is_found(
    archive: Path, tmp_path: Path, head: Callable[..., np.ndarray]
) -> None:
    array = head(2, (12, 10, 4))
    write_series(tmp_path / "style/x", array, series="1.2.2", name="other{}")
    scans = find_collection(str(archive), PATTERN)
    style = find_collection(str(tmp_path / "style"), PATTERN)
    with pytest.raises(UserError, match="are also scans"):
        check_distinct(scans, style)


def test_a_changed_file_in_a_series_gives_another_hash(archive: Path, tmp_path: Path) -> None:
    folder, index = archive / "sub-01/T1", ContentIndex(tmp_path / "index")
    before = index.hash_of(folder)
    assert before == hash_content(folder) != hash_content(archive / "sub-02/T1")
    assert index.hash_of(folder) == before
    file = folder / "IM001"
    times = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert index.hash_of(folder) != before
