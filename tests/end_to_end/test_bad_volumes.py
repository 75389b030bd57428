"""Volumes that cannot be used: exit 2, one message, nothing written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from tests.end_to_end.conftest import Refused
from tests.end_to_end.tiny import TINY, train_command


def header_of(path: Path) -> tuple[np.ndarray, bytearray]:
    """The header's bytes behind a view by name, and the whole file."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    return np.frombuffer(content, dtype=nib.Nifti1Header.template_dtype, count=1)[0], content


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def cut_into_header(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:200]))


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def no_nifti(path: Path) -> None:
    path.write_bytes(gzip.compress(b"no volume at all" * 100))


def put(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, nib.load(path).affine), path)


def a_nan(path: Path) -> None:
    array = nib.load(path).get_fdata(dtype=np.float32)
    array[3, 4, 5] = np.nan
    put(path, array)


def an_infinity(path: Path) -> None:
    array = nib.load(path).get_fdata(dtype=np.float32)
    array[0, 0, 0] = -np.inf
    put(path, array)


def constant(path: Path) -> None:
    put(path, np.full(nib.load(path).shape, 7, dtype=np.int16))


def two_frames(path: Path) -> None:
    array = np.asarray(nib.load(path).dataobj)
    put(path, np.stack([array, array], axis=-1))


def rgb(path: Path) -> None:
    shape = nib.load(path).shape
    put(path, np.zeros(shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def set_affine(path: Path, rows: np.ndarray) -> None:
    view, content = header_of(path)
    view["sform_code"], view["qform_code"] = 1, 0
    for name, row in zip(("srow_x", "srow_y", "srow_z"), rows, strict=True):
        view[name] = row
    path.write_bytes(gzip.compress(bytes(content)))


def zero_affine(path: Path) -> None:
    set_affine(path, np.zeros((3, 4)))


def singular_affine(path: Path) -> None:
    set_affine(path, np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 3, 0]]))


# What spoils a volume → what the message says of it, and how it is mended.
FAULTS = {
    truncate: ("truncated", "copy or download the file again"),
    cut_into_header: ("truncated", "copy or download the file again"),
    empty_file: ("is empty", "copy or download the file again"),
    no_nifti: ("not NIfTI", "convert the volume"),
    a_nan: ("1 of 12,800 voxels are NaN", "replace them"),
    an_infinity: ("1 of 12,800 voxels are NaN, infinite", "replace them"),
    constant: ("same value, 7", "leave the file out"),
    two_frames: ("(40, 40, 8, 2)", "save one three-dimensional volume"),
    rgb: ("RGB colour", "give one grey channel"),
    zero_affine: ("sform", "convert the volume again from its source"),
    singular_affine: ("sform", "convert the volume again from its source"),
}
each_fault = pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)


def assert_names(message: str, path: Path, spoil: Callable[[Path], None]) -> None:
    assert str(path) in message
    for words in FAULTS[spoil]:
        assert words in message


@pytest.mark.parametrize("domain", ["scans", "style"])
@each_fault
def test_train_refuses_an_unusable_volume(
    folders: PhantomFolders,
    tmp_path: Path,
    refused: Refused,
    spoil: Callable[[Path], None],
    domain: str,
) -> None:
    path = sorted(getattr(folders, domain).iterdir())[1]
    spoil(path)
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run"))
    assert_names(message, path, spoil)
    assert f"1 of 3 {domain.removesuffix('s')} files cannot be used" in message


@each_fault
def test_translate_refuses_an_unusable_volume(
    folders: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    refused: Refused,
    spoil: Callable[[Path], None],
) -> None:
    path = sorted(folders.scans.iterdir())[1]
    spoil(path)
    assert_names(refused("translate", trained, path, "-o", tmp_path / "out"), path, spoil)


@pytest.mark.parametrize("role", ["scan", "style", "mask"])
def test_train_refuses_an_unusable_pair_before_it_begins(
    folders: PhantomFolders, tmp_path: Path, refused: Refused, role: str
) -> None:
    path = folders.pairs / "sub-201" / f"{role}.nii.gz"
    truncate(path)
    pairs = ("--pairs", folders.pairs)
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run", *pairs))
    assert_names(message, path, truncate)


def test_train_refuses_an_empty_mask_before_it_begins(
    folders: PhantomFolders, tmp_path: Path, refused: Refused
) -> None:
    path = folders.pairs / "sub-201" / "mask.nii.gz"
    put(path, np.zeros((40, 40, 8), dtype=np.uint8))
    pairs = ("--pairs", folders.pairs)
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run", *pairs))
    assert f"{path}: the mask is empty; mark the voxels that count" in message


def test_train_names_every_unusable_volume_at_once(
    folders: PhantomFolders, tmp_path: Path, refused: Refused
) -> None:
    paths = sorted(folders.scans.iterdir())
    for path in paths:
        truncate(path)
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run"))
    assert all(str(path) in message for path in paths)
    assert "no volume is readable" in message


def test_check_names_a_collection_without_a_readable_volume(
    folders: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(folders.style.iterdir())
    for path in paths:
        truncate(path)
    command = ["check", "--scans", folders.scans, "--style", folders.style, *TINY]
    assert main([*map(str, command), "-o", str(tmp_path / "report")]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("medstyle: error: no usable file in the style collection")
    assert all(f"unusable style: {path}: is truncated" in output.out for path in paths)
