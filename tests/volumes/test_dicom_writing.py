from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import (
    Geometry,
    UidMap,
    find_series,
    read_series,
    read_volume,
    write_derived_series,
)
from tests.volumes.dicom_objects import CANARY, FRAME, SERIES, STUDY, write_enhanced, write_series
from tests.volumes.test_dicom_reading import REAL, assert_same_volume, by_itk


def translated(volume, dtype, seed: int = 0):
    """Other values on the same grid, as a translation gives them."""
    rng = np.random.default_rng(seed)
    array = rng.normal(100, 400, size=volume.geometry.spatial_shape)
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        array = np.rint(array).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return replace(volume, array=array.astype(dtype), dtype=dtype, integer=dtype.kind != "f")


def opened(files) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(file) for file in files]


@pytest.mark.parametrize(
    ("modality", "dtype", "profile"),
    [
        ("MR", "int16", "basic"),
        ("CT", "int16", "keep-patient"),
        ("MR", "uint16", "keep-patient"),
        ("CT", "int32", "basic"),
        ("MR", "float32", "basic"),
        ("CT", "float32", "keep-patient"),
        ("MR", "float64", "keep-patient"),
    ],
)
def test_a_derived_series_is_opened_again_by_pydicom_and_simpleitk(
    tmp_path, values, modality, dtype, profile
):
    slope, intercept = (1, -1024) if modality == "CT" else (None, 0)
    write_series(tmp_path / "in", values.astype(np.int16), modality, slope=slope,
                 intercept=intercept)  # fmt: skip
    (source,) = find_series(tmp_path / "in")
    before = read_series(source)
    volume = translated(before, dtype)
    files = write_derived_series(tmp_path / "out/new", volume, source, profile)
    assert [file.name for file in files] == [f"slice_{n:04d}.dcm" for n in range(1, 6)]
    (series,) = find_series(tmp_path / "out")
    again = read_series(series)
    steps = np.ptp(volume.array.astype(float)) / 65534
    tolerance = 0 if np.dtype(dtype).kind in "iu" else steps / 2 * 1.001
    np.testing.assert_allclose(again.array, volume.array, rtol=0, atol=tolerance)
    assert again.dtype == np.int16
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_array_equal(
            getattr(again.geometry.lps, name), getattr(before.geometry.lps, name)
        )
    # ITK reads the same array, spacing, origin and direction.
    image = by_itk(tmp_path / "out/new")
    assert_same_volume(again, image)
    original = by_itk(tmp_path / "in")
    assert image.GetSpacing() == original.GetSpacing()
    assert image.GetOrigin() == original.GetOrigin()
    assert image.GetDirection() == original.GetDirection()


@pytest.mark.parametrize("profile", ["basic", "keep-patient"])
def test_the_header_says_what_the_series_is(tmp_path, values, profile):
    write_series(tmp_path / "in", values.astype(np.int16))
    (source,) = find_series(tmp_path / "in")
    volume = translated(read_series(source), "float32")
    files = write_derived_series(
        tmp_path / "out", volume, source, profile, description="T1 to T2", derivation="by a GAN"
    )
    datasets = opened(files)
    originals = opened(sorted((tmp_path / "in").iterdir()))
    for number, dataset in enumerate(datasets, start=1):
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert dataset.DerivationDescription == "by a GAN"
        assert dataset.BurnedInAnnotation == "NO"
        assert dataset.InstanceNumber == number
        assert dataset.SeriesNumber == 1003
        assert (dataset.BitsAllocated, dataset.PixelRepresentation) == (16, 1)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.Modality == "MR"
        assert dataset.BodyPartExamined == "HEAD"
        assert dataset.EchoTime == 12.5
        assert not [element for element in dataset if element.tag.is_private]
        low, high = np.percentile(volume.array, [1, 99])
        assert float(dataset.WindowCenter) == pytest.approx((low + high) / 2, rel=1e-4)
        assert float(dataset.WindowWidth) == pytest.approx(high - low, rel=1e-4)
        equipment = dataset.ContributingEquipmentSequence[-1]
        assert equipment.Manufacturer == "medstyle_gan"
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1
    new = {dataset.SOPInstanceUID for dataset in datasets}
    assert len(new) == 5
    assert not new & {dataset.SOPInstanceUID for dataset in originals}
    first = datasets[0]
    assert first.SeriesInstanceUID != SERIES
    if profile == "keep-patient":
        assert (first.PatientName, first.StudyDate) == (CANARY, "20240203")
        assert first.SeriesDescription == f"head {CANARY} T1 to T2"
        assert (first.StudyInstanceUID, first.FrameOfReferenceUID) == (STUDY, FRAME)
        assert first.PatientIdentityRemoved == "NO"
        references = {d.SourceImageSequence[0].ReferencedSOPInstanceUID for d in datasets}
        assert references == {dataset.SOPInstanceUID for dataset in originals}
    else:
        assert first.SeriesDescription == "T1 to T2"
        assert (first.PatientName, first.PatientID, first.StudyDate) == ("", "", "")
        assert first.PatientIdentityRemoved == "YES"
        assert first.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert first.StudyInstanceUID not in (STUDY, "")
        assert first.FrameOfReferenceUID not in (FRAME, "")
        for file in files:
            content = file.read_bytes()
            for text in (CANARY, STUDY, SERIES, FRAME, "20240203", "055Y"):
                assert text.encode() not in content


