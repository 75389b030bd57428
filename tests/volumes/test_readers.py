from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import (
    PICTURE_SUFFIXES,
    READERS,
    VOLUME_SUFFIXES,
    is_picture,
    is_volume,
    read_header,
    read_volume,
)


@pytest.mark.parametrize(
    ("name", "volume", "picture"),
    [
        ("a.nii", True, False),
        ("a.nii.gz", True, False),
        ("sub-01.T1w.NII.GZ", True, False),
        ("a.nrrd", True, False),
        ("a.MHA", True, False),
        ("a.mhd", True, False),
        ("a.raw", False, False),
        ("a.png", False, True),
        ("a.JPG", False, True),
        ("a.jpeg", False, True),
        ("a.gz", False, False),
        ("a.gif", False, False),
        ("nii", False, False),
        (".medstyle-0123.part", False, False),
        ("._a.nii.gz", False, False),
        ("._a.png", False, False),
    ],
)
def test_kinds_are_told_by_the_ending(name, volume, picture):
    assert (is_volume(f"/some/folder.nii/{name}"), is_picture(name)) == (volume, picture)


def test_every_volume_suffix_has_a_reader():
    assert set(READERS) == set(VOLUME_SUFFIXES)
    assert not set(VOLUME_SUFFIXES) & set(PICTURE_SUFFIXES)


def test_text_paths_and_capital_endings_are_read(write_raw, values):
    path = write_raw("A.NII")
    np.testing.assert_array_equal(read_volume(str(path)).array, values)
    assert read_header(str(path)).path == path


@pytest.mark.parametrize("read", [read_volume, read_header])
@pytest.mark.parametrize(("name", "words"), [("a.png", "is a picture"), ("a.img", "no known")])
def test_other_formats_are_refused(read, name, words):
    with pytest.raises(UserError, match=words):
        read(name)


def test_importing_the_room_leaves_torch_out():
    code = "import sys, medstyle_gan.volumes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
