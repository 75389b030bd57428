from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import RLELossless, generate_uid

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import UidMap, find_series, read_series
from medstyle_gan.volumes.deidentification import (
    deidentify,
    plan_deidentification,
    write_names,
)
from tests.volumes.dicom_objects import (
    CANARY,
    FRAME,
    SERIES,
    STUDY,
    header,
    save,
    write_enhanced,
    write_series,
)

TEXT_FIELDS = ["descrip", "aux_file", "intent_name", "db_name", "data_type"]


def copy(inputs, out: Path, rename: str | None = None, uids: UidMap | None = None) -> list[Path]:
    jobs = plan_deidentification(inputs, out, rename)
    uids = uids or UidMap()
    for job in jobs:
        deidentify(job, uids)
    return [job.output for job in jobs]


def contents(folder: Path) -> bytes:
    """All bytes of a folder, decompressed too, and its names."""
    parts = []
    for file in sorted(folder.rglob("*")):
        parts.append(os.fsencode(file.relative_to(folder)))
        if file.is_file():
            data = file.read_bytes()
            parts += [data, gzip.decompress(data) if file.name.endswith(".gz") else b""]
    return b"\n".join(parts)


def write_text(header) -> None:
    for field in TEXT_FIELDS:
        if field in header:
            header[field] = CANARY[: header.structarr.dtype[field].itemsize]


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_keeps_all_but_its_text(write_raw, tmp_path, name, version, endianness):
    def edit(header):
        write_text(header)
        header["scl_slope"], header["scl_inter"] = 0.5, -7
        header["intent_code"], header["cal_max"] = 1002, 55
        header["qform_code"], header["quatern_b"] = 3, 0.25
        if version == 2:
            header["unused_str"] = CANARY

    size = 64
    extension = np.array([size, 6], f"{endianness}i4").tobytes() + CANARY.encode().ljust(
        size - 8, b"\0"
    )
    source = write_raw(name, edit, version=version, endianness=endianness, extension=extension)
    source.write_bytes(source.read_bytes())
    assert CANARY.encode() in contents(tmp_path)
    (out,) = copy([source], tmp_path / "out")
    before, after = nib.load(source), nib.load(out)
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
    for field in before.header:
        if field not in (*TEXT_FIELDS, "unused_str", "vox_offset", "magic"):
            np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    assert after.header.endianness == endianness
    assert not after.header.extensions
    assert CANARY.encode() not in contents(tmp_path / "out")


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 5, 6), np.nan, np.float32),
        np.arange(240).reshape(2, 3, 4, 10).astype(np.int16),
        (np.arange(24) * 1j).reshape(2, 3, 4).astype(np.complex64),
    ],
    ids=["nan", "frames", "complex"],
)
def test_any_nifti_voxels_are_copied(tmp_path, array):
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    (out,) = copy([tmp_path / "a.nii.gz"], tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj), array)


def test_bytes_after_the_voxels_and_truncated_files_are_not_copied(write_raw, tmp_path):
    source = write_raw("a.nii")
    whole = source.read_bytes()
    source.write_bytes(whole + CANARY.encode())
    (out,) = copy([source], tmp_path / "out")
    assert out.read_bytes() == whole
    source.write_bytes(whole[:-4])
    with pytest.raises(UserError, match="4 bytes of voxels are missing"):
        copy([source], tmp_path / "again")
    assert not list((tmp_path / "again").iterdir())


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_nrrd_and_metaimage_keep_voxels_and_place_alone(tmp_path, values, ending):
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing((0.5, 0.7, 3))
    image.SetOrigin((1 / 3, -7, 9))
    image.SetMetaData("PatientName", CANARY)
    sitk.WriteImage(image, tmp_path / f"a{ending}")
    (out,) = copy([tmp_path / f"a{ending}"], tmp_path / "out")
    after = sitk.ReadImage(out)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), values)
    assert after.GetPixelID() == sitk.sitkInt16
    assert (after.GetSpacing(), after.GetOrigin()) == (image.GetSpacing(), image.GetOrigin())
    assert CANARY.encode() not in contents(tmp_path / "out")


@pytest.mark.parametrize("packed", [False, True])
def test_a_dicom_series_keeps_its_pixels_as_they_are(tmp_path, values, packed):
    array = np.kron(values, np.ones((8, 8, 1))).astype(np.uint16)
    syntax = {"syntax": RLELossless} if packed else {}
    write_series(tmp_path / "in", array, **syntax)
    outputs = copy([tmp_path / "in"], tmp_path / "out")
    originals = {f.name: pydicom.dcmread(f) for f in (tmp_path / "in").iterdir()}
    for file in outputs:
        before, after = originals[file.name], pydicom.dcmread(file)
        assert after.PixelData == before.PixelData
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
        assert after.ImagePositionPatient == before.ImagePositionPatient
        assert (after.PatientName, after.PatientID) == ("", "")
        assert after.PatientIdentityRemoved == "YES"
        assert after.ImageType == before.ImageType
    (source,), (series,) = find_series(tmp_path / "in"), find_series(tmp_path / "out")
    before, after = read_series(source), read_series(series)
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_array_equal(after.geometry.affine, before.geometry.affine)
    written = contents(tmp_path / "out")
    for text in (CANARY, STUDY, SERIES, FRAME, "20240203", "19700102", "055Y"):
        assert text.encode() not in written