def test_uids_are_consistent_under_one_map_and_secret(tmp_path, values):
    write_series(tmp_path / "in", values.astype(np.int16))
    (source,) = find_series(tmp_path / "in")
    volume = translated(read_series(source), "int16")
    uids = UidMap()
    one, two = (
        opened(write_derived_series(tmp_path / name, volume, source, identity=name, uids=uids))[0]
        for name in ("scan_to_style", "style_to_scan")
    )
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    other = opened(write_derived_series(tmp_path / "other", volume, source))[0]
    assert other.StudyInstanceUID != one.StudyInstanceUID


def test_keeping_the_patient_gives_the_same_bytes_twice(tmp_path, values):
    write_series(tmp_path / "in", values.astype(np.int16))
    (source,) = find_series(tmp_path / "in")
    volume = translated(read_series(source), "float32")
    first, second = (
        write_derived_series(tmp_path / name, volume, source, "keep-patient", identity="hash")
        for name in ("a", "b")
    )
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


@pytest.mark.parametrize(
    ("modality", "shared_scaling", "profile"),
    [("MR", True, "basic"), ("CT", False, "basic"), ("MR", False, "keep-patient")],
)
def test_an_enhanced_source_gives_an_enhanced_file(
    tmp_path, values, modality, shared_scaling, profile
):
    write_enhanced(tmp_path / "in/a", values.astype(np.int16), modality,
                   shared_scaling=shared_scaling)  # fmt: skip
    (source,) = find_series(tmp_path / "in")
    before = read_series(source)
    volume = translated(before, "int16")
    (file,) = write_derived_series(tmp_path / "out", volume, source, profile)
    (series,) = find_series(tmp_path / "out")
    again = read_series(series)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.geometry.affine, before.geometry.affine)
    dataset = pydicom.dcmread(file)
    assert dataset.ImageType[:2] == ["DERIVED", "SECONDARY"]
    kind = f"{modality}ImageFrameTypeSequence"
    for group in dataset.PerFrameFunctionalGroupsSequence:
        assert group[kind].value[0].FrameType[:2] == ["DERIVED", "SECONDARY"]
    heights = [
        np.array(group.PlanePositionSequence[0].ImagePositionPatient)
        @ again.geometry.lps.direction[:, 2]
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert heights == sorted(heights)
    image = sitk.ReadImage(file)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, volume.array)
    np.testing.assert_allclose(image.GetSpacing(), again.geometry.lps.spacing)
    np.testing.assert_allclose(image.GetOrigin(), again.geometry.lps.origin)
    np.testing.assert_allclose(
        image.GetDirection(), again.geometry.lps.direction.ravel(), atol=1e-6
    )
    if profile == "basic":
        assert CANARY.encode() not in file.read_bytes()
        assert b"20240203" not in file.read_bytes()


