from __future__ import annotations

import gzip
import resource
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, read_header, read_volume, write_volume

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
ENDINGS = [".nrrd", ".mha", ".mhd"]
CANARY = "CANARY^PATIENT"
TURN = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()


def image_of(array: np.ndarray, direction: np.ndarray = TURN) -> sitk.Image:
    """A SimpleITK image of (X, Y, Z) values, somewhere oblique with awkward numbers."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((0.1 + 0.2, 1 / 3, np.pi)[: array.ndim])
    image.SetOrigin((-1 / 7, 1e4 / 3, 1e-9)[: array.ndim])
    image.SetDirection(direction[: array.ndim, : array.ndim].ravel().tolist())
    return image


def ras_of(image: sitk.Image, index: tuple[int, ...]) -> np.ndarray:
    """Where ITK itself puts a voxel, in RAS."""
    return np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_voxels_and_place_are_those_that_itk_reads(tmp_path, values, ending, dtype):
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image_of(values.astype(dtype)), path, useCompression=dtype[0] == "i")
    volume = read_volume(path)
    image = sitk.ReadImage(path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image).T)
    assert volume.array.dtype == volume.dtype == np.dtype(dtype)
    assert volume.integer == (dtype[0] != "f")
    assert volume.array.flags.writeable
    for index in [(0, 0, 0), (6, 5, 4), (3, 0, 2)]:
        place = (volume.geometry.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(place, ras_of(image, index), rtol=0, atol=1e-9)
    header = read_header(path)
    assert header.shape == (7, 6, 5)
    assert (header.dtype, header.integer) == (volume.dtype, volume.integer)
    np.testing.assert_array_equal(header.affine, volume.geometry.affine)


@pytest.mark.parametrize("target", ENDINGS)
@pytest.mark.parametrize("source", ENDINGS)
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_the_round_trip_keeps_spacing_origin_and_direction(tmp_path, values, source, target, flip):
    before = image_of(values.astype(np.int16), TURN[:, [2, 0, 1]] * flip)
    sitk.WriteImage(before, tmp_path / f"in{source}")
    before = sitk.ReadImage(tmp_path / f"in{source}")
    volume = read_volume(tmp_path / f"in{source}")
    write_volume(tmp_path / f"out{target}", volume.array, volume.geometry)
    after = sitk.ReadImage(tmp_path / f"out{target}")
    # NRRD holds spacing times direction: telling them apart again can cost the last bit.
    bits = {"rtol": 1e-15 if target == ".nrrd" else 0, "atol": 1e-15 if target == ".nrrd" else 0}
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), **bits)
    np.testing.assert_allclose(after.GetDirection(), before.GetDirection(), **bits)
    assert after.GetOrigin() == before.GetOrigin()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), sitk.GetArrayFromImage(before))
    again = read_volume(tmp_path / f"out{target}")
    np.testing.assert_allclose(again.geometry.affine, volume.geometry.affine, rtol=1e-14)


@pytest.mark.parametrize("shape", [(7, 30), (7, 6, 5, 1), (7, 1, 30), (1, 1, 210)])
@pytest.mark.parametrize("ending", ENDINGS)
def test_two_axes_and_singletons_are_kept(tmp_path, values, ending, shape):
    array = values.astype(np.float32).reshape(shape)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T), isVector=False)
    image.SetSpacing((0.5, 0.7, 3.0, 2.5)[: len(shape)])
    image.SetOrigin((1.0, 2.0, 3.0, 4.0)[: len(shape)])
    sitk.WriteImage(image, tmp_path / f"in{ending}")
    volume = read_volume(tmp_path / f"in{ending}")
    assert volume.geometry.shape == shape
    assert volume.array.shape == (*shape, 1)[:3]
    np.testing.assert_array_equal(volume.array.reshape(shape), array)
    write_volume(tmp_path / f"out{ending}", volume.array, volume.geometry)
    after = sitk.ReadImage(tmp_path / f"out{ending}")
    assert after.GetSize() == shape
    assert after.GetSpacing() == image.GetSpacing()
    assert after.GetOrigin() == image.GetOrigin()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("sheared", [False, True])
def test_nifti_becomes_another_format_in_the_same_place(write_raw, tmp_path, ending, sheared):
    affine = np.eye(4)
    affine[:3, :3] = TURN @ np.diag([0.5, 0.75, 6.0])
    affine[:3, 3] = -70, 40.5, -12
    if sheared:
        affine[0, 2] += 1.5

    source = write_raw("in.nii", lambda header: header.set_sform(affine, code=1))
    volume = read_volume(source)
    write_volume(tmp_path / f"out{ending}", volume.array, volume.geometry)
    image = sitk.ReadImage(tmp_path / f"out{ending}")
    for index in [(0, 0, 0), (6, 5, 4)]:
        place = (nib.load(source).affine @ [*index, 1])[:3]
        np.testing.assert_allclose(ras_of(image, index), place, atol=1e-4)
    again = read_volume(tmp_path / f"out{ending}")
    assert again.geometry.same_grid(volume.geometry)
    np.testing.assert_array_equal(again.array, volume.array)


@pytest.mark.parametrize("ending", ENDINGS)
def test_another_format_becomes_nifti_in_the_same_place(tmp_path, values, ending):
    sitk.WriteImage(image_of(values.astype(np.int16)), tmp_path / f"in{ending}")
    volume = read_volume(tmp_path / f"in{ending}")
    write_volume(tmp_path / "out.nii.gz", volume.array, volume.geometry)
    image = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(image.affine, volume.geometry.affine, rtol=1e-6, atol=1e-4)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)


def test_a_place_that_was_changed_after_reading_is_the_one_written(tmp_path, values):
    sitk.WriteImage(image_of(values.astype(np.int16)), tmp_path / "in.mha")
    geometry = read_volume(tmp_path / "in.mha").geometry
    moved = geometry.affine.copy()
    moved[0, 3] += 5
    changed = Geometry(**{**vars(geometry), "affine": moved})
    write_volume(tmp_path / "out.mha", values, changed)
    np.testing.assert_allclose(read_header(tmp_path / "out.mha").affine, moved, atol=1e-12)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        (None, (-1, -1, 1)),
    ],
)
@pytest.mark.parametrize("endian", ["little", "big"])
def test_every_space_of_an_nrrd_is_turned_into_ras(tmp_path, values, space, signs, endian):
    lines = ["NRRD0004", "type: int16", "dimension: 3", "sizes: 7 6 5", f"endian: {endian}"]
    lines.insert(3, f"space: {space}" if space else "space dimension: 3")
    lines += ["space directions: (2,0,0) (0,3,0) (0,0,4)", "space origin: (10,20,30)"]
    lines += ["encoding: raw"]
    data = values.astype("<i2" if endian == "little" else ">i2").tobytes(order="F")
    (tmp_path / "a.nrrd").write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, values)
    expected = np.eye(4)
    expected[:3, :3] = np.diag(np.array([2, 3, 4]) * signs)
    expected[:3, 3] = np.array([10, 20, 30]) * signs
    np.testing.assert_array_equal(volume.geometry.affine, expected)


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_text_of_the_source_is_written(tmp_path, values, ending):
    image = image_of(values.astype(np.int16))
    for key in ("Comment", "PatientName", "content"):
        image.SetMetaData(key, CANARY)
    source = tmp_path / f"{CANARY}{ending}"
    sitk.WriteImage(image, source)
    assert CANARY.encode() in source.read_bytes()
    volume = read_volume(source)
    out = tmp_path / "out"
    write_volume(out / f"a{ending}", volume.array, volume.geometry)
    for file in out.iterdir():
        assert CANARY.encode() not in file.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_volume_gives_the_same_bytes_and_leaves_nothing_else(tmp_path, values, ending):
    geometry = Geometry.from_affine(values.shape, np.eye(4))
    for folder in ("a", "b"):
        write_volume(tmp_path / folder / f"x{ending}", values, geometry, np.float32)
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == (["x.mhd", "x.raw"] if ending == ".mhd" else [f"x{ending}"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_colour_is_written_as_three_channels(tmp_path, ending):
    colours = np.random.default_rng(1).integers(0, 256, size=(7, 6, 5, 3), dtype=np.uint8)
    write_volume(tmp_path / f"a{ending}", colours, Geometry.from_affine((7, 6, 5), np.eye(4)))
    stored = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(stored, colours.transpose(2, 1, 0, 3))
    with pytest.raises(UserError, match="3 values a voxel"):
        read_volume(tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("read", [read_volume, read_header])
def test_several_frames_are_refused(tmp_path, ending, read):
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.int16), isVector=False)
    sitk.WriteImage(image, tmp_path / f"a{ending}")
    with pytest.raises(UserError, match="more than one frame"):
        read(tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("read", [read_volume, read_header])
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "0 bytes"), (b"patient,age\n" * 99, "no usable"), (None, "no such")],
)
def test_what_is_no_volume_is_refused_by_name(tmp_path, ending, read, content, words):
    path = tmp_path / f"bad{ending}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_refused(tmp_path, ending, packed):
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image_of(noise), path, useCompression=packed)
    if ending == ".mhd":
        path = next(file for file in tmp_path.iterdir() if file.suffix in (".raw", ".zraw"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="truncated") as caught:
        read_volume(tmp_path / f"a{ending}")
    assert str(tmp_path / f"a{ending}") in str(caught.value)


HUGE = "1000000 1000000 1"
NRRD_HUGE = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {HUGE}\nendian: little\nencoding: "
META_HUGE = f"ObjectType = Image\nNDims = 3\nDimSize = {HUGE}\nElementType = MET_SHORT\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nrrd", f"{NRRD_HUGE}raw\n\n".encode() + bytes(1000)),
        ("a.nrrd", f"{NRRD_HUGE}gzip\n\n".encode() + gzip.compress(bytes(1000))),
        ("a.mha", f"{META_HUGE}ElementDataFile = LOCAL\n".encode() + bytes(1000)),
        (
            "a.mha",
            f"{META_HUGE}CompressedData = True\nElementDataFile = LOCAL\n".encode()
            + zlib.compress(bytes(1000)),
        ),
    ],
    ids=["nrrd-raw", "nrrd-gzip", "mha-raw", "mha-zlib"],
)
def test_a_header_that_claims_too_much_is_refused_before_memory_is_asked_for(
    tmp_path, name, content
):
    (tmp_path / name).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="claims the shape"):
        read_volume(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("ElementDataFile = a.raw", "ElementDataFile = LIST"), "several files"),
        (("ElementDataFile = a.raw", "ElementDataFile = a%03d.raw 1 3 1"), "several files"),
        (("ElementDataFile = a.raw", "ElementDataFile = gone.raw"), "gone.raw"),
        (("ElementDataFile", "ElementToIntensityFunctionSlope = 2\nElementDataFile"), "Slope is 2"),
        (("ElementSpacing = 0.3", "ElementSpacing = 0.0 #"), "no size|header"),
    ],
)
def test_headers_that_cannot_be_used_are_refused_by_field(tmp_path, values, edit, words):
    path = tmp_path / "a.mhd"
    sitk.WriteImage(image_of(values.astype(np.int16)), path)
    text = path.read_text()
    assert edit[0] in text
    path.write_text(text.replace(*edit))
    with pytest.raises(UserError, match=words):
        read_volume(path)


@pytest.mark.parametrize("name", ["with space.nrrd", 'it\'s "quoted".mha', "Größe-患者.mhd"])
def test_names_with_spaces_quotes_and_other_letters_work(tmp_path, values, name):
    path = tmp_path / "Ordner mit Größe" / name
    write_volume(path, values, Geometry.from_affine(values.shape, np.eye(4)))
    np.testing.assert_array_equal(read_volume(path).array, values)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_are_checked_as_nifti_s(tmp_path, values, bad):
    array = values.astype(np.float32)
    array[0, 0, 0] = bad
    sitk.WriteImage(image_of(array), tmp_path / "a.mha")
    with pytest.raises(UserError, match="1 of 210 voxels"):
        read_volume(tmp_path / "a.mha")
    write_volume(tmp_path / "b.mha", values * 0 + 7, Geometry.from_affine((7, 6, 5), np.eye(4)))
    with pytest.raises(UserError, match="same value, 7"):
        read_volume(tmp_path / "b.mha")
    assert (read_volume(tmp_path / "b.mha", allow_constant=True).array == 7).all()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, values, ending):
    path = Path(tmp_path / f"out/a{ending}")
    geometry = Geometry.from_affine((40, 40, 40), np.eye(4))
    noise = np.random.default_rng(0).normal(size=(40, 40, 40))
    write_volume(path, noise * 2, geometry)
    old = {file: file.read_bytes() for file in path.parent.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match="disk") as caught:
            write_volume(path, noise, geometry)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(caught.value)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == old
