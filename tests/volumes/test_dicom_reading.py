from __future__ import annotations

import os
import shutil
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless, RLELossless, generate_uid

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import (
    find_series,
    read_header,
    read_series,
    read_series_header,
    read_volume,
)
from tests.volumes.dicom_objects import (
    CANARY,
    ORIGIN,
    SERIES,
    SPACING,
    TURN,
    write_enhanced,
    write_series,
)

REAL = Path(pydicom.__file__).parent / "data" / "test_files"


def by_itk(folder: Path) -> sitk.Image:
    """The series as SimpleITK sorts and reads it."""
    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    return reader.Execute()


def assert_same_volume(volume, image: sitk.Image) -> None:
    np.testing.assert_allclose(volume.array, sitk.GetArrayFromImage(image).T, rtol=1e-6)
    frame = volume.geometry.lps
    np.testing.assert_allclose(frame.spacing, image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(frame.origin, image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(frame.direction.ravel(), image.GetDirection(), atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2"])
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_series_is_sorted_by_position_and_placed_as_by_itk(tmp_path, values, dtype, flip):
    direction = TURN * flip
    folder = write_series(tmp_path, values.astype(dtype), direction=direction)
    (series,) = find_series(folder)
    volume = read_series(series)
    np.testing.assert_array_equal(volume.array, values)
    assert volume.array.dtype == volume.dtype == np.dtype(dtype)
    assert volume.integer
    assert volume.path == folder
    assert_same_volume(volume, by_itk(folder))
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = direction * SPACING, ORIGIN
    np.testing.assert_allclose(
        volume.geometry.affine, np.diag([-1, -1, 1, 1]) @ expected, atol=1e-9
    )
    header = read_series_header(series)
    assert (header.shape, header.dtype, header.integer) == ((7, 6, 5), np.dtype(dtype), True)
    np.testing.assert_array_equal(header.affine, volume.geometry.affine)


@pytest.mark.parametrize("permuted", [(0, 2, 1), (1, 2, 0), (2, 1, 0)])
def test_sagittal_and_coronal_series_are_placed_as_by_itk(tmp_path, values, permuted):
    direction = np.eye(3)[:, permuted]
    direction[:, 2] *= np.linalg.det(direction)  # the normal is that of rows and columns
    folder = write_series(tmp_path, values.astype(np.int16), direction=direction)
    assert_same_volume(read_volume(folder), by_itk(folder))


@pytest.mark.parametrize("scaling", [(1, -1024), (2, 0), (0.25, 7.5), (0.1, 0)])
def test_slope_and_intercept_are_applied_as_by_itk(tmp_path, values, scaling):
    array = values.astype(np.uint16)
    folder = write_series(tmp_path, array, "CT", slope=scaling[0], intercept=scaling[1])
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.array, values * scaling[0] + scaling[1], rtol=1e-6)
    assert_same_volume(volume, by_itk(folder))
    assert volume.integer == all(float(number).is_integer() for number in scaling)
    assert volume.dtype == np.uint16


def test_each_slice_of_a_pet_has_its_own_slope(tmp_path, values):
    def edit(dataset, z):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + z, 0

    folder = write_series(tmp_path, values.astype(np.int16), "PT", edit=edit)
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.array, values * (0.5 + np.arange(5)), rtol=1e-6)
    assert not volume.integer


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_series_read_as_plain_ones(tmp_path, values, syntax):
    array = np.kron(values, np.ones((8, 8, 1))).astype(np.uint16)
    plain = write_series(tmp_path / "plain", array)
    packed = write_series(tmp_path / "packed", array, syntax=syntax)
    assert pydicom.dcmread(packed / "IM000").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_volume(packed).array, read_volume(plain).array)


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"),
        *("MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        "693_J2KI.dcm",
    ],
)
def test_slices_of_real_scanners_read_as_by_itk(name):
    (series,) = find_series(REAL / name)
    volume = read_series(series)
    image = sitk.ReadImage(REAL / name)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image).T)
    np.testing.assert_allclose(volume.geometry.lps.origin, image.GetOrigin())
    np.testing.assert_allclose(
        volume.geometry.lps.direction.ravel(), image.GetDirection(), atol=1e-5
    )
    np.testing.assert_allclose(volume.geometry.spacing[:2], image.GetSpacing()[:2])


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_an_enhanced_file_is_sorted_and_placed(tmp_path, values, modality):
    path = write_enhanced(tmp_path / "frames", values.astype(np.int16), modality)
    (series,) = find_series(tmp_path)
    volume = read_series(series)
    np.testing.assert_array_equal(volume.array, values * 2 - 100)
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = TURN * SPACING, ORIGIN
    np.testing.assert_allclose(
        volume.geometry.affine, np.diag([-1, -1, 1, 1]) @ expected, atol=1e-9
    )
    np.testing.assert_array_equal(read_volume(path.parent).array, volume.array)


