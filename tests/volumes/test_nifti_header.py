from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_header, read_volume


def put(**fields):
    """An edit of a header that sets these fields; a tuple (index, value) sets one element."""

    def edit(header):
        for name, value in fields.items():
            if isinstance(value, tuple):
                header[name][value[0]] = value[1]
            else:
                header[name] = value

    return edit


WRONG = {
    "no axes": (put(dim=(0, 0)), "dim"),
    "eight axes": (put(dim=(0, 8)), "dim"),
    "one axis": (put(dim=(0, 1)), "one axis"),
    "an axis of nothing": (put(dim=(2, 0)), "dim"),
    "a negative axis": (put(dim=(2, -6)), "dim"),
    "two frames": (put(dim=[4, 7, 6, 1, 5, 1, 1, 1]), "more than one frame"),
    "a vector field": (put(dim=[5, 7, 6, 1, 1, 5, 1, 1]), "more than one frame or channel"),
    "RGB": (put(datatype=128), "RGB colour"),
    "RGBA": (put(datatype=2304), "RGBA colour"),
    "complex64": (put(datatype=32), "complex"),
    "complex128": (put(datatype=1792), "complex"),
    "complex256": (put(datatype=2048), "complex"),
    "float128": (put(datatype=1536), "convert it to float32"),
    "bits": (put(datatype=1), "binary"),
    "an unknown type": (put(datatype=77), "datatype is 77"),
    "offset 0": (put(vox_offset=0), "vox_offset"),
    "a negative offset": (put(vox_offset=-352), "vox_offset"),
    "a NaN offset": (put(vox_offset=np.nan), "vox_offset"),
    "an offset behind the end": (put(vox_offset=1e9), "at most"),
    "a pair's header": (put(magic=b"ni1"), "another file"),
    "no magic": (put(magic=b""), "magic"),
    "a NaN intercept": (put(scl_slope=2, scl_inter=np.nan), "scl_inter"),
    "an unknown unit": (put(xyzt_units=5), "xyzt_units"),
}


@pytest.mark.parametrize("read", [read_volume, read_header])
@pytest.mark.parametrize(("edit", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_header_is_refused_by_file_field_and_remedy(write_raw, read, edit, words):
    path = write_raw(edit=edit)
    with pytest.raises(UserError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("bytes_", [3, 4], ids=["RGB", "RGBA"])
def test_colour_volumes_made_by_nibabel_are_refused(tmp_path, bytes_):
    dtype = np.dtype([(name, "u1") for name in "RGBA"[:bytes_]])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), dtype), np.eye(4))
    image.to_filename(tmp_path / "colour.nii.gz")
    with pytest.raises(UserError, match="colour"):
        read_volume(tmp_path / "colour.nii.gz")


def test_several_frames_made_by_nibabel_are_refused(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5, 6), np.float32), np.eye(4))
    image.to_filename(tmp_path / "frames.nii.gz")
    with pytest.raises(UserError, match=r"\(3, 4, 5, 6\)"):
        read_volume(tmp_path / "frames.nii.gz")


def test_analyze_is_refused(tmp_path):
    image = nib.AnalyzeImage(np.ones((3, 4, 5), np.int16), np.eye(4))
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(1000))
    with pytest.raises(UserError, match="Analyze"):
        read_volume(tmp_path / "a.nii")
