from __future__ import annotations

import errno
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, read_volume, to_dtype, write_volume

GEOMETRY_FIELDS = [
    *("sizeof_hdr", "dim", "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c"),
    *("quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
    *("xyzt_units", "toffset", "dim_info", "magic", "vox_offset"),
]
TEXT_FIELDS = ["descrip", "aux_file", "intent_name"]
CANARY = b"CANARY^PATIENT"


def placed(orientation: str, degrees: float) -> np.ndarray:
    axes = nib.orientations.axcodes2ornt(orientation)
    affine = nib.orientations.inv_ornt_aff(axes, (7, 6, 5))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.array([2, -1, 2]) / 3).as_matrix()
    return turn @ affine @ np.diag([0.6, 0.9, 4.5, 1])


def edit_codes(kind: str, affine: np.ndarray):
    def edit(header):
        header["sform_code"] = 0
        if kind in ("qform", "both", "disagreeing"):
            header.set_qform(affine, code=3)
        if kind in ("sform", "both"):
            header.set_sform(affine, code=2)
        if kind == "disagreeing":
            header.set_sform(np.diag([-1.1, 2.2, 3.3, 1]), code=4)

    return edit


def assert_same_header(source: Path, output: Path) -> None:
    before, after = nib.load(source), nib.load(output)
    assert type(before.header) is type(after.header)
    for name in GEOMETRY_FIELDS:
        np.testing.assert_array_equal(after.header[name], before.header[name], err_msg=name)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.shape == before.shape


@pytest.mark.parametrize("kind", ["neither", "sform", "qform", "both", "disagreeing"])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SLA"])
@pytest.mark.parametrize("degrees", [0, 17])
@pytest.mark.parametrize("version", [1, 2])
def test_the_round_trip_keeps_voxels_and_geometry(
    write_raw, tmp_path, kind, orientation, degrees, version
):
    source = write_raw("in.nii.gz", edit_codes(kind, placed(orientation, degrees)), version=version)
    volume = read_volume(source)
    write_volume(tmp_path / "out.nii.gz", volume.array, volume.geometry)
    assert_same_header(source, tmp_path / "out.nii.gz")
    again = read_volume(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.dtype == volume.dtype
    for name, value in vars(volume.geometry).items():
        np.testing.assert_array_equal(getattr(again.geometry, name), value, err_msg=name)


@pytest.mark.parametrize("shape", [(7, 6, 5, 1), (7, 6, 5, 1, 1), (42, 5), (7, 1, 30)])
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_units_time_axis_and_singletons_are_kept(write_raw, values, tmp_path, shape, name):
    def edit(header):
        header["xyzt_units"] = 3 | 16
        header["pixdim"][4:6] = 2.5, 9
        header["toffset"] = 1.5
        header.set_dim_info(freq=1, phase=0, slice=2)

    source = write_raw(edit=edit, array=values.reshape(shape).astype(np.int16))
    volume = read_volume(source)
    write_volume(tmp_path / name, volume.array.astype(np.float32), volume.geometry)
    assert_same_header(source, tmp_path / name)
    written = np.asarray(nib.load(tmp_path / name).dataobj)
    np.testing.assert_array_equal(written, values.reshape(shape))


def test_big_endian_input_keeps_its_geometry(write_raw, tmp_path):
    source = write_raw(edit=edit_codes("disagreeing", placed("LPS", 17)), endianness=">")
    volume = read_volume(source)
    write_volume(tmp_path / "out.nii", volume.array, volume.geometry)
    assert_same_header(source, tmp_path / "out.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii").array, volume.array)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_type_is_read_back_by_nibabel(values, tmp_path, dtype, order):
    array = np.array(values, dtype=dtype, order=order)
    write_volume(tmp_path / "a.nii.gz", array, Geometry.from_affine(array.shape, np.eye(4)))
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.dtype(dtype)
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)


@pytest.mark.parametrize(("given", "stored"), [(bool, np.uint8), (np.float16, np.float32)])
def test_types_that_nifti_lacks_become_the_nearest(values, tmp_path, given, stored):
    array = (values > 50).astype(given)
    write_volume(tmp_path / "a.nii", array, Geometry.from_affine(array.shape, np.eye(4)))
    assert nib.load(tmp_path / "a.nii").get_data_dtype() == stored


def test_a_geometry_from_an_affine_is_placed_alike_by_nibabel(values, tmp_path):
    affine = placed("LPS", 25)
    write_volume(tmp_path / "a.nii", values, Geometry.from_affine(values.shape, affine))
    image = nib.load(tmp_path / "a.nii")
    np.testing.assert_allclose(image.affine, affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), affine, rtol=1e-5, atol=1e-5)
    assert image.header.get_xyzt_units() == ("mm", "sec")


@pytest.mark.parametrize("shape", [(7, 6, 5), (7, 6, 5, 1)])
def test_colour_is_written_as_rgb24(tmp_path, shape):
    colours = np.random.default_rng(1).integers(0, 256, size=(7, 6, 5, 3), dtype=np.uint8)
    write_volume(tmp_path / "a.nii.gz", colours, Geometry.from_affine(shape, np.eye(4)))
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.shape == shape
    assert image.header["datatype"] == 128
    assert image.header["bitpix"] == 24
    stored = np.asarray(image.dataobj).reshape(7, 6, 5)
    for channel, name in enumerate("RGB"):
        np.testing.assert_array_equal(stored[name], colours[..., channel])