def test_frames_of_an_enhanced_file_may_have_their_own_slope(tmp_path, values):
    write_enhanced(tmp_path / "a.dcm", values.astype(np.int16), shared_scaling=False)
    slopes = 1 + np.argsort(np.random.default_rng(6).permutation(5)) / 4
    expected = values * slopes - 100
    np.testing.assert_allclose(read_volume(tmp_path).array, expected, rtol=1e-6)


def test_low_is_bright_is_turned_as_by_itk(tmp_path, values):
    def edit(dataset, _):
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.BitsStored, dataset.HighBit = 12, 11

    folder = write_series(tmp_path, values.astype(np.uint16), edit=edit)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, 4095 - values)
    assert_same_volume(volume, by_itk(folder))


def test_bits_above_those_stored_are_no_values(tmp_path, values):
    def edit(dataset, _):
        dataset.BitsStored, dataset.HighBit = 12, 11

    array = values.astype(np.uint16) | 0x8000  # an overlay of old in the highest bit
    np.testing.assert_array_equal(
        read_volume(write_series(tmp_path, array, edit=edit)).array, values
    )


def test_series_are_found_in_folders_without_endings_and_through_circles(tmp_path, values):
    other = generate_uid()
    write_series(tmp_path / "a", values.astype(np.int16))
    write_series(tmp_path / 'b/it\'s "Größe"', values.astype(np.int16), series=other)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "b" / ".hidden").write_bytes((tmp_path / "a" / "IM000").read_bytes())
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to(tmp_path / "b" / "self")
    shutil.copy(REAL / "reportsi.dcm", tmp_path / "b" / "report.dcm")
    found = find_series(tmp_path)
    assert [series.uid for series in found] == [SERIES, other]
    assert [len(series.files) for series in found] == [5, 5]
    assert [series.modality for series in found] == ["MR", "MR"]
    for series in found:
        np.testing.assert_array_equal(read_series(series).array, values)
    with pytest.raises(UserError, match="holds 2 DICOM series"):
        read_volume(tmp_path)
    assert find_series(tmp_path, skip=tmp_path / "b")[0].uid == SERIES


def refused(folder: Path, words: str) -> str:
    with pytest.raises(UserError, match=words) as caught:
        read_volume(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_missing_slices_are_refused_with_their_place(tmp_path, values):
    folder = write_series(tmp_path, np.tile(values, 2).astype(np.int16))
    datasets = {file: pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()}
    height = {
        f: (np.array(d.ImagePositionPatient) - ORIGIN) @ TURN[:, 2] for f, d in datasets.items()
    }
    ordered = sorted(height, key=height.get)
    ordered[4].unlink()
    ordered[5].unlink()
    message = refused(folder, "9.00 mm between .* 3.00 mm elsewhere: 2 missing")
    assert ordered[3].name in message
    assert ordered[6].name in message


def test_uneven_distances_are_refused(tmp_path, values):
    def edit(dataset, z):
        step = 0.2 if z == 2 else 0
        place = ORIGIN + TURN[:, 2] * (SPACING[2] * z + step)
        dataset.ImagePositionPatient = [f"{v:.12g}" for v in place]

    refused(write_series(tmp_path, values.astype(np.int16), edit=edit), "the distances differ")


def test_positions_rounded_to_hundredths_are_even(tmp_path, values):
    def edit(dataset, z):
        place = ORIGIN + TURN[:, 2] * SPACING[2] * z
        dataset.ImagePositionPatient = [f"{v:.2f}" for v in place]

    folder = write_series(tmp_path, values.astype(np.int16), edit=edit)
    np.testing.assert_allclose(read_volume(folder).geometry.spacing, SPACING, atol=0.01)


@pytest.mark.parametrize("degrees", [1.5, 20])
def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path, values, degrees):
    def edit(dataset, z):
        height = SPACING[2] * z
        aside = TURN[:, 1] * np.tan(np.radians(degrees)) * height
        place = ORIGIN + TURN[:, 2] * height + aside
        dataset.ImagePositionPatient = [f"{v:.12g}" for v in place]

    folder = write_series(tmp_path, values.astype(np.int16), "CT", edit=edit)
    refused(folder, f"tilted.* {degrees:.1f}°")


