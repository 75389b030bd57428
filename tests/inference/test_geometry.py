"""An identity translator gives every file back: its voxels within a step, its geometry exactly."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_erosion
from skimage.registration import phase_cross_correlation

from medstyle_gan.volumes import find_series, read_series, write_derived_series, write_volume
from tests.volumes.dicom_objects import write_enhanced, write_series

from .conftest import ellipsoid, identity_translator, make_config, rotated, textured_body

GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "toffset", "dim_info", "sform_code", "qform_code"),
    *(f"srow_{axis}" for axis in "xyz"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"quatern_{axis}" for axis in "bcd"),
)
GRIDS = {
    "straight": rotated((1, 1, 1)),
    "flipped": rotated((1, 1, 1), "LPS"),
    "permuted": rotated((1, 1, 1), "PIR"),
    "anisotropic": rotated((0.45, 0.45, 5.0)),
    "oblique": rotated((1, 1, 2), "RAS", 17),
    "all of it": rotated((0.7, 1.3, 4.0), "ASL", -23),
}
FORMS = ["sform", "qform", "both", "disagreeing", "neither"]
SHAPES = [(21, 17, 11), (20, 18, 1), (20, 18, 6, 1), (20, 1, 18), (33, 20, 7)]


def write_nifti(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray,
    form: str = "both",
    version: int = 1,
    endianness: str = "<",
    scaling: tuple[float, float] | None = None,
) -> None:
    """Writes stored values with a header whose every geometry field has a value of its own."""
    kind = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = kind(endianness=endianness)
    header.set_data_dtype(array.dtype.newbyteorder(endianness))
    header.set_data_shape(array.shape)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header["pixdim"][4] = 2.5
    if form in ("qform", "both", "disagreeing"):
        header.set_qform(affine, code=3)
    if form in ("sform", "both"):
        header.set_sform(affine, code=2)
    if form == "disagreeing":
        header.set_sform(rotated((1.1, 0.9, 3.3), "RPI", 8), code=4)
    header.set_xyzt_units("mm", "sec")
    header["toffset"] = 0.75
    header.set_dim_info(freq=1, phase=0, slice=2)
    header["vox_offset"] = header.single_vox_offset
    if scaling:
        header["scl_slope"], header["scl_inter"] = scaling
    data = array.astype(array.dtype.newbyteorder(endianness)).tobytes(order="F")
    path.write_bytes(header.binaryblock + bytes(4) + data)


def body(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A textured body; of an axis of one voxel, the slice through the middle."""
    space = (*shape, 1, 1)[:3]
    array = textured_body(tuple(9 if size == 1 else size for size in space))
    middle = tuple(slice(4, 5) if size == 1 else slice(None) for size in space)
    return np.rint(array[middle]).astype(dtype).reshape(shape)


def assert_given_back(before: np.ndarray, after: np.ndarray, step: float) -> None:
    """Within a step in the body; at its edge a voxel may be the background's, 0, as well."""
    before, after = (np.asarray(a, dtype=np.float64).squeeze() for a in (before, after))
    assert before.shape == after.shape
    kept = np.abs(before - after) <= step
    assert np.all(kept | (after == 0))
    assert kept.mean() > 0.9


def translate_nifti(tmp_path: Path, **integer: bool) -> tuple[Any, Any]:
    translation = identity_translator(integer=integer)(tmp_path / "scan.nii")
    write_volume(tmp_path / "out.nii", translation.array, translation.geometry)
    return nib.load(tmp_path / "scan.nii"), nib.load(tmp_path / "out.nii")


def assert_same_header(before: Any, after: Any) -> None:
    assert type(before) is type(after)
    assert before.shape == after.shape
    np.testing.assert_array_equal(before.affine, after.affine)
    for field in GEOMETRY_FIELDS:
        np.testing.assert_array_equal(before.header[field], after.header[field], err_msg=field)


@pytest.mark.parametrize(("grid", "form", "version"), list(product(GRIDS, FORMS, [1, 2])))
def test_every_form_of_a_nifti_header_is_given_back(
    tmp_path: Path, grid: str, form: str, version: int
) -> None:
    array = body((21, 17, 11), "i2")
    write_nifti(tmp_path / "scan.nii", array, GRIDS[grid], form, version)
    before, after = translate_nifti(tmp_path, style=True)
    assert_same_header(before, after)
    assert_given_back(array, after.get_fdata(), step=1)


@pytest.mark.parametrize(
    ("shape", "stored_as"),
    list(
        product(
            SHAPES,
            [
                *(("i2", "<", None), ("u2", ">", None), ("f4", ">", None)),
                *(
                    ("i2", ">", (2.0, -100.0)),
                    ("u2", "<", (0.5, -10.0)),
                    ("f4", "<", (2.0, -100.0)),
                ),
            ],
        )
    ),
)
def test_every_shape_type_and_byte_order_is_given_back(
    tmp_path: Path,
    shape: tuple[int, ...],
    stored_as: tuple[str, str, tuple[float, float] | None],
) -> None:
    dtype, endianness, scaling = stored_as
    native = body(shape, "f8")
    slope, intercept = scaling or (1.0, 0.0)
    stored = ((native - intercept) / slope).round().clip(0 if dtype == "u2" else None)
    write_nifti(
        tmp_path / "scan.nii", stored.astype(dtype), GRIDS["all of it"], "disagreeing", 1,
        endianness, scaling,
    )  # fmt: skip
    whole = dtype != "f4" and slope != 0.5
    before, after = translate_nifti(tmp_path, style=whole)
    assert_same_header(before, after)
    assert after.get_data_dtype() == (np.int16 if whole else np.float32)
    assert_given_back(before.get_fdata(), after.get_fdata(), step=max(slope, 1e-3))