def test_integers_are_rounded_and_clipped(tmp_path):
    array = np.array([-1e9, -0.51, 0.49, 0.51, 254.6, 300, np.inf, -np.inf]).reshape(2, 2, 2)
    geometry = Geometry.from_affine((2, 2, 2), np.eye(4))
    write_volume(tmp_path / "a.nii", array, geometry, dtype=np.uint8)
    stored = np.asarray(nib.load(tmp_path / "a.nii").dataobj).ravel()
    np.testing.assert_array_equal(stored, [0, 0, 0, 1, 255, 255, 255, 0])


@pytest.mark.parametrize("target", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("source", ["u1", "i1", "u4", "i8", "u8", "f4", "f8"])
def test_conversion_agrees_with_whole_number_arithmetic(source, target):
    if source[0] == "f":
        given = np.array([-1e30, -300.5, -1.5, 0, 2.5, 127.4, 70000, 1e30], dtype=source)
    else:
        range_ = np.iinfo(source)
        given = np.array([range_.min, 0, 1, 100, range_.max], dtype=source)
    bounds = np.iinfo(target)
    expected = [min(max(round(value), bounds.min), bounds.max) for value in given.tolist()]
    result = to_dtype(given, np.dtype(target)).tolist()
    if source[0] == "f" and target in ("u8", "i8"):
        # The largest 64-bit number is no float64; the nearest one below it is as near as it gets.
        assert result[:-1] == expected[:-1]
        assert bounds.max - result[-1] < 2**11
    else:
        assert result == expected


def test_nan_is_not_written_as_an_integer():
    with pytest.raises(ValueError, match="NaN"):
        to_dtype(np.array([np.nan]), np.dtype("i2"))


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_no_text_of_the_source_is_written(write_raw, tmp_path, name):
    def edit(header):
        for field in TEXT_FIELDS:
            header[field] = CANARY
        header["db_name"] = CANARY[:18]

    size = 32
    extension = np.array([size, 6], "<i4").tobytes() + CANARY.ljust(size - 8, b"\0")
    source = write_raw(f"{CANARY.decode()}.nii.gz", edit, extension=extension)
    assert CANARY in gzip.decompress(source.read_bytes())
    volume = read_volume(source)
    write_volume(tmp_path / name, volume.array, volume.geometry)
    written = (tmp_path / name).read_bytes()
    header = nib.load(tmp_path / name).header
    assert not header.extensions
    assert all(not bytes(header[field].item()) for field in TEXT_FIELDS)
    assert CANARY not in written
    if name.endswith(".gz"):
        assert CANARY not in gzip.decompress(written)
        assert written[3:8] == bytes(5)  # no name, no time


def test_the_same_volume_gives_the_same_bytes(values, tmp_path):
    geometry = Geometry.from_affine(values.shape, np.eye(4))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, values, geometry)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


class FullDisk:
    """A file that takes some bytes and then says that the disk is full."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 400, 600])
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_a_full_disk_is_told_and_leaves_the_old_file(values, tmp_path, monkeypatch, name, room):
    noise = np.random.default_rng(0).normal(size=values.shape)
    geometry = Geometry.from_affine(values.shape, np.eye(4))
    output = tmp_path / "out" / name
    write_volume(output, values, geometry)
    old = output.read_bytes()
    opened = Path.open

    def full(path, mode="r", *arguments, **options):
        file = opened(path, mode, *arguments, **options)
        return FullDisk(file, room) if "x" in mode else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(UserError, match="disk is full") as caught:
            write_volume(output, noise, geometry)
    assert str(output) in str(caught.value)
    assert output.read_bytes() == old
    assert list(output.parent.iterdir()) == [output]


def test_a_folder_that_cannot_be_written_is_told(values, tmp_path):
    (tmp_path / "file").touch()
    geometry = Geometry.from_affine(values.shape, np.eye(4))
    with pytest.raises(UserError, match="choose another output folder"):
        write_volume(tmp_path / "file" / "a.nii", values, geometry)


def test_another_ending_is_refused(values, tmp_path):
    with pytest.raises(UserError, match=r"\.nii\.gz"):
        write_volume(tmp_path / "a.img", values, Geometry.from_affine(values.shape, np.eye(4)))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros((7, 6, 4)), None),
        (np.zeros((7, 6, 5, 2)), None),
        (np.zeros((7, 6, 5), complex), None),
        (np.zeros((7, 6, 5)), np.complex64),
        (np.zeros((7, 6, 5, 3)), np.float32),
        (np.zeros((7, 6, 5)), "U4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, array, dtype):
    with pytest.raises(ValueError, match=r"shape|written"):
        write_volume(tmp_path / "a.nii", array, Geometry.from_affine((7, 6, 5), np.eye(4)), dtype)
    assert list(tmp_path.iterdir()) == []
