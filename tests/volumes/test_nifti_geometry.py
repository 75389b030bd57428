from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_header, read_volume

TURN = Rotation.from_euler("xyz", [10, -20, 30], degrees=True)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN.as_matrix() @ np.diag([0.5, 0.75, 6])
OBLIQUE[:3, 3] = [-70, 40, -12]


def qform_only(header):
    header["sform_code"] = 0
    header.set_qform(OBLIQUE, code=1)


def test_a_qform_is_the_rotation_that_scipy_makes_of_its_quaternion(write_raw):
    path = write_raw(edit=qform_only)
    geometry = read_header(path).geometry
    b, c, d = geometry.quaternion
    rotation = Rotation.from_quat([b, c, d, np.sqrt(1 - b * b - c * c - d * d)])
    np.testing.assert_allclose(rotation.as_matrix(), TURN.as_matrix(), atol=1e-6)
    np.testing.assert_allclose(geometry.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(geometry.affine, nib.load(path).affine)


def test_the_sform_counts_where_both_disagree(write_raw):
    def both(header):
        header.set_qform(OBLIQUE, code=1)
        header.set_sform(np.diag([-2.0, -3, 4, 1]), code=2)

    path = write_raw(edit=both)
    header = read_header(path)
    np.testing.assert_array_equal(header.affine, np.diag([-2.0, -3, 4, 1]))
    assert header.orientation == "LPS"
    assert (header.geometry.sform_code, header.geometry.qform_code) == (2, 1)


def test_without_codes_the_voxel_sizes_count_as_by_nibabel(write_raw):
    def none(header):
        header["sform_code"] = header["qform_code"] = 0
        header["pixdim"][1:4] = 0.5, 0.75, 6

    path = write_raw(edit=none)
    header = read_header(path)
    assert header.spacing == (0.5, 0.75, 6)
    assert header.orientation == "LAS"
    np.testing.assert_array_equal(header.affine, nib.load(path).affine)


def test_negative_voxel_sizes_are_taken_as_by_nibabel(write_raw):
    def negative(header):
        qform_only(header)
        header["pixdim"][1:4] *= [1, -1, -1]

    path = write_raw(edit=negative)
    np.testing.assert_array_equal(read_header(path).affine, nib.load(path).affine)


@pytest.mark.parametrize(("unit", "millimetres"), [(0, 1), (2, 1), (1, 1000), (3, 1e-3)])
def test_the_affine_is_in_millimetres_whatever_the_files_unit(write_raw, unit, millimetres):
    def use(header):
        header["xyzt_units"] = unit | 16

    header = read_header(write_raw(edit=use))
    assert header.spacing == pytest.approx((2 * millimetres, 3 * millimetres, 4 * millimetres))
    np.testing.assert_array_equal(header.geometry.srow, np.diag([2.0, 3, 4, 1])[:3])


def singular_sform(header):
    header["srow_y"] = header["srow_x"]


def zero_sform(header):
    for axis in "xyz":
        header[f"srow_{axis}"] = 0


def nan_sform(header):
    header["srow_z"][3] = np.nan


def singular_sform_beside_a_good_qform(header):
    header.set_qform(OBLIQUE, code=1)
    singular_sform(header)


def zero_voxel_size(header):
    qform_only(header)
    header["pixdim"][3] = 0


def zero_voxel_size_without_codes(header):
    header["sform_code"] = header["qform_code"] = 0
    header["pixdim"][1:4] = 0


def nan_voxel_size(header):
    qform_only(header)
    header["pixdim"][1] = np.nan


def no_rotation(header):
    qform_only(header)
    header["quatern_b"] = 2


def nan_quaternion(header):
    qform_only(header)
    header["quatern_c"] = np.nan


def infinite_offset(header):
    qform_only(header)
    header["qoffset_x"] = np.inf


@pytest.mark.parametrize("read", [read_volume, read_header])
@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (singular_sform, "srow_x"),
        (zero_sform, "srow_x"),
        (nan_sform, "srow_x"),
        (singular_sform_beside_a_good_qform, "srow_x"),
        (zero_voxel_size, "pixdim"),
        (zero_voxel_size_without_codes, "pixdim"),
        (nan_voxel_size, "pixdim"),
        (no_rotation, "quatern"),
        (nan_quaternion, "quatern"),
        (infinite_offset, "qoffset"),
    ],
)
def test_an_affine_that_cannot_be_inverted_is_refused_by_field(write_raw, read, edit, field):
    path = write_raw(edit=edit)
    with pytest.raises(UserError, match=field) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_bad_qform_that_does_not_count_is_no_error(write_raw):
    def bad(header):
        header["qform_code"] = 1
        header["quatern_b"] = 2

    assert read_header(write_raw(edit=bad)).spacing == (2, 3, 4)
