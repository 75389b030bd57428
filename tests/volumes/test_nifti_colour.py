"""RGB NIfTI, which only panels read."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, read_shown_volume, write_volume

RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_colour_made_by_nibabel_reads_exactly(tmp_path: Path, name: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    affine = np.diag([-2.0, 1, 3, 1])
    stored = np.ascontiguousarray(colours).view(RGB24)[..., 0]
    nib.save(nib.Nifti1Image(stored, affine), tmp_path / name)
    volume = read_shown_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, colours)
    np.testing.assert_array_equal(volume.geometry.affine, affine)


def test_what_is_written_in_colour_is_read_back(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)
    geometry = Geometry.from_affine((7, 6, 5), np.eye(4))
    write_volume(tmp_path / "a.nii.gz", colours, geometry)
    np.testing.assert_array_equal(read_shown_volume(tmp_path / "a.nii.gz").array, colours)


def test_grey_volumes_and_constant_ones_are_read_as_ever(tmp_path: Path) -> None:
    array = np.zeros((4, 3, 2), np.int16)
    write_volume(tmp_path / "a.nii", array, Geometry.from_affine(array.shape, np.eye(4)))
    np.testing.assert_array_equal(read_shown_volume(tmp_path / "a.nii").array, array)


def test_truncated_colour_is_refused_by_name(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)
    path = tmp_path / "a.nii"
    write_volume(path, colours, Geometry.from_affine((7, 6, 5), np.eye(4)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"a\.nii: is truncated or damaged"):
        read_shown_volume(path)
