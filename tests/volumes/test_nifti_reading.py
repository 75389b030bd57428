from __future__ import annotations

import gzip
import os
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_header, read_volume

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
SCALINGS = [(1, 0), (0, 0), (np.nan, 0), (2, -1024), (0.25, 7.5), (-1, 50), (3e-3, 0)]


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "version"), [("a.nii", 1), ("a.nii.gz", 1), ("a.nii.gz", 2)])
def test_every_type_reads_as_by_nibabel(write_raw, values, dtype, endianness, name, version):
    array = values.astype(dtype)
    path = write_raw(name, array=array, version=version, endianness=endianness)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, np.asarray(nib.load(path).dataobj))
    assert volume.array.dtype == volume.dtype == np.dtype(dtype)
    assert volume.array.dtype.isnative
    assert volume.array.flags.writeable
    assert volume.integer == (dtype[0] != "f")
    assert volume.path == path


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slope_and_intercept_are_applied_as_by_nibabel(write_raw, values, dtype, scaling):
    def scale(header):
        header["scl_slope"], header["scl_inter"] = scaling

    path = write_raw(edit=scale, array=values.astype(dtype))
    volume = read_volume(path)
    expected = nib.load(path).get_fdata()
    tolerance = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(volume.array, expected, rtol=0, atol=tolerance)
    assert volume.dtype == np.dtype(dtype)
    whole = np.isnan(scaling[0]) or all(float(number).is_integer() for number in scaling)
    assert volume.integer == (dtype[0] != "f" and whole)
    if volume.integer:
        np.testing.assert_array_equal(volume.array, np.rint(volume.array))


def test_whole_numbers_beyond_single_precision_stay_whole(write_raw, values):
    def scale(header):
        header["scl_slope"], header["scl_inter"] = 1001, 20_000_001

    array = values.astype(np.uint16) + 60_000
    volume = read_volume(write_raw(edit=scale, array=array))
    stored_intercept = int(np.float32(20_000_001))
    expected = array.astype(np.int64) * 1001 + stored_intercept
    np.testing.assert_array_equal(volume.array.astype(np.int64), expected)


@pytest.mark.parametrize("shape", [(7, 6, 5, 1), (7, 6, 5, 1, 1), (42, 5), (210, 1, 1)])
def test_trailing_singletons_are_dropped_from_the_array_alone(write_raw, values, shape):
    array = values.reshape(shape).astype(np.int16)
    volume = read_volume(write_raw(array=array))
    assert volume.geometry.shape == shape
    assert volume.array.shape == (*shape, 1)[:3]
    np.testing.assert_array_equal(volume.array, array.reshape((*shape, 1)[:3]))


@pytest.mark.parametrize("size", [16, 4096, 3_000_000])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_header_extensions_are_skipped(write_raw, values, name, size):
    extension = np.array([size, 4], "<i4").tobytes() + b"x" * (size - 8)
    volume = read_volume(write_raw(name, extension=extension))
    np.testing.assert_array_equal(volume.array, values)


def test_compression_is_told_from_the_bytes_not_the_name(write_raw, values, tmp_path):
    plain = write_raw("plain.nii")
    (tmp_path / "misnamed.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "misnamed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("misnamed.nii.gz", "misnamed.nii"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, values)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0.001, 0.3, 0.6, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path, name, kept):
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    nib.Nifti1Image(noise, np.eye(4)).to_filename(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"truncated|damaged") as caught:
        read_volume(tmp_path / name)
    assert name in str(caught.value)
    assert "again" in str(caught.value)


def test_compressed_data_that_end_early_without_a_gzip_error_are_refused(write_raw, tmp_path):
    whole = write_raw("whole.nii").read_bytes()
    (tmp_path / "short.nii.gz").write_bytes(gzip.compress(whole[:-10]))
    with pytest.raises(UserError, match="410 of 420 bytes"):
        read_volume(tmp_path / "short.nii.gz")


def test_a_damaged_checksum_is_refused(write_raw):
    path = write_raw("a.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_volume(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (b"patient,age\n" * 100, "not NIfTI"),
        (gzip.compress(b"patient,age\n" * 100), "not NIfTI"),
        (gzip.compress(gzip.compress(b"x" * 1000)), "compressed twice"),
        (b"\x5c\x01\x00\x00" + bytes(344), "not NIfTI"),
        (b"\x5c\x01\x00\x00" + bytes(100), "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "not NIfTI"),
    ],
    # Named, for gzip writes the time: workers of xdist must collect the same names.
    ids=["empty", "gz-empty", "csv", "gz-csv", "gz-gz", "zeros", "short", "png"],
)
@pytest.mark.parametrize("read", [read_volume, read_header])
def test_what_is_no_nifti_is_refused(tmp_path, read, content, words):
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_volume, read_header])
def test_missing_files_and_folders_are_refused(tmp_path, read):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "missing.nii.gz")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path / "folder.nii")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nan_and_infinite_voxels_are_counted_and_refused(write_raw, values, dtype, bad):
    array = values.astype(dtype)
    array[3, 2, 1] = array[0, 0, 0] = bad
    with pytest.raises(UserError, match="2 of 210 voxels are NaN, infinite or beyond"):
        read_volume(write_raw(array=array))


@pytest.mark.parametrize("slope", [3e38, 1e38 / 3])
def test_a_slope_that_overflows_single_precision_is_refused(write_raw, values, slope):
    def scale(header):
        header["scl_slope"] = slope

    with pytest.raises(UserError, match="NaN, infinite or beyond"):
        read_volume(write_raw(edit=scale, array=values.astype(np.uint8)))


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_a_constant_volume_is_refused_unless_it_may_be_one(write_raw, dtype):
    path = write_raw(array=np.full((3, 4, 5), 7, dtype=dtype))
    with pytest.raises(UserError, match="same value, 7"):
        read_volume(path)
    assert (read_volume(path, allow_constant=True).array == 7).all()


def test_the_header_is_read_without_the_voxels(tmp_path):
    image = nib.Nifti1Image(np.zeros((64, 64, 64), np.float32), np.diag([1.0, 2, 3, 1]))
    image.to_filename(tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(content[: len(content) // 2] + bytes(len(content)))  # voxels spoilt
    header = read_header(path)
    assert header.shape == (64, 64, 64)
    assert header.spacing == (1, 2, 3)
    assert header.orientation == "RAS"
    assert header.dtype == np.float32
    assert not header.integer
    assert header.path == path
    np.testing.assert_array_equal(header.affine, image.affine)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_claims_too_much_is_refused_before_memory_is_asked_for(
    write_raw, name, version
):
    def claim(header):
        header["dim"][1:4] = 32000

    path = write_raw(name, edit=claim, version=version)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="field dim claims"):
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_sizes_that_overflow_64_bits_are_refused(write_raw):
    def claim(header):
        header["dim"][1:4] = 2**40

    with pytest.raises(UserError, match="field dim claims"):
        read_volume(write_raw(edit=claim, version=2))


def test_a_volume_larger_than_memory_is_refused_though_its_file_is_long_enough(
    write_raw, monkeypatch
):
    path = write_raw("a.nii")
    assert read_volume(path).array.nbytes == 420
    monkeypatch.setattr(os, "sysconf", lambda _: 20)  # 20 pages of 20 bytes
    with pytest.raises(UserError, match="GiB of memory"):
        read_volume(path)
    assert read_header(path).shape == (7, 6, 5)