def test_pixels_of_the_source_are_described_nowhere(tmp_path, values):
    def edit(dataset, _):
        dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = 0, 7
        dataset.PixelPaddingValue, dataset.WindowCenter, dataset.WindowWidth = -5, 40, 400
        dataset.add_new(0x60003000, "OW", bytes(50))
        dataset.add_new(0x60004000, "LT", CANARY)

    write_series(tmp_path / "in", np.kron(values, np.ones((8, 8, 1))).astype(np.int16), edit=edit,
                 syntax=RLELossless)  # fmt: skip
    (source,) = find_series(tmp_path / "in")
    volume = translated(read_series(source), "int16")
    files = write_derived_series(tmp_path / "out", volume, source, "keep-patient")
    np.testing.assert_array_equal(read_volume(tmp_path / "out").array, volume.array)
    for dataset in opened(files):
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            assert keyword not in dataset
        assert float(dataset.WindowCenter) != 40
        assert not [element for element in dataset if element.tag.group == 0x6000]


def test_text_in_the_pixels_is_refused_under_basic_alone(tmp_path, values):
    def edit(dataset, _):
        dataset.BurnedInAnnotation = "YES"

    write_series(tmp_path / "in", values.astype(np.int16), edit=edit)
    (source,) = find_series(tmp_path / "in")
    volume = read_series(source)
    with pytest.raises(UserError, match="BurnedInAnnotation is YES"):
        write_derived_series(tmp_path / "out", volume, source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    files = write_derived_series(tmp_path / "out", volume, source, "keep-patient")
    assert opened(files)[0].BurnedInAnnotation == "YES"


def test_nothing_that_exists_is_overwritten_and_nothing_is_left_half(tmp_path, values):
    write_series(tmp_path / "in", np.kron(values, np.ones((20, 20, 1))).astype(np.int16))
    (source,) = find_series(tmp_path / "in")
    volume = translated(read_series(source), "int16")
    with pytest.raises(UserError, match="exists already"):
        write_derived_series(tmp_path / "in", volume, source)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=str(tmp_path / "out")):
            write_derived_series(tmp_path / "out", volume, source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert len(list((tmp_path / "in").iterdir())) == 5


def test_another_grid_and_colour_are_refused(tmp_path, values):
    write_series(tmp_path / "in", values.astype(np.int16))
    (source,) = find_series(tmp_path / "in")
    volume = read_series(source)
    moved = Geometry.from_affine((7, 6, 5), np.eye(4))
    with pytest.raises(ValueError, match="grid"):
        write_derived_series(tmp_path / "out", replace(volume, geometry=moved), source)
    colour = np.zeros((7, 6, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="grey"):
        write_derived_series(tmp_path / "out", replace(volume, array=colour), source)


@pytest.mark.parametrize("extremes", [(0, 0), (5, 5), (-1e-30, 1e-30), (-1e30, 1e30), (0, 70000)])
def test_any_range_survives_within_half_a_step(tmp_path, values, extremes):
    write_series(tmp_path / "in", values.astype(np.int16))
    (source,) = find_series(tmp_path / "in")
    array = np.interp(values, [0, 100], extremes)
    volume = replace(read_series(source), array=array, dtype=array.dtype, integer=False)
    write_derived_series(tmp_path / "out", volume, source)
    (series,) = find_series(tmp_path / "out")
    again = read_series(series, allow_constant=True)
    step = (extremes[1] - extremes[0]) / 65534
    np.testing.assert_allclose(again.array, array, rtol=1e-6, atol=step * 0.51)


@pytest.mark.parametrize("profile", ["basic", "keep-patient"])
@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"),
        *("MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"),
    ],
)
def test_slices_of_real_scanners_are_derived_from(tmp_path, name, profile):
    (source,) = find_series(REAL / name)
    before = read_series(source)
    (file,) = write_derived_series(tmp_path / "out", before, source, profile)
    (series,) = find_series(tmp_path / "out")
    again = read_series(series)
    np.testing.assert_array_equal(again.array, before.array)
    np.testing.assert_array_equal(again.geometry.affine, before.geometry.affine)
    image = sitk.ReadImage(file)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, before.array)
    original, dataset = pydicom.dcmread(REAL / name), pydicom.dcmread(file)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.Rows == original.Rows
    kept = dataset.PatientName == original.PatientName
    assert kept == (profile == "keep-patient")
