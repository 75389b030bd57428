from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medstyle_gan.volumes import Geometry

SHEARED = np.array([[1.0, 0, 0.4, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


def oblique(spacing: tuple[float, float, float], degrees: float) -> np.ndarray:
    affine = np.eye(4)
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([1, 2, 2]) / 3).as_matrix()
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = [-80, 12.5, 33]
    return affine


@pytest.mark.parametrize("degrees", [0, 10, 100, 179])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.7, 6)])
def test_spacing_of_an_oblique_affine_is_the_length_of_its_columns(spacing, degrees):
    geometry = Geometry.from_affine((4, 5, 6), oblique(spacing, degrees))
    assert geometry.spacing == pytest.approx(spacing)


@pytest.mark.parametrize("code", ["RAS", "LPS", "LAS", "PIR", "SLA", "ASR"])
def test_orientation_names_where_the_axes_point(code):
    towards = {"R": [1, 0, 0], "L": [-1, 0, 0], "A": [0, 1, 0], "P": [0, -1, 0]}
    towards |= {"S": [0, 0, 1], "I": [0, 0, -1]}
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([towards[letter] for letter in code])
    assert Geometry.from_affine((4, 5, 6), affine).orientation == code


def test_from_affine_makes_a_header_that_nibabel_places_alike(tmp_path):
    affine = oblique((0.5, 0.7, 6), 25)
    geometry = Geometry.from_affine((4, 5, 6, 1), affine)
    assert (geometry.sform_code, geometry.qform_code, geometry.version) == (1, 1, 1)
    assert geometry.spatial_shape == (4, 5, 6)
    np.testing.assert_array_equal(geometry.affine, affine)


def test_a_sheared_affine_is_kept_in_the_sform_alone():
    geometry = Geometry.from_affine((4, 5, 6), SHEARED)
    assert (geometry.sform_code, geometry.qform_code) == (1, 0)
    np.testing.assert_array_equal(geometry.srow, SHEARED[:3])


def test_an_axis_too_long_for_nifti_1_makes_nifti_2():
    assert Geometry.from_affine((32767, 1, 1), np.eye(4)).version == 1
    assert Geometry.from_affine((32768, 1, 1), np.eye(4)).version == 2


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((4, 5, 6, 2), np.eye(4)),
        ((4,), np.eye(4)),
        ((4, 0, 6), np.eye(4)),
        ((4, 5, 6), np.eye(3)),
        ((4, 5, 6), np.diag([1.0, 1, 0, 1])),
        ((4, 5, 6), np.full((4, 4), np.nan)),
    ],
)
def test_from_affine_refuses_what_is_no_volume(shape, affine):
    with pytest.raises(ValueError, match=r"shape of a volume|invertible"):
        Geometry.from_affine(shape, affine)


def test_same_grid_compares_where_the_corners_lie():
    affine = oblique((1, 1, 3), 10)
    geometry = Geometry.from_affine((100, 100, 20), affine)
    assert geometry.same_grid(Geometry.from_affine((100, 100, 20, 1), affine))
    assert not geometry.same_grid(Geometry.from_affine((100, 100, 21), affine))
    shifted = affine + np.array([[0, 0, 0, 0.01]] + [[0, 0, 0, 0]] * 3)
    assert not geometry.same_grid(Geometry.from_affine((100, 100, 20), shifted))
    assert geometry.same_grid(Geometry.from_affine((100, 100, 20), shifted), tolerance=0.02)
    # A tenth of a degree hardly moves the first corner, but moves the last by 0.3 mm.
    turned = oblique((1, 1, 3), 10.1)
    assert not geometry.same_grid(Geometry.from_affine((100, 100, 20), turned), tolerance=0.1)