def differ(**fields: object):
    """Gives the last slice other fields."""

    def edit(dataset, z):
        if z == 4:
            for keyword, value in fields.items():
                setattr(dataset, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"PatientID": "other"}, "two patients .PatientID"),
        ({"PatientName": "other"}, "two patients .PatientName"),
        (
            {"StudyInstanceUID": "1.2.3"},
            r"mixes several volumes \(StudyInstanceUID differs\) between",
        ),
        (
            {"FrameOfReferenceUID": "1.2.3"},
            r"mixes several volumes \(FrameOfReferenceUID differs\) between",
        ),
        ({"EchoTime": "80"}, "2 echo times .EchoTime 12.5, 80 ms"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "localizer"),
        ({"PixelSpacing": [1, 1]}, "PixelSpacing"),
        ({"ImagePositionPatient": list(ORIGIN)}, "at one place .ImagePositionPatient.*time points"),
        ({"ImagePositionPatient": None}, "no ImagePositionPatient"),
        ({"PixelSpacing": None}, "no PixelSpacing"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing is"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "localizer|right angle"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel is 3"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "ModalityLUTSequence"),
        ({"HighBit": 3}, "HighBit is 3"),
        ({"BitsAllocated": 12}, "BitsAllocated is 12"),
        ({"Columns": 70}, r"mixes several volumes \(Columns differs\) between"),
    ],
)
def test_what_is_no_one_volume_is_refused_by_field(tmp_path, values, fields, words):
    folder = write_series(tmp_path, values.astype(np.int16), edit=differ(**fields))
    message = refused(folder, words)
    assert CANARY not in message


def test_values_in_hounsfield_units_that_are_shown_inverted_are_refused(tmp_path, values):
    edit = differ(PhotometricInterpretation="MONOCHROME1")
    folder = write_series(tmp_path, values.astype(np.int16), "CT", edit=edit)
    refused(folder, "MONOCHROME1")


def test_the_same_instance_twice_is_refused(tmp_path, values):
    folder = write_series(tmp_path, values.astype(np.int16))
    shutil.copy(folder / "IM001", folder / "copy of IM001")
    message = refused(folder, "the same instance twice")
    assert "copy of IM001" in message


@pytest.mark.parametrize("change", [-2, -50, 20])
def test_pixels_fewer_or_more_than_the_header_says_are_refused(tmp_path, values, change):
    def edit(dataset, z):
        if z == 2:
            data = dataset.PixelData
            dataset.PixelData = data[:change] if change < 0 else data + bytes(change)

    refused(write_series(tmp_path, values.astype(np.int16), edit=edit), "PixelData has .* bytes")


@pytest.mark.parametrize("kept", [0, 100, 140, 400, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(tmp_path, values, kept):
    folder = write_series(tmp_path, values.astype(np.int16), name="IM{:03d}.dcm")
    file = folder / "IM002.dcm"
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    faulty = [series for series in find_series(folder) if series.fault]
    if faulty:
        with pytest.raises(UserError, match=r"empty|truncated|damaged|no DICOM|no ") as caught:
            read_series(faulty[0])
        assert str(file) in str(caught.value)
    with pytest.raises(UserError):
        read_volume(folder)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_asked_for(tmp_path, values):
    def edit(dataset, _):
        dataset.Rows = dataset.Columns = 65535

    folder = write_series(tmp_path, values.astype(np.int16), edit=edit)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"claim"):
            read_volume(folder)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_plugin_is_named(tmp_path, values, monkeypatch):
    array = np.kron(values, np.ones((8, 8, 1))).astype(np.uint16)
    folder = write_series(tmp_path, array, syntax=JPEG2000Lossless)
    decoder = get_decoder(JPEG2000Lossless)
    lacking = {"pylibjpeg": ("pylibjpeg>=2.0", "pylibjpeg-openjpeg>=2.0")}
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", lacking)
    refused(folder, r"JPEG 2000.*pylibjpeg.*pip install medstyle-gan\[dicom\]")


def test_without_pydicom_the_extra_is_named(tmp_path, values, monkeypatch):
    folder = write_series(tmp_path, values.astype(np.int16))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install medstyle-gan\[dicom\]"):
        read_volume(folder)


def test_a_folder_without_dicom_needs_no_pydicom(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "notes.txt").write_text("no image")
    assert find_series(tmp_path) == []
    with pytest.raises(UserError, match="without a DICOM series"):
        read_volume(tmp_path)


def test_a_file_that_changes_while_the_series_is_read_is_refused(tmp_path, values, monkeypatch):
    folder = write_series(tmp_path, values.astype(np.int16))
    read = pydicom.dcmread

    def write_too(file, *arguments, **options):
        dataset = read(file, *arguments, **options)
        if not options and file.name == "IM004":
            os.utime(folder / "IM000", ns=(1, 1))
        return dataset

    monkeypatch.setattr(pydicom, "dcmread", write_too)
    with pytest.raises(UserError, match="IM000: changed while it was read"):
        read_volume(folder)


def test_a_single_slice_needs_a_thickness(tmp_path, values):
    def edit(dataset, _):
        del dataset.SliceThickness

    array = values[..., :1].astype(np.int16)
    assert read_volume(write_series(tmp_path / "a", array)).geometry.lps.spacing[2] == 3
    refused(write_series(tmp_path / "b", array, edit=edit), "SliceThickness")


def test_one_file_of_a_series_is_told_to_be_one(tmp_path, values):
    folder = write_series(tmp_path, values.astype(np.int16), name="IM{:03d}.dcm")
    with pytest.raises(UserError, match="give the folder"):
        read_volume(folder / "IM000.dcm")
    assert read_header(folder).shape == (7, 6, 5)