@pytest.mark.parametrize(("ending", "dtype"), [(".nrrd", "i2"), (".mha", "u2"), (".mhd", "f4")])
@pytest.mark.parametrize("shape", [(21, 17, 11), (20, 18), (20, 18, 6, 1), (20, 1, 18)])
def test_nrrd_and_metaimage_are_given_back(
    tmp_path: Path, ending: str, shape: tuple[int, ...], dtype: str
) -> None:
    array = body(shape, dtype)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T), isVector=False)
    axes = len(shape)
    image.SetSpacing((0.75, 1.25, 4.0, 2.5)[:axes])
    image.SetOrigin((-30.5, 12.25, 70.125, 0.5)[:axes])
    direction = np.eye(axes)
    space = min(axes, 3)
    direction[:space, :space] = rotated((1, 1, 1), "PIR", 17)[:space, :space] if axes > 2 else (
        [[0, 1], [-1, 0]]
    )  # fmt: skip
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, tmp_path / f"scan{ending}")
    before = sitk.ReadImage(tmp_path / f"scan{ending}")

    translation = identity_translator(integer={"style": dtype != "f4"})(tmp_path / f"scan{ending}")
    write_volume(tmp_path / f"out{ending}", translation.array, translation.geometry)
    after = sitk.ReadImage(tmp_path / f"out{ending}")
    assert after.GetSize() == before.GetSize()
    assert after.GetOrigin() == before.GetOrigin()
    last_bit = 1e-15 if ending == ".nrrd" else 0  # it holds spacing times direction
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), rtol=last_bit)
    np.testing.assert_allclose(
        after.GetDirection(), before.GetDirection(), rtol=last_bit, atol=last_bit
    )
    step = 1 if dtype != "f4" else 1e-3
    assert_given_back(array.T, sitk.GetArrayFromImage(after), step)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_dicom_series_is_given_back(tmp_path: Path, enhanced: bool, dtype: str) -> None:
    array = body((21, 17, 9), "i2")
    if enhanced:
        (tmp_path / "scan").mkdir()
        write_enhanced(tmp_path / "scan/frames", array)
    else:
        write_series(tmp_path / "scan", array)
    (source,) = find_series(tmp_path / "scan")
    scan = read_series(source)
    config = make_config(inference={"dtype": dtype})
    translator = identity_translator(config)
    # The enhanced file's rescale makes its background -100, which 0 takes the place of.
    translation = translator(tmp_path / "scan")
    write_derived_series(tmp_path / "out", translation, source)
    (derived,) = find_series(tmp_path / "out")
    again = read_series(derived)
    np.testing.assert_array_equal(again.geometry.affine, scan.geometry.affine)
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_array_equal(
            getattr(again.geometry.lps, name), getattr(scan.geometry.lps, name)
        )
    inner = binary_erosion(ellipsoid(array.shape), iterations=2)
    step = 1 if dtype == "int16" else 1e-3 + np.ptp(translation.array) / 65534 / 2
    assert inner.any()
    assert np.abs(again.array[inner] - scan.array[inner]).max() <= step


@pytest.mark.parametrize(
    ("plane", "ending"), [("axial", ".nii.gz"), ("coronal", ".mha"), ("sagittal", ".nii.gz")]
)
@pytest.mark.parametrize("grid", ["flipped", "permuted", "oblique", "all of it"])
def test_a_model_of_another_spacing_keeps_the_grid_and_moves_nothing(
    tmp_path: Path, grid: str, plane: str, ending: str
) -> None:
    data = {**make_config().data.model_dump(), "spacing": (1.7, 1.6, 2.2), "plane": plane}
    array = textured_body((48, 44, 30), sigma=3.0).astype(np.float32)
    affine = GRIDS[grid]
    image = nib.Nifti1Image(array, affine)
    nib.save(image, tmp_path / "scan.nii.gz")
    scan = tmp_path / f"scan{ending}"
    if ending == ".mha":
        sitk.WriteImage(sitk.ReadImage(tmp_path / "scan.nii.gz"), scan)
    translation = identity_translator(make_config(data=data), integer={"style": False})(scan)
    np.testing.assert_allclose(translation.geometry.affine, image.affine, atol=1e-5)
    assert translation.array.shape == array.shape
    # Not whitened: the frequencies that the coarser grid lost would be noise of equal weight.
    shift, *_ = phase_cross_correlation(
        array, translation.array, upsample_factor=50, normalization=None
    )
    assert np.abs(shift).max() < 0.5