def test_an_enhanced_file_stays_readable(tmp_path, values):
    write_enhanced(tmp_path / "in/a", values.astype(np.int16))
    copy([tmp_path / "in"], tmp_path / "out")
    (source,), (series,) = find_series(tmp_path / "in"), find_series(tmp_path / "out")
    np.testing.assert_array_equal(read_series(series).array, read_series(source).array)
    dataset = pydicom.dcmread(series.files[0])
    # An enhanced object must have these, so they get a dummy instead of nothing.
    assert dataset.ContentDate == "19000101"
    content = dataset.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0]
    assert content.FrameAcquisitionDateTime == "19000101000000"
    assert CANARY.encode() not in contents(tmp_path / "out")


def test_what_belonged_together_still_does(tmp_path, values):
    array = values.astype(np.int16)
    write_series(tmp_path / "in/a", array)
    write_series(tmp_path / "in/b", array, series=generate_uid())
    copy([tmp_path / "in"], tmp_path / "out")
    a, b = (
        [pydicom.dcmread(file) for file in sorted((tmp_path / "out" / name).iterdir())]
        for name in "ab"
    )
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({d[keyword].value for d in (*a, *b)}) == 1
    assert len({d.SeriesInstanceUID for d in (*a, *b)}) == 2
    assert len({d.SOPInstanceUID for d in (*a, *b)}) == 10


def test_new_names_take_the_place_of_files_folders_and_patients(tmp_path, values, write_raw):
    array = values.astype(np.int16)
    folder = tmp_path / "in" / CANARY
    write_series(folder / "one", array, name=f"{CANARY}_{{}}")
    write_series(folder / "two", array, series=generate_uid())
    write_series(tmp_path / "in/z", array, series=generate_uid(),
                 edit=lambda dataset, _: setattr(dataset, "PatientID", "other"))  # fmt: skip
    (tmp_path / "in" / f"{CANARY}.nii").write_bytes(write_raw("a.nii").read_bytes())
    out = tmp_path / "out"
    jobs = plan_deidentification([tmp_path / "in"], out, "subject")
    uids = UidMap()
    for job in jobs:
        deidentify(job, uids)
    assert sorted(path.name for path in out.iterdir()) == [
        *("subject-0001.nii", "subject-0002", "subject-0003")
    ]
    assert [p.name for p in sorted((out / "subject-0002").iterdir())] == ["series-01", "series-02"]
    files = sorted((out / "subject-0002/series-01").iterdir())
    assert [file.name for file in files] == [f"{n:04d}.dcm" for n in range(1, 6)]
    dataset = pydicom.dcmread(files[0])
    assert (dataset.PatientName, dataset.PatientID) == ("subject-0002", "subject-0002")
    assert CANARY.encode() not in contents(out)
    write_names(tmp_path / "names.csv", [job.names for job in jobs])
    with (tmp_path / "names.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["new", "original"],
        ["subject-0001.nii", f"{CANARY}.nii"],
        ["subject-0002", f"ID-{CANARY}"],
        ["subject-0003", "other"],
    ]
    with pytest.raises(UserError, match="exists already"):
        write_names(tmp_path / "names.csv", [job.names for job in jobs])


def test_nothing_that_exists_is_overwritten(tmp_path, write_raw):
    source = write_raw("a.nii")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.nii").write_text("mine")
    for out in (tmp_path / "out", tmp_path):
        with pytest.raises(UserError, match="nothing is overwritten"):
            plan_deidentification([source], out)
    assert (tmp_path / "out/a.nii").read_text() == "mine"


def test_two_inputs_of_one_name_are_refused_unless_renamed(tmp_path, write_raw):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.nii").write_bytes(write_raw("a.nii").read_bytes())
    inputs = [tmp_path / "a/x.nii", tmp_path / "b/x.nii"]
    with pytest.raises(UserError, match="--rename"):
        plan_deidentification(inputs, tmp_path / "out")
    assert len(plan_deidentification(inputs, tmp_path / "out", "s")) == 2


def test_text_in_pixels_reports_and_damaged_files_are_refused(tmp_path, values):
    def edit(dataset, _):
        dataset.BurnedInAnnotation = "YES"

    write_series(tmp_path / "text", values[..., :1].astype(np.int16), edit=edit)
    report = header("SR")
    report.SOPInstanceUID = generate_uid()
    save(report, tmp_path / "report/a.dcm")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/a.dcm").write_bytes((tmp_path / "report/a.dcm").read_bytes()[:300])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.dcm").touch()
    for name, words in [
        ("text", "BurnedInAnnotation is YES"),
        ("report", "no image"),
        ("damaged", "no image|no whole DICOM"),
        ("empty", "0 bytes"),
    ]:
        with pytest.raises(UserError, match=words):
            copy([tmp_path / name], tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("name", "words"), [("gone", "no such"), ("a.png", "pictures")])
def test_other_inputs_are_refused(tmp_path, name, words):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=words):
        plan_deidentification([tmp_path / name], tmp_path / "out")
    with pytest.raises(UserError, match="nothing to de-identify"):
        plan_deidentification([tmp_path], tmp_path / "out")
