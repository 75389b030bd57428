from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.volumes import read_header, read_volume, write_volume

TINY = Path(__file__).parents[3] / "shared" / "data" / "openms_tiny"

pytestmark = pytest.mark.skipif(not TINY.is_dir(), reason=f"{TINY} is not on this machine")


@pytest.mark.parametrize(
    "name",
    [
        "scans_T1/patient19_study2_T1W.nii.gz",
        "style_T2/patient03_study1_T2W.nii.gz",
        "val_pairs/patient12_s1/mask.nii.gz",
    ],
)
def test_a_real_scan_survives_the_round_trip(tmp_path, name):
    volume = read_volume(TINY / name)
    image = nib.load(TINY / name)
    np.testing.assert_array_equal(volume.array, np.asarray(image.dataobj))
    np.testing.assert_array_equal(volume.geometry.affine, image.affine)
    assert read_header(TINY / name).orientation == "LPS"
    write_volume(tmp_path / "out.nii.gz", volume.array, volume.geometry)
    output = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(output.dataobj), volume.array)
    np.testing.assert_array_equal(output.affine, image.affine)
    for form in ("get_sform", "get_qform"):
        (before, code), (after, kept) = (
            getattr(each, form)(coded=True) for each in (image, output)
        )
        assert code == kept
        np.testing.assert_array_equal(before, after)
